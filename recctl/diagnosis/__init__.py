"""The troubleshooting of the training chapter as a program: what is wrong with data or a run, and what to try.

Each rule's threshold is a constant of its module, with why it is that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from recctl.config import LoadedConfig
from recctl.diagnosis import cost, data, training
from recctl.diagnosis.findings import Finding as Finding
from recctl.diagnosis.findings import Settings
from recctl.experiment import load, prepare
from recctl.runs import Run
from recctl.runs.store import run_hashes
from recctl.training import history

_ORDER = ("problem", "warning", "hint")


@dataclass(frozen=True)
class Diagnosis:
    """What was found.

    Attributes:
        findings: The worst first; those of a kind in the chapter's order.
        looked_at: What was looked at, in a few words each.
    """

    findings: list[Finding]
    looked_at: list[str]

    @property
    def healthy(self) -> bool:
        """Whether there is nothing worse than hints."""
        return all(finding.severity == "hint" for finding in self.findings)

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "healthy": self.healthy,
            "looked_at": self.looked_at,
            "findings": [finding.plain() for finding in self.findings],
        }


def diagnose_config(loaded: LoadedConfig) -> Diagnosis:
    """Read and split the data of a config, and say what is wrong with them; nothing is trained.

    Raises:
        DataError: The data can't be read or split.
    """
    prepared = prepare(loaded)
    facts = prepared.dataset.describe() | {"leakage": prepared.record["split"]["leakage"]}
    return _ordered(list(data.findings(facts, Settings(loaded))), ["data", "split"])


def diagnose_run(run: Run, reread: bool = False) -> Diagnosis:
    """Say what is wrong with a run, from what it keeps.

    Args:
        run: Complete or not.
        reread: Read its data again, for what a run does not record of them: duplicates, and the exact density.

    Raises:
        ArtifactError: Files of the run are missing or damaged.
        DataError: The data are not what the run was made with.
    """
    loaded = load(run.path / "config.yaml")
    settings, metadata = Settings(loaded), run.metadata
    lines = history.read(run.path / "history.jsonl")
    recorded = metadata.get("data", {})
    leakage = metadata.get("split", {}).get("leakage", {})
    facts = {**recorded, **recorded.get("outline", {}), "leakage": leakage}
    if reread:
        facts |= prepare(loaded, data_hash=run_hashes(run)[0]).dataset.describe()
    found = list(data.findings(facts, settings)) if "interactions" in facts else []
    part = leakage.get("parts", {}).get("validation", {})
    course = training.Course(
        lines,
        _monitor(run, settings),
        str(metadata.get("error", "")),
        run.metrics().get("validation", {}),
        {"items": leakage.get("parts", {}).get("train", {}).get("items", 0), **_of_part(part)},
        metadata.get("convergence", {}),
    )
    found += training.findings(course, settings)
    found += cost.findings(metadata, lines, settings, run.status == "died")
    looked_at = ["data", "split", *([f"{len(lines)} epochs"] if lines else []), "timings", "memory"]
    return _ordered(found, looked_at)


def _monitor(run: Run, settings: Settings) -> str:
    """The metric that was watched on validation, epoch by epoch."""
    from recctl.experiment.monitors import training_monitor

    found = run.metadata.get("training", {}).get("monitor")
    return str(found or training_monitor(settings.config, settings.config.has_validation))


def _of_part(part: dict[str, Any]) -> dict[str, int]:
    return {name: int(part[name]) for name in ("interactions", "users") if name in part}


def _ordered(found: list[Finding], looked_at: list[str]) -> Diagnosis:
    return Diagnosis(sorted(found, key=lambda finding: _ORDER.index(finding.severity)), looked_at)
