"""What a section sees of one run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from recctl.config import LoadedConfig
from recctl.errors import ArtifactError
from recctl.experiment.run_config import load_run_config
from recctl.runs import Run

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class RunView:
    """A run of one model, as a report shows it. Files are read once.

    Attributes:
        label: Name of the model in figures and tables, unique within the report.
        run: The run.
        overrides: Where and how its data are read now, such as `data.source=FILE`.
    """

    label: str
    run: Run
    overrides: Sequence[str] = ()

    @cached_property
    def metrics(self) -> dict[str, dict[str, float]]:
        """Metrics by part; empty if there are none or metrics.json is damaged, which the page's header reports."""
        try:
            return self.run.metrics()
        except ArtifactError:
            return {}

    @cached_property
    def loaded(self) -> LoadedConfig:
        """The config of the run.

        Raises:
            RecctlError: config.yaml is missing or invalid, or its model is from a plug-in that is not installed.
        """
        return load_run_config(self.run, self.overrides)

    @property
    def relevance_threshold(self) -> float | None:
        """The lowest rating that counts as relevant; None: every interaction is relevant."""
        return self.loaded.config.evaluation.relevance_threshold

    @property
    def monitored_metric(self) -> str | None:
        """The metric that selected the model; None if the run was not evaluated."""
        return (self.run.metadata.get("monitor") or {}).get("metric")

    # A property and not a field: the dataclass is frozen.
    @cached_property
    def _per_user_tables(self) -> dict[str, pd.DataFrame]:
        return {}

    def per_user(self, part: str) -> pd.DataFrame:
        """Each user's metrics on a part.

        Raises:
            ArtifactError: The run has no per-user metrics of the part, or the file is damaged.
        """
        if part not in self._per_user_tables:
            self._per_user_tables[part] = self.run.per_user(part)
        return self._per_user_tables[part]
