"""What lists of runs show and `best` compares: some values of each run, small enough to be kept in an index."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recctl.errors import ArtifactError
from recctl.runs import labels, layout
from recctl.runs.directory import Run
from recctl.runs.evaluations import EvaluationRecord

# The files of a run that its summary is made of, and no others.
SOURCES = (layout.METADATA, layout.EVALUATIONS, layout.METRICS, layout.LABELS)


@dataclass(frozen=True)
class RunSummary:
    """Some values of a run. All are plain values, so that JSON stores them without loss.

    Attributes:
        run_id: Its id.
        recorded_status: The status in its metadata; see `liveness.current_status`.
        process: The process that works or worked on it.
        kind: The command that made it.
        created: When it was created, in ISO format.
        models: The names of its models, each once, in alphabetical order.
        compared: The labels of the models of a comparison.
        has_model: Whether it has a model.
        source: Its data source.
        data_hash: Hash of its data.
        split_hash: Hash of its split.
        monitor: Metric and mode that it monitors; None if it monitors none.
        validation: The validation value of that metric, if the run is complete and has one.
        fit_seconds: Seconds of its fit.
        test_looks: How often its test set was evaluated.
        parent_run: The run that it belongs to.
        metrics: Its figures by key: those on validation, and those on test that it has on test alone.
        tags: Its tags.
        validation_record: Its evaluation on validation, without figures; None if it has none, or is of version 0.1 or
            0.2, whose protocol is in its config.
        is_whole: Whether all files could be read; what is in the others is left out.
    """

    run_id: str
    recorded_status: Any
    process: dict[str, Any]
    kind: Any
    created: Any
    models: list[Any]
    compared: list[Any]
    has_model: bool
    source: Any
    data_hash: Any
    split_hash: Any
    monitor: dict[str, Any] | None
    validation: Any
    fit_seconds: Any
    test_looks: Any
    parent_run: Any
    metrics: dict[str, Any]
    tags: list[str]
    validation_record: dict[str, Any] | None
    is_whole: bool

    @property
    def creation_order(self) -> tuple[str, str]:
        """Sort key: ids give the second of creation, the metadata more digits."""
        return second_of(self.run_id), str(self.created)


def summarize(run: Run) -> RunSummary:
    """Read the summary of a run. What is in damaged files other than the metadata is left out."""
    metadata = run.metadata
    metrics: dict[str, dict[str, float]] = {}
    tags: list[str] = []
    validation_record = None
    is_whole = True
    try:
        records = run.current_evaluations()
        if records is None:
            metrics = run.metrics()
        else:
            metrics = {label: record.metrics for label, record in records.items()}
            validation_record = _without_figures(records.get("validation"))
        tags = list(labels.read(run).tags)
    except ArtifactError:
        is_whole = False  # damaged files are left to `recctl runs verify`
    return RunSummary(
        run_id=run.id,
        recorded_status=metadata["status"],
        process=metadata.get("process") or {},
        kind=metadata.get("kind"),
        created=metadata.get("created"),
        models=sorted({model_entry["model"] for model_entry in metadata.get("models", [])}),
        compared=metadata.get("labels", []),
        has_model=bool(metadata.get("models")),
        source=metadata.get("data", {}).get("source"),
        data_hash=metadata.get("data", {}).get("hash"),
        split_hash=metadata.get("split", {}).get("hash"),
        monitor=metadata.get("monitor") or None,
        validation=_monitored_value(metadata, metrics),
        fit_seconds=metadata.get("timings", {}).get("fit"),
        test_looks=metadata.get("test_looks", 0),
        parent_run=metadata.get("parent_run"),
        # Validation last: it replaces test, which must not select models.
        metrics=metrics.get("test", {}) | metrics.get("validation", {}),
        tags=tags,
        validation_record=validation_record,
        is_whole=is_whole,
    )


def second_of(run_id: str) -> str:
    """Return the part of a run id that gives the second of its creation."""
    return run_id[: len("20241124-031502")]


def _monitored_value(metadata: dict[str, Any], metrics: dict[str, dict[str, float]]) -> float | None:
    monitor = metadata.get("monitor")
    if metadata.get("status") != "complete" or not monitor:
        return None
    return metrics.get("validation", {}).get(monitor["metric"])


def _without_figures(record: EvaluationRecord | None) -> dict[str, Any] | None:
    if record is None:
        return None
    return record.to_json() | {"metrics": {}, "counts": {}, "segments": {}}
