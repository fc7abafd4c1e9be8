"""What experiment trackers and exports to them record of a run: its parameters, tags, data, metrics and files.

Live tracking and exports use these functions alike, so that a run has the same names in both.
"""

from __future__ import annotations

import getpass
import json
import os
import shlex
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from recctl import urls
from recctl.config import flatten
from recctl.config.schema import source_name
from recctl.errors import RecctlError
from recctl.evaluation.segments import interval_records
from recctl.runs import Run, layout
from recctl.tracking import Dataset, Record, Tracker, epoch_values
from recctl.training import history

# Tags that identify a run.
RUN_ID_TAG = "recctl.run_id"
# Sections of a config that do not describe what was measured; those of a search do for the search itself.
_UNTRACKED_SECTIONS = ("tracking", "tuning", "engine", "models")
_FILES = (
    layout.CONFIG,
    layout.METRICS,
    layout.HISTORY,
    layout.TRIALS,
    layout.BEST_CONFIG,
    layout.COMPARISON,
)

Value = tuple[str, float | None, int]
"""Name, value and step of a metric."""


def record_of(run: Run, more_properties: Mapping[str, str] | None = None, parent: Tracker | None = None) -> Record:
    """The record of a run.

    Args:
        run: A run that has begun.
        more_properties: Tags beside those of every run.
        parent: Tracker of the run that it is a part of.
    """
    return Record(
        run.id,
        params(run),
        {RUN_ID_TAG: run.id},
        {**properties(run), **(more_properties or {})},
        _dataset(run),
        start_time(run),
        parent,
    )


def start_time(run: Run) -> float:
    """When a run began, in seconds since 1970."""
    return datetime.fromisoformat(run.metadata["created"]).timestamp()


def end_time(run: Run) -> float:
    """When a run ended; now, if it has not."""
    finished = run.metadata.get("finished")
    if finished is None:
        return datetime.now(UTC).timestamp()
    # Versions before 0.3 stored whole seconds: such an end may lie before the start.
    return max(start_time(run), datetime.fromisoformat(finished).timestamp())


def params(run: Run) -> dict[str, Any]:
    """The settings of a run by their paths in its config, with all defaults; without those that have no value.

    A search has those of its section `tuning`, too. A comparison has no model of its own.
    """
    sections: dict[str, Any] = yaml.safe_load(run.config_text())
    kind = run.metadata["kind"]
    labels = [entry.get("label") or entry.get("name") for entry in sections.get("models") or []]
    untracked = set(_UNTRACKED_SECTIONS)
    if kind == "tune":
        untracked.remove("tuning")
    described = {section: values for section, values in sections.items() if section not in untracked}
    if "model" in described:
        described["model"] = _with_seed(described["model"], sections["seed"])
    if labels:
        described["models"] = ", ".join(map(str, labels))
    if kind == "compare":
        repeats = run.metadata["comparison"]["repeats"]
        options = run.metadata["comparison"]["terms"]
        described["comparison"] = {
            "seeds": list(repeats["seeds"]),
            "n_folds": repeats["n_folds"],
            "refit": repeats["refit"],
            "on": options["on"],
            "metric": options["metric"],
        }
    return {
        name: urls.redact(value) if isinstance(value, str) else value
        for name, value in flatten(described).items()
        if value is not None and value != []
    }


