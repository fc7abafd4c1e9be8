"""`recctl diagnose`: finds common problems of data, splits and trained models, and suggests settings to try.

Each rule's threshold is a constant of its module, with the reason for its value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recctl.config import LoadedConfig
from recctl.diagnosis import cost, data, training
from recctl.diagnosis.findings import Finding as Finding
from recctl.diagnosis.findings import Settings
from recctl.experiment import prepare, stages
from recctl.experiment.lifecycle import prepare_for
from recctl.experiment.run_config import load_run_config, require_files
from recctl.runs import Run, layout
from recctl.runs.store import run_hashes
from recctl.training import history

_SEVERITIES = ("problem", "warning", "hint")


@dataclass(frozen=True)
class Diagnosis:
    """The result of a diagnosis.

    Attributes:
        findings: The most severe first; those of equal severity by area: data, convergence, overfitting, speed, memory.
        checked: What was checked, in a few words each.
    """

    findings: list[Finding]
    checked: list[str]

    @property
    def healthy(self) -> bool:
        """Whether no finding is more severe than a hint."""
        return all(finding.severity == "hint" for finding in self.findings)

    def plain(self) -> dict[str, Any]:
        """The diagnosis as plain values, for JSON."""
        return {
            "healthy": self.healthy,
            "looked_at": self.checked,
            "findings": [finding.plain() for finding in self.findings],
        }


def diagnose_config(loaded: LoadedConfig) -> Diagnosis:
    """Read and split the data of a config, and check them. Nothing is trained.

    Raises:
        DataError: The data cannot be read or split.
    """
    prepared = prepare(loaded)
    facts = prepared.dataset.describe() | {"leakage": prepared.record["split"]["leakage"]}
    return _diagnosis(list(data.findings(facts, Settings(loaded))), ["data", "split"])


def diagnose_run(run: Run, reread: bool = False, overrides: Sequence[str] = ()) -> Diagnosis:
    """Check a run, from what its directory records.

    Args:
        run: The run, complete or not.
        reread: Whether to read the data again, for values that a run does not record: the number of duplicates, the
            exact density, and the metrics of popularity, which runs of version 0.2 and before do not record.
        overrides: Where and how the data are read now, such as `data.source=FILE`.

    Raises:
        ArtifactError: Files of the run are missing or damaged.
        DataError: The data have changed since the run.
    """
    loaded = load_run_config(run, overrides)
    settings = Settings(loaded)
    metadata = run.metadata
    epochs = history.read(run.path / layout.HISTORY)
    findings: list[Finding] = []
    facts = _data_facts(metadata)
    if reread:
        require_files(run, loaded)
        facts |= prepare(loaded, data_hash=run_hashes(run)[0]).dataset.describe()
        if "baseline" not in metadata:
            metadata = metadata | {"baseline": _popularity_baseline(run, loaded)}
    if "interactions" in facts:
        findings += data.findings(facts, settings)
    record = _training_record(run, settings, epochs, metadata.get("baseline") or {})
    findings += training.findings(record, settings)
    findings += cost.findings(metadata, epochs, settings, run_died=run.status == "died")
    checked = ["data", "split"]
    if epochs:
        checked.append(f"{len(epochs)} epochs")
    checked += ["timings", "memory"]
    return _diagnosis(findings, checked)


def _data_facts(metadata: dict[str, Any]) -> dict[str, Any]:
    """The recorded description of the data, as `describe` has it, and the leakage report."""
    recorded = metadata.get("data", {})
    facts: dict[str, Any] = recorded | recorded.get("outline", {})
    facts["leakage"] = metadata.get("split", {}).get("leakage", {})
    return facts


def _popularity_baseline(run: Run, loaded: LoadedConfig) -> dict[str, Any] | None:
    """Compare a run that was evaluated, and did not record it, with popularity."""
    measured: list[stages.Part] = [part for part in ("validation", "test") if run.metrics().get(part)]
    if not measured or not run.metadata.get("models"):
        return None
    prepared, _ = prepare_for(loaded, run)
    return stages.compare_with_popularity(run, measured[0], prepared, loaded.config)


def _training_record(
    run: Run, settings: Settings, epochs: list[dict[str, Any]], baseline: dict[str, Any]
) -> training.TrainingRecord:
    parts = run.metadata.get("split", {}).get("leakage", {}).get("parts", {})
    validation = parts.get("validation", {})
    return training.TrainingRecord(
        epochs=epochs,
        monitor=_monitored_metric(run, settings),
        error=str(run.metadata.get("error", "")),
        metrics=run.metrics().get("validation", {}),
        n_items=int(parts.get("train", {}).get("items", 0)),
        n_validation_users=int(validation.get("users", 0)),
        n_validation_interactions=int(validation.get("interactions", 0)),
        convergence=run.metadata.get("convergence", {}),
        baseline=baseline,
    )


def _monitored_metric(run: Run, settings: Settings) -> str:
    """The metric that was measured on validation after each epoch."""
    from recctl.experiment.monitors import training_monitor

    recorded = run.metadata.get("training", {}).get("monitor")
    return str(recorded or training_monitor(settings.config, settings.config.has_validation))


def _diagnosis(findings: list[Finding], checked: list[str]) -> Diagnosis:
    return Diagnosis(sorted(findings, key=lambda finding: _SEVERITIES.index(finding.severity)), checked)
