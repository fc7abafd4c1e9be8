"""The config of an existing run, with its data where they are now."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from recctl import arguments, urls
from recctl.arguments import validated
from recctl.config import LoadedConfig, load_config, parse_config
from recctl.config.loading import with_values
from recctl.errors import ArtifactError, ConfigError, DataError
from recctl.experiment.config_checks import CHECKS, CHECKS_OF_STORED
from recctl.experiment.stored_metrics import without_meaningless_metrics
from recctl.runs import Run, layout

# The keys whose values are files of the user. `resolve_config` stores them as absolute paths.
_DATA_KEYS = (("data", "source"), ("split", "validation"), ("split", "test"))
# The titles of the items are stored in the run, so that it can do without their file.
_PATH_KEYS = (*_DATA_KEYS, ("data", "items", "file"), ("data", "users", "file"))
# In metadata.json: where these files are, as seen from the run's directory.
LOCATIONS = "locations"


@validated(path=arguments.path, overrides=arguments.overrides)
def load(path: str | os.PathLike[str], overrides: Sequence[str] = ()) -> LoadedConfig:
    """Load a config file and validate all of it: the schema, and the models, steps and metrics that it names.

    A config that is stored in a run's directory finds the files that moved together with the run.

    Raises:
        ConfigError: Lists every problem found.
    """
    path = Path(path)
    loaded = load_config(path, overrides, CHECKS)
    if not (path.parent / layout.METADATA).is_file():
        return loaded
    with suppress(ArtifactError):  # some other metadata.json, or a damaged one: the config is as good as any
        return _with_moved_files(loaded, Run.open(path.parent), overrides)
    return loaded


def load_run_config(
    run: Run, overrides: Sequence[str] = (), settings: Sequence[str] = (), file_name: str = layout.CONFIG
) -> LoadedConfig:
    """Load the config of a run.

    Files that moved together with the runs directory are found by their location relative to the run. Whether they
    still hold the run's data is checked by hash where they are read, so that no override can change what a run means.

    Args:
        run: The run; it is not changed.
        overrides: Where and how its data are read now, as `section.key=value`: keys of `data`, and the files of a
            predefined split. Relative paths start from the working directory.
        settings: Overrides of other keys, which the caller has chosen.
        file_name: The file in the run's directory; a search has one more config, that of its best trial.

    Raises:
        ConfigError: An override is of another key, or the config is not valid.
    """
    require_data_keys(run, overrides)
    # Stored paths are absolute, so that only those of overrides start from the working directory.
    name = str(run.path / file_name)
    config_text = without_meaningless_metrics(run.config_text(file_name), name)
    loaded = parse_config(config_text, name, Path(), [*overrides, *settings], CHECKS_OF_STORED)
    loaded = _with_moved_files(loaded, run, [*overrides, *settings])
    if "exclude" not in loaded.given.get("evaluation", {}):
        # A config of a version before 0.3, which knew nothing else.
        loaded = with_values(loaded, {("evaluation", "exclude"): "train"}, CHECKS_OF_STORED)
    return loaded


def require_files(run: Run, loaded: LoadedConfig) -> None:
    """Check that the files of a run's data exist.

    Raises:
        DataError: One is missing; says how to name its place.
    """
    for key_path, file_path in _absolute_paths(loaded.given):
        if key_path in _DATA_KEYS and not _exists(file_path):
            key = ".".join(key_path)
            raise DataError(
                f"{file_path}: does not exist any more; it is {key} of {run.id}. "
                f"If it has moved, say where it is: --set {key}=FILE"
            )


def file_locations(config_values: Mapping[str, Any], runs_dir: Path) -> dict[str, str]:
    """Return where the files of a config are, as seen from the directory of a run in `runs_dir`, by dotted key.

    Args:
        config_values: What `resolve_config` returned.
        runs_dir: The runs directory.
    """
    # Of any run: all are folders of the runs directory.
    run_directory = runs_dir.resolve() / "run"
    locations = {}
    for key_path, file_path in _absolute_paths(config_values):
        try:
            relative_path = os.path.relpath(file_path, run_directory)
        except ValueError:  # on Windows: on another drive
            continue
        locations[".".join(key_path)] = Path(relative_path).as_posix()
    return locations


def require_data_keys(run: Run, overrides: Sequence[str]) -> None:
    """Check that overrides say only where and how the data of a run are read.

    Raises:
        ConfigError: One is of another key.
    """
    allowed = [".".join(key_path) for key_path in _DATA_KEYS]
    problems = []
    for override in overrides:
        dotted_key = override.partition("=")[0]
        if not dotted_key.startswith("data.") and dotted_key not in allowed:
            problems.append(
                f"--set {override}: the settings of {run.id} can't be changed; only where and how its data are read "
                "can be: data.source=FILE and other keys of data, split.test and split.validation"
            )
    if problems:
        raise ConfigError(*problems)


def refuse_overrides_of_complete(run: Run, overrides: Sequence[str]) -> None:
    """Check that a complete run is not resumed with overrides, which would do nothing.

    Raises:
        ConfigError: There is an override.
    """
    if not overrides:
        return
    load_run_config(run, overrides)  # an override that no run takes is refused as in an interrupted run
    given = " ".join(f"--set {override}" for override in overrides)
    raise ConfigError(f"{given}: {run.id} is complete, so there is nothing left to read these data for; omit --set")


def _with_moved_files(loaded: LoadedConfig, run: Run, overrides: Sequence[str]) -> LoadedConfig:
    """Return a config of a run with the places of files that moved together with it, unless they are overridden."""
    overridden = {override.partition("=")[0] for override in overrides}
    moved_files = {
        key_path: file_path
        for key_path, file_path in _moved_files(run, loaded)
        if ".".join(map(str, key_path)) not in overridden
    }
    return with_values(loaded, moved_files, CHECKS_OF_STORED) if moved_files else loaded


def _moved_files(run: Run, loaded: LoadedConfig) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield the key and the place of each file that is where it was as seen from the run, but elsewhere on the disk.

    This place comes first even if there is a file at the old one: the run may be a copy, which belongs to the data that
    were copied with it.
    """
    locations = run.metadata.get(LOCATIONS) or {}
    for key_path, file_path in _absolute_paths(loaded.given):
        location = locations.get(".".join(key_path))
        if location is None:
            continue
        place = os.path.normpath(run.path.resolve() / location)
        if place != file_path and _exists(place):
            yield key_path, place


def _absolute_paths(values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], str]]:
    for key_path in _PATH_KEYS:
        value: Any = values
        for key in key_path:
            value = (value or {}).get(key)
        # A source can also be a name of the catalog or a URL.
        if isinstance(value, str) and os.path.isabs(value) and not urls.is_url(value):
            yield key_path, value


def _exists(path: str) -> bool:
    """Whether there is a file or a folder, or a file that matches a pattern."""
    return os.path.exists(path) or any(glob.iglob(path))
