"""What reports are made of: the runs that are shown, and what can be found out of them, each once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from recctl.config import LoadedConfig
from recctl.errors import ArtifactError, ConfigError, RecctlError
from recctl.evaluation.paired_comparison import compare_paired
from recctl.experiment import load
from recctl.experiment.comparison.entries import require_same_parts
from recctl.experiment.comparison.result import ComparisonOptions, compare_runs
from recctl.experiment.comparison.run import comparison_result
from recctl.metrics import MetricKey
from recctl.runs import Run, RunStore

if TYPE_CHECKING:
    import pandas as pd

    from recctl.reports.recompute import Recomputed

HELD_OUT = ("validation", "test")


class LeftOutError(RecctlError):
    """A part that a report has not, and why."""


@dataclass(frozen=True, eq=False)
class RunView:
    """A run of a model that is shown.

    Attributes:
        label: What figures and tables call it.
        run: The run.
    """

    label: str
    run: Run

    @cached_property
    def metrics(self) -> dict[str, dict[str, float]]:
        """By part; empty where nothing was measured, or the file is damaged, of which the page warns."""
        try:
            return self.run.metrics()
        except ArtifactError:
            return {}

    @cached_property
    def loaded(self) -> LoadedConfig:
        """Its config.

        Raises:
            RecctlError: It is missing, or of a package that is not here.
        """
        return load(self.run.path / "config.yaml")

    @property
    def monitor(self) -> dict[str, str]:
        """The metric it is chosen by, and the direction; empty where nothing was measured."""
        return self.run.metadata.get("monitor") or {}

    @cached_property
    def _tables(self) -> dict[str, pd.DataFrame]:
        return {}

    def per_user(self, part: str) -> pd.DataFrame:
        """Its users' metrics on a part.

        Raises:
            ArtifactError: They were not kept, or are damaged.
        """
        if part not in self._tables:
            self._tables[part] = self.run.per_user(part)
        return self._tables[part]


class ReportData:
    """The runs of a report.

    Args:
        runs: One or several; a comparison stands for the runs it compares.
        metric: What quality is told by; what the runs monitor if None.

    Attributes:
        runs: As given.
        subjects: The runs of models that are shown side by side.
        lost: Runs of a comparison that can't be opened, and why.

    Raises:
        ConfigError: No run has such a metric.
    """

    def __init__(self, runs: Sequence[Run], metric: str | None = None) -> None:
        self.runs = list(runs)
        self.comparison_run = next((run for run in runs if run.metadata.get("kind") == "compare"), None)
        self.lost: list[str] = []
        self.subjects = [RunView(*pair) for pair in _apart([pair for run in runs for pair in self._of(run)])]
        self.asked = metric
        self._intervals: dict[tuple[str, str], dict[str, Any]] = {}
        if metric is not None and metric not in (known := self._measured()):
            from recctl.suggest import did_you_mean

            raise ConfigError(f"--metric {metric!r}: measured by no run{did_you_mean(metric, known)}")

    def _of(self, run: Run) -> list[tuple[str, Run]]:
        if run.metadata.get("kind") != "compare":
            models = run.metadata.get("models") or [{}]
            return [(models[-1].get("model") or _model_of(run), run)]
        store = RunStore(run.path.parent)
        found: dict[str, Run] = {}
        for entry in run.metadata.get("compared", []):
            if entry["label"] in found or entry["run_id"] is None:
                continue
            try:
                found[entry["label"]] = store.resolve(entry["run_id"])
            except ArtifactError as error:
                self.lost.append(f"{entry['label']}: {error}")
        return list(found.items())

    def _measured(self) -> list[str]:
        return list(dict.fromkeys(key for one in self.subjects for part in one.metrics.values() for key in part))

    @property
    def seed(self) -> int:
        """Of what is drawn here."""
        return int(self.runs[0].metadata.get("seed", 42))

    @cached_property
    def metric(self) -> str:
        """What quality is told by.

        Raises:
            LeftOutError: Nothing was measured.
        """
        if self.asked is not None:
            return self.asked
        if self.comparison is not None:
            return str(self.comparison["metric"])
        for one in self.subjects:
            if "metric" in one.monitor:
                return one.monitor["metric"]
        measured = [key for key in self._measured() if MetricKey.parse(key).is_known]
        if not measured:
            raise LeftOutError("nothing was measured")
        return measured[0]

    @property
    def more_is_better(self) -> bool:
        """Whether more of the metric is better."""
        return MetricKey.parse(self.metric).higher_is_better

    @cached_property
    def part(self) -> str:
        """The part whose stored figures are shown side by side: test, where all have it, else validation."""
        if self.comparison is not None:
            return str(self.comparison["on"])
        for part in ("test", "validation"):
            if self.subjects and all(part in one.metrics for one in self.subjects):
                return part
        return "validation"

    # ---- chance

    def intervals(self, subject: RunView, part: str) -> dict[str, dict[str, Any]]:
        """Each metric that is a mean over users, with its interval, as plain values.

        Raises:
            RecctlError: The users' values were not kept, or are damaged.
        """
        key = subject.label, part
        if key not in self._intervals:
            table = subject.per_user(part)
            found = compare_paired({subject.label: table}, subject.label, seed=self.seed)
            self._intervals[key] = {name: asdict(of[subject.label]) for name, of in found.figures.items()}
        return self._intervals[key]

    @cached_property
    def _judged(self) -> dict[str, Any] | str:
        """What comparing came to, or why there is none."""
        if self.comparison_run is not None and len(self.runs) == 1:
            try:
                return comparison_result(self.comparison_run)
            except ArtifactError as error:
                return str(error)
        if len(self.subjects) < 2:
            return "one model"
        try:
            for one in self.subjects[1:]:
                require_same_parts(self.subjects[0].run, one.run)
            on = "test" if all("test" in one.metrics for one in self.subjects) else "validation"
            runs = {one.label: [one.run] for one in self.subjects}
            return compare_runs(runs, ComparisonOptions(on=on, metric=self.asked, seed=self.seed))
        except RecctlError as error:
            return str(error)

    @property
    def comparison(self) -> dict[str, Any] | None:
        """What comparing the models came to, as comparison.json has it; None if there is one, or they can't be."""
        return None if isinstance(self._judged, str) else self._judged

    @property
    def why_not_compared(self) -> str:
        """Why there is no comparison."""
        return self._judged if isinstance(self._judged, str) else ""

    @cached_property
    def reread(self) -> Recomputed:
        """The data and the models, read again.

        Raises:
            LeftOutError: They can't be, or are not what they were.
        """
        from recctl.reports.recompute import recompute

        return recompute(self.subjects)


def _model_of(run: Run) -> str:
    """The model a run is of, where it has none yet."""
    import yaml

    try:
        name = yaml.safe_load(run.config_text())["model"]["name"]
    except (ArtifactError, yaml.YAMLError, LookupError, TypeError):
        return run.id
    return str(name)


def _apart(found: list[tuple[str, Run]]) -> list[tuple[str, Run]]:
    """The same, with the ends of the runs' ids where several have one label."""
    counts = Counter(label for label, _ in found)
    ended = [(label if counts[label] == 1 else f"{label} ({run.id.rpartition('-')[2]})", run) for label, run in found]
    counts = Counter(label for label, _ in ended)
    return [(label if counts[label] == 1 else f"{label} #{at}", run) for at, (label, run) in enumerate(ended, 1)]
