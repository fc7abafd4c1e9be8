"""The data of a report: the runs that it shows, and results that several sections need, each computed once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from typing import Any

import yaml

from recctl.errors import ArtifactError, ConfigError, RecctlError
from recctl.evaluation.paired_comparison import compare_paired
from recctl.experiment.comparison.result import ComparisonOptions, compare_runs
from recctl.experiment.comparison.run import comparison_result
from recctl.metrics import MetricKey
from recctl.reports.errors import SectionOmittedError
from recctl.reports.recompute import Recomputed, recompute
from recctl.reports.run_view import RunView
from recctl.runs import Run, RunStore
from recctl.suggest import did_you_mean

HELD_OUT = ("validation", "test")


class ReportData:
    """The runs of a report.

    Args:
        runs: One or more runs. A comparison is shown as the runs that it compares.
        metric: The metric that the report focuses on; None: the one that the runs monitor.
        overrides: Where and how the data of the runs are read now, such as `data.source=FILE`.

    Attributes:
        runs: As given.
        views: The runs that have a model, side by side.
        comparison_run: The first run that is a comparison, if any.
        missing_runs: A message for each compared run that cannot be opened.

    Raises:
        ConfigError: No run measured the metric.
    """

    def __init__(self, runs: Sequence[Run], metric: str | None = None, overrides: Sequence[str] = ()) -> None:
        self.runs = list(runs)
        self.comparison_run = next((run for run in runs if run.metadata.get("kind") == "compare"), None)
        self.missing_runs: list[str] = []
        labeled_runs = [labeled_run for run in runs for labeled_run in self._labeled_runs(run)]
        self.views = [RunView(label, run, overrides) for label, run in _with_unique_labels(labeled_runs)]
        self._requested_metric = metric
        self._intervals: dict[tuple[str, str], dict[str, Any]] = {}
        if metric is not None and metric not in self._measured_metrics():
            suggestion = did_you_mean(metric, self._measured_metrics())
            raise ConfigError(f"--metric {metric!r}: no run has measured it{suggestion}")

    def _labeled_runs(self, run: Run) -> list[tuple[str, Run]]:
        """The run with the name of its model; for a comparison, its compared runs."""
        if run.metadata.get("kind") != "compare":
            models = run.metadata.get("models") or [{}]
            if run.is_lists:
                return [(run.metadata["lists"]["name"], run)]
            return [(models[-1].get("model") or _model_name(run), run)]
        run_store = RunStore(run.path.parent)
        compared: dict[str, Run] = {}
        newest_window = len(run.metadata.get("windows", [])) - 1
        for compared_entry in run.metadata.get("compared", []):
            # A backtest has a run for each window; the newest one is that of the model to use.
            if compared_entry.get("window", newest_window) != newest_window:
                continue
            # With several seeds or folds a model has several runs; the first represents it. A failed model has none.
            if compared_entry["label"] in compared or compared_entry["run_id"] is None:
                continue
            try:
                compared[compared_entry["label"]] = run_store.resolve(compared_entry["run_id"])
            except ArtifactError as error:
                self.missing_runs.append(f"{compared_entry['label']}: {error}")
        return list(compared.items())

    def _measured_metrics(self) -> list[str]:
        """Keys of all metrics that any run has on any part, without repetition."""
        metric_keys = [
            metric_key for run_view in self.views for values in run_view.metrics.values() for metric_key in values
        ]
        return list(dict.fromkeys(metric_keys))

    @property
    def has_several_models(self) -> bool:
        """Whether figures and tables have to name the models."""
        return len(self.views) > 1

    @property
    def seed(self) -> int:
        """Seed of the random numbers that the report draws."""
        return int(self.runs[0].metadata.get("seed", 42))

    @cached_property
    def metric(self) -> str:
        """The metric that the report focuses on.

        Raises:
            SectionOmittedError: No run has metrics.
        """
        if self._requested_metric is not None:
            return self._requested_metric
        if self.comparison is not None:
            return str(self.comparison["metric"])
        for run_view in self.views:
            if run_view.monitored_metric is not None:
                return run_view.monitored_metric
        known_metrics = [metric_key for metric_key in self._measured_metrics() if MetricKey.parse(metric_key).is_known]
        if not known_metrics:
            raise SectionOmittedError("no metrics: the run was not evaluated")
        return known_metrics[0]

    @cached_property
    def part(self) -> str:
        """The part whose stored metrics are compared: test if every run has it, else validation."""
        if self.comparison is not None:
            return str(self.comparison["on"])
        return self._common_part()

    def _common_part(self) -> str:
        # Not `part`, which follows the comparison: the comparison itself is computed on this part.
        if self.views and all("test" in run_view.metrics for run_view in self.views):
            return "test"
        return "validation"

    # ---- statistics

    def intervals(self, view: RunView, part: str) -> dict[str, dict[str, Any]]:
        """By metric: the value and the bootstrap interval of each metric that is a mean over users.

        Raises:
            RecctlError: The run has no per-user metrics of the part, or the file is damaged.
        """
        cache_key = (view.label, part)
        if cache_key not in self._intervals:
            # A comparison of one model with itself: its figures hold the intervals.
            result = compare_paired({view.label: view.per_user(part)}, view.label, seed=self.seed)
            self._intervals[cache_key] = {
                metric_name: asdict(figures[view.label]) for metric_name, figures in result.estimates.items()
            }
        return self._intervals[cache_key]

    @cached_property
    def _comparison_or_reason(self) -> dict[str, Any] | str:
        """The result of the comparison, or the reason why the models cannot be compared."""
        if self.comparison_run is not None and len(self.runs) == 1:
            try:
                return comparison_result(self.comparison_run)
            except ArtifactError as error:
                return str(error)
        if not self.has_several_models:
            return "only one model"
        try:
            runs_by_label = {view.label: [view.run] for view in self.views}
            options = ComparisonOptions(on=self._common_part(), metric=self._requested_metric, seed=self.seed)
            return compare_runs(runs_by_label, options)
        except RecctlError as error:
            return str(error)

    @property
    def comparison(self) -> dict[str, Any] | None:
        """The result of comparing the models, as in comparison.json; None if there is one model or they differ."""
        result = self._comparison_or_reason
        return None if isinstance(result, str) else result

    @property
    def why_not_compared(self) -> str:
        """The reason why there is no comparison; empty if there is one."""
        result = self._comparison_or_reason
        return result if isinstance(result, str) else ""

    @cached_property
    def recomputed(self) -> Recomputed:
        """The data and the models, read again.

        Raises:
            SectionOmittedError: They cannot be read, or have changed since the runs.
        """
        return recompute(self.views)


def _model_name(run: Run) -> str:
    """The name of the model in the config of a run that has no fitted model yet; the run's id if unknown."""
    try:
        return str(yaml.safe_load(run.config_text())["model"]["name"])
    except (ArtifactError, yaml.YAMLError, LookupError, TypeError):
        return run.id


def _with_unique_labels(labeled_runs: list[tuple[str, Run]]) -> list[tuple[str, Run]]:
    """The runs with the ends of their ids added to labels that occur several times, then numbers if need be."""
    counts = Counter(label for label, _ in labeled_runs)
    with_ids = []
    for label, run in labeled_runs:
        unique_label = label if counts[label] == 1 else f"{label} ({run.id.rpartition('-')[2]})"
        with_ids.append((unique_label, run))
    # The same run may be given twice, and ids may end alike.
    counts = Counter(label for label, _ in with_ids)
    numbered = []
    for number, (label, run) in enumerate(with_ids, 1):
        unique_label = label if counts[label] == 1 else f"{label} #{number}"
        numbered.append((unique_label, run))
    return numbered
