"""Resuming a search: what must be unchanged, checked before anything is written, and options that are written back."""

from __future__ import annotations

from collections.abc import Sequence

import optuna
import yaml

from recctl.config import LoadedConfig, to_yaml
from recctl.config.schema import TuningConfig
from recctl.errors import ArtifactError, ConfigError
from recctl.experiment.data import resolve_config
from recctl.runs import Run, layout
from recctl.tuning.storage import stored_identity
from recctl.tuning.strategies import CoarseToFine, Strategy

# The sections of a config that options of `tune --resume` change.
_SECTIONS = ("tuning", "engine")


def require_same_search(run: Run, strategies: tuple[str, str], monitors: tuple[Sequence[str], Sequence[str]]) -> None:
    """Check that a search keeps its strategy and its metrics: its trials were proposed and compared by them.

    Args:
        run: The search.
        strategies: The strategy of its config, and the one that is requested.
        monitors: The monitored metrics of its config, and those that are requested.

    Raises:
        ConfigError: They differ; names the command that starts another search.
    """
    problems = []
    options = ""
    if strategies[0] != strategies[1]:
        option = f"--strategy {strategies[1]}"
        problems.append(f"{option}: the trials of {run.id} were chosen by {strategies[0]}")
        options += f" {option}"
    if list(monitors[0]) != list(monitors[1]):
        option = " ".join(f"--monitor {monitor}" for monitor in monitors[1])
        problems.append(f"{option}: the trials of {run.id} were compared by {' and '.join(monitors[0])}")
        options += f" {option}"
    if problems:
        advice = f"omit this to resume it, or start a new search: recctl tune {run.path / layout.CONFIG}{options}"
        raise ConfigError(f"{'; '.join(problems)}; {advice}")


def has_study(run: Run, shared_storage: optuna.storages.BaseStorage | None, study_name: str) -> bool:
    """Whether a search has a study already; one that was interrupted at its very beginning has none.

    Raises:
        ArtifactError: It has none, but it has trials. A resume would start an empty study, and replace its results.
    """
    if shared_storage is None:
        location = str(run.path / layout.STUDY)
        found = (run.path / layout.STUDY).exists()
    else:
        location = f"study {study_name!r} of the database"
        found = bool(stored_identity(shared_storage, study_name))
    if not found and (run.path / layout.TRIALS).exists():
        raise ArtifactError(
            f"{location}: missing, although {run.id} has trials in {layout.TRIALS}; restore it (with --storage, check "
            f"the URL), or start a new search: recctl tune {run.path / layout.CONFIG}"
        )
    return found


def require_more_trials(run: Run, section: TuningConfig, n_finished: int) -> None:
    """Check that a requested number of trials is not below the number of those that are finished.

    Raises:
        ConfigError: It is.
    """
    if section.n_trials is not None and section.n_trials < n_finished:
        raise ConfigError(
            f"--trials {section.n_trials}: {run.id} has {n_finished} finished trials already; --trials is the total "
            f"number, so give more than {n_finished}, or omit it"
        )


def write_back(run: Run, loaded: LoadedConfig, strategy: Strategy) -> None:
    """Store the settings that options have changed, so that config.yaml repeats the search.

    Everything else stays as it is: where the data are read now is no setting of the search.
    """
    values = yaml.safe_load(run.config_text())
    resolved = resolve_config(loaded)
    for section_name in _SECTIONS:
        if section_name in resolved:
            values[section_name] = resolved[section_name]
    if isinstance(strategy, CoarseToFine):
        # By default it follows from the number of trials, which is another one now.
        values["tuning"]["round_size"] = strategy.round_size
    run.save_file(layout.CONFIG, to_yaml(values).encode())
    run.save_metadata()