def model_params(model: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The hyperparameters of a section `model`, by their paths in a config."""
    flat = flatten({"model": _with_seed(model, seed)})
    return {name: value for name, value in flat.items() if value is not None}


def _with_seed(model: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The section with the seed that the model draws its random numbers by: its own, else that of the experiment."""
    from recctl.models.registry import model_class

    values = {"name": model["name"], "params": dict(model.get("params") or {})}
    if "seed" in model_class(model["name"]).parameters and values["params"].get("seed") is None:
        values["params"]["seed"] = seed
    return values


def properties(run: Run) -> dict[str, str]:
    """Who ran what, and from which code: tags, by the names that MLflow displays."""
    environment = run.metadata["environment"]
    found: dict[str, str | None] = {
        "recctl.kind": run.metadata["kind"],
        "recctl.version": environment["recctl"],
        "recctl.parent_run": run.metadata.get("parent_run"),
        "mlflow.user": _user(),
        "mlflow.source.type": "LOCAL",
        "mlflow.source.name": shlex.join(environment.get("command") or []),
    }
    git = environment.get("git") or {}
    found["mlflow.source.git.commit"] = git.get("commit")
    found["mlflow.source.git.branch"] = git.get("branch")
    found["mlflow.source.git.repoURL"] = git.get("remote")
    if "dirty" in git:
        found["mlflow.source.git.dirty"] = str(git["dirty"]).lower()
    return {tag_name: value for tag_name, value in found.items() if value}


def _user() -> str | None:
    """The name that a tracking server knows the user by, else that of the account."""
    name = os.environ.get("MLFLOW_TRACKING_USERNAME")
    if name:
        return name
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # a container may have no account for its user id
        return None


def _dataset(run: Run) -> Dataset | None:
    data = run.metadata.get("data") or {}
    if "hash" not in data:
        return None
    new_data = run.metadata.get("new_data")
    if new_data is None:
        name, source_type, described = _source(yaml.safe_load(run.config_text())["data"]["source"])
    else:
        name, source_type, described = _new_source(new_data)
    split = run.metadata.get("split") or {}
    profile = {
        "interactions": data.get("interactions"),
        "users": data.get("users"),
        "items": data.get("items"),
        "data_hash": data["hash"],
        "split_hash": split.get("hash"),
    }
    return Dataset(
        name,
        data["hash"],
        source_type,
        described,
        {key: value for key, value in profile.items() if value is not None},
        "training" if new_data is None else "evaluation",
    )


def _source(source: str | dict[str, str]) -> tuple[str, str, dict[str, Any]]:
    """The source of a stored config as MLflow describes one: its name, its type, and what this type stores."""
    if isinstance(source, dict):
        return "query", "code", {"tags": {"recctl.data.source": json.dumps(source)}}
    name = source_name(source)
    if urls.is_url(source):
        scheme = urls.scheme(source)
        if scheme in ("http", "https"):
            return name, "http", {"url": source}
        return name, scheme or "url", {"uri": source}
    if os.path.isabs(source):
        return name, "local", {"uri": source}
    # A name of the catalog, or synthetic data.
    return name, "code", {"tags": {"recctl.data.source": source}}


def _new_source(new_data: Mapping[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """The source of the data that a comparison measured instead of those of its runs."""
    file = new_data["file"]
    if file is None:
        name = f"test of {new_data['test_of']}"
        return name, "code", {"tags": {"recctl.data.source": name}}
    return _source(file if urls.is_url(file) else os.path.abspath(file))


def epochs(run_folder: Path) -> Iterator[Value]:
    """The loss and the metrics of each epoch in a folder's history.jsonl."""
    for epoch in history.read(run_folder / layout.HISTORY):
        values = epoch_values(epoch["loss"], epoch.get("learning_rate"), epoch.get("seconds"), epoch["metrics"])
        for name, value in values.items():
            yield name, value, epoch["epoch"]


def results(run: Run) -> list[Value]:
    """The metrics of each part and segment with the ends of their intervals, and the seconds of each stage.

    Of a comparison: the means, spreads and intervals of each model, also by window and segment.
    """
    step = (run.metadata.get("training") or {}).get("best_epoch") or 0
    values = _run_values(run)
    windows: list[Value] = []
    document = _comparison(run)
    if document is not None:
        # Not `document["on"]` of new data: it holds their hash, and metrics of two comparisons must have one name.
        values |= _comparison_values(document, "new_data" if "new_data" in run.metadata else document["on"])
        windows = list(_window_values(document))
    for stage, seconds in run.timings.items():
        values[f"seconds/{stage}"] = seconds
    return windows + [(name, value, step) for name, value in values.items()]


def final_properties(run: Run) -> dict[str, str]:
    """Tags and description that are known at the end: the best trial of a search, the best model of a comparison."""
    found: dict[str, str] = {}
    search = run.metadata.get("tuning") or {}
    if "best_trial" in search:
        found |= _best_trial(search)
    if run.metadata["kind"] == "compare" and run.metadata.get("best"):
        found["recctl.best_model"] = run.metadata["best"]
        document = _comparison(run)
        if document is not None:
            found["mlflow.note.content"] = "\n".join(document["words"])
    if "error" in run.metadata:
        found["recctl.error"] = run.metadata["error"]
    return found


def _best_trial(search: Mapping[str, Any]) -> dict[str, str]:
    """The best trial of a search, as its record is named; those of several models are numbered by model."""
    number = search.get("best_trial_of_model", search["best_trial"])
    subject = f"trial {number}"
    found = {"recctl.best_trial": str(number)}
    if "best_model" in search:
        subject = f"{search['best_model']}, {subject}"
        found["recctl.best_model"] = str(search["best_model"])
    point = ", ".join(f"{name}={value}" for name, value in search["best_point"].items())
    values = [
        f"{monitor} = {value:.6g}" for monitor, value in zip(search["monitors"], search["best_values"], strict=True)
    ]
    found["mlflow.note.content"] = f"best: {subject} ({point}); {', '.join(values)} on validation"
    return found


def files(run: Run) -> Iterator[tuple[Path, str]]:
    """The files that trackers store, each with the folder it goes to."""
    for name in _FILES:
        if (run.path / name).exists():
            yield run.path / name, ""
    figures = run.path / layout.FIGURES
    if figures.is_dir():
        for path in sorted(figures.rglob("*")):
            if path.is_file():
                yield path, path.parent.relative_to(run.path).as_posix()


def _run_values(run: Run) -> dict[str, float | None]:
    """The metrics of a run by part and segment, with the ends of their 95 % intervals."""
    values: dict[str, float | None] = {}
    for part, metrics in run.metrics().items():
        for metric_key, value in metrics.items():
            values[f"{part}/{metric_key}"] = value
        # Metrics of the whole catalog, such as coverage, have no interval.
        for metric_key, figure in _intervals(run, part).items():
            if metric_key in metrics:
                values |= _ends(f"{part}/{metric_key}", figure)
    for part, segments in run.segments().items():
        for key, segment in segments.items():
            for metric_key, figure in segment["metrics"].items():
                name = f"{part}/{_segment_path(key)}/{metric_key}"
                values[name] = figure["value"]
                values |= _ends(name, figure)
    return values


def _intervals(run: Run, part: str) -> dict[str, dict[str, Any]]:
    try:
        return interval_records(run.per_user(part), int(run.metadata.get("seed", 42)))
    except RecctlError:  # a run that failed may have figures without values by user
        return {}


def _comparison(run: Run) -> dict[str, Any] | None:
    if run.metadata["kind"] != "compare":
        return None
    try:
        document: dict[str, Any] = json.loads((run.path / layout.COMPARISON).read_text(encoding="utf-8"))
    except (OSError, ValueError):  # it failed before there was a result
        return None
    return document


def _comparison_values(document: Mapping[str, Any], part: str) -> dict[str, float | None]:
    values: dict[str, float | None] = {}
    for model in document["compared"]:
        for metric_key, record in model["metrics"].items():
            values |= _estimate(f"{model['label']}/{part}/{metric_key}", record)
    for key, segment in document.get("segments", {}).items():
        for label, estimates in segment["models"].items():
            for metric_key, record in estimates.items():
                values |= _estimate(f"{label}/{part}/{_segment_path(key)}/{metric_key}", record)
    return values


def _window_values(document: Mapping[str, Any]) -> Iterator[Value]:
    """The metrics of each model in each window of a backtest; the number of the window is the step."""
    for position, window in enumerate(document.get("windows", [])):
        for model in document["compared"]:
            for metric_key, record in model["metrics"].items():
                estimate = _estimate(f"{model['label']}/windows/{metric_key}", record["windows"][position])
                for name, value in estimate.items():
                    yield name, value, window["number"]


def _estimate(name: str, record: Mapping[str, Any]) -> dict[str, float | None]:
    return {name: record["value"], f"{name}_spread": record.get("spread"), **_ends(name, record)}


def _ends(name: str, figure: Mapping[str, Any]) -> dict[str, float | None]:
    # Not below the name, as in `ndcg@10/low`: stores that keep a metric as a file can't have a folder of its name.
    return {f"{name}_low": figure.get("low"), f"{name}_high": figure.get("high")}


def _segment_path(key: str) -> str:
    """A segment as a part of a path: `segments/country/DE` of `country=DE`."""
    label, equals, name = key.partition("=")
    return f"segments/{label}/{name.replace('/', '_')}" if equals else f"segments/{label}"
