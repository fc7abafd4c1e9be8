"""Models of runs. Apart from the stages of a run, whose imports recommending need not wait for."""

from __future__ import annotations

from recctl.arguments import at_least, optional, validated
from recctl.models.base import Recommender
from recctl.models.registry import load_model
from recctl.runs import Run
from recctl.runs.checks import a_run


@validated(run=a_run, version=optional(at_least(1)))
def load_version(run: Run, version: int | None = None) -> Recommender:
    """Load a model version of a run, by default the newest, after checking its hash against the run's metadata."""
    model_entry = run.model_entry(version)
    return load_model(run.path / model_entry["file"], model_entry["sha256"])
