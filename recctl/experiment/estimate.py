"""What an experiment will take: memory, disk and time, before anything is trained."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, NamedTuple

from recctl import engines, progress
from recctl.config import Config, LoadedConfig
from recctl.data.dataset import InteractionDataset
from recctl.data.sources import catalog
from recctl.engines import available_memory
from recctl.errors import TrainingError
from recctl.experiment import stages
from recctl.experiment.callbacks import ValidationMetrics
from recctl.experiment.data import Prepared, prepare
from recctl.models.base import Recommender, fit_probe

# Before anything is read, some users and items may still drop out: in the split, or with users of few interactions.
# What needs so many times what there is does not fit; the rest is refused, or not, when the sizes are known.
_SURE, _SURE_WITH_FEWER_USERS = 2.0, 4.0
# What needs less is read in no time, and its refusal is then recorded with its run.
_WORTH_KNOWING = 1 << 30
# Of an interaction: codes, rating and time, the codes of train, and the matrix while it is made.
_BYTES_OF_ROW = 45
# Libraries that every run has in memory; with torch.
_PROCESS, _PROCESS_WITH_TORCH = 200 << 20, 420 << 20
# Blocks of scores and tables of users while it is measured.
_MEASURING = 50 << 20
# A part code packs into a quarter of a byte, a value of a user's metrics into less than two; the rest is text.
_SPLIT, _PER_USER, _TEXT = 0.25, 1.7, 20_000
_MOST_TO_WRITE = 64 << 20


class Sizes(NamedTuple):
    """Of what a model is fitted on."""

    n_users: int
    n_items: int
    n_interactions: int


@dataclass(frozen=True)
class Estimate:
    """What it will take; sizes in bytes, times in seconds.

    Attributes:
        model: Its name.
        sizes: Of all interactions, and of those the model is fitted on.
        source: Where the sizes are from: the data, read for it; or what is known of them without reading.
        memory: Of the process, the data, the fit, and at the peak.
        disk: Of the model's files, of checkpoints, and of the whole run.
        seconds: Of each stage and in all; for a model in epochs, of all epochs it may have. None where it does not fit,
            or where the data are not here.
        available: Memory and disk that are free.
        troubles: What stands in the way, and the way out.
    """

    model: str
    sizes: dict[str, int]
    source: Literal["read", "known"]
    memory: dict[str, int]
    disk: dict[str, int]
    seconds: dict[str, float] | None
    available: dict[str, int]
    troubles: list[str] = field(default_factory=list)

    @property
    def fits(self) -> bool:
        """Whether nothing stands in the way."""
        return not self.troubles

    def plain(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {**asdict(self), "fits": self.fits}


def known_sizes(config: Config) -> Sizes | None:
    """At most how many users, items and interactions there are, where the config alone or the catalog tells."""
    if config.data.source == "synthetic":
        size = config.data.synthetic
        return Sizes(size.n_users, min(size.n_items, size.n_interactions), size.n_interactions)
    entry = next((entry for entry in catalog() if entry.name == config.data.source), None)
    return None if entry is None else Sizes(entry.users, entry.items, entry.rows)


def refuse_hopeless(config: Config) -> None:
    """Refuse what can't fit in memory, before anything is read.

    It is sure only where no items are left out; else the model itself decides, when it is fitted.

    Raises:
        TrainingError: With the numbers and the way out.
    """
    sizes, data = known_sizes(config), config.data
    if sizes is None or data.preprocess or data.min_item_interactions > 1:
        return
    model = stages.build_model(config)
    if model.estimate_memory(*sizes) > _WORTH_KNOWING:
        model.require_memory_for(*sizes, min_ratio=_SURE if data.min_user_interactions <= 1 else _SURE_WITH_FEWER_USERS)


def estimate(loaded: LoadedConfig, runs_dir: Path) -> Estimate:
    """Tell what training a config will take.

    Data that are here are read and split, and a part of the fit is done, a few seconds of it. Of a data set of the
    catalog that was not fetched yet the sizes are those before anything is filtered, and nothing is said of time.

    Args:
        loaded: The config, of one model.
        runs_dir: Where the run will be kept.

    Raises:
        DataError: The data can't be read.
    """
    config = loaded.config
    model = stages.build_model(config)
    known = known_sizes(config)
    try:
        refuse_hopeless(config)
        hopeless = False
    except TrainingError:
        hopeless = True
    if known is not None and (hopeless or not _is_here(config)):
        return _from_sizes(config, model, known, runs_dir)
    begin = perf_counter()
    prepared = prepare(loaded)
    return _from_data(config, model, prepared, perf_counter() - begin, runs_dir)


def _is_here(config: Config) -> bool:
    entry = next((entry for entry in catalog() if entry.name == config.data.source), None)
    return entry is None or entry.cached


# ---- from sizes alone


def _from_sizes(config: Config, model: Recommender, sizes: Sizes, runs_dir: Path) -> Estimate:
    process = _PROCESS_WITH_TORCH if "device" in model.parameters else _PROCESS
    memory = _memory(model, sizes, process + _BYTES_OF_ROW * sizes.n_interactions)
    disk, available = _disk(config, model, sizes, sizes), _available(runs_dir)
    troubles = _troubles(model, sizes, disk["run"], runs_dir)
    return Estimate(model.name, _sizes_told(sizes, sizes), "known", memory, disk, None, available, troubles)


def _troubles(model: Recommender, fitted_on: Sizes, bytes_of_run: int, runs_dir: Path) -> list[str]:
    """What stands in the way."""
    found = []
    try:
        model.require_memory_for(*fitted_on)
    except TrainingError as error:
        found.append(str(error))
    try:
        engines.require_disk(bytes_of_run, runs_dir, "the run")
    except TrainingError as error:
        found.append(str(error))
    return found


def _memory(model: Recommender, fitted_on: Sizes, before: int) -> dict[str, int]:
    fit = model.estimate_memory(*fitted_on)
    return {"before_fit": before, "fit": fit, "peak": before + max(fit, _MEASURING + model.estimate_file(*fitted_on))}


def _disk(config: Config, model: Recommender, whole: Sizes, fitted_on: Sizes) -> dict[str, int]:
    one = model.estimate_file(*fitted_on)
    models = one * (2 if config.training.refit else 1)
    checkpoints = model.estimate_checkpoints(*fitted_on, keeps_best=config.training.early_stopping is not None)
    columns = 1 + len(config.evaluation.metrics) * len(config.evaluation.k_values)
    n_parts = 2 if config.has_validation else 1
    rest = _SPLIT * whole.n_interactions + _PER_USER * columns * n_parts * whole.n_users + _TEXT
    return {"models": models, "checkpoints": checkpoints, "run": int(models + checkpoints + rest)}


def _sizes_told(whole: Sizes, fitted_on: Sizes) -> dict[str, int]:
    told = dict(zip(("users", "items", "interactions"), whole, strict=True))
    return told | {f"train_{name}": size for name, size in zip(told, fitted_on, strict=True)}


def _available(runs_dir: Path) -> dict[str, int]:
    return {"memory": available_memory(), "disk": engines.available_disk(runs_dir)}


# ---- from data


def _from_data(
    config: Config,
    model: Recommender,
    prepared: Prepared,
    seconds_to_prepare: float,
    runs_dir: Path,
) -> Estimate:
    dataset = prepared.dataset
    train = prepared.split.train(dataset)
    whole, fitted_on = (Sizes(part.n_users, part.n_items, len(part)) for part in (dataset, train))
    if "device" in model.parameters:
        import torch  # noqa: F401 - as a fit will: it takes memory
    memory = _memory(model, fitted_on, engines.peak_memory() or _PROCESS + _BYTES_OF_ROW * len(dataset))
    disk, available = _disk(config, model, whole, fitted_on), _available(runs_dir)
    troubles = _troubles(model, fitted_on, disk["run"], runs_dir)
    seconds = None
    if not troubles:
        with progress.task(f"Trying {model.name}"):
            seconds, file = _seconds(config, model, prepared, train, disk, runs_dir)
        seconds = {"prepare": seconds_to_prepare, **seconds}
        seconds["total"] = sum(seconds.values())
        grown = max(
            file - model.estimate_file(*fitted_on), 0
        )  # what only the trial tells, as how many weights SLIM has
        disk = disk | {"models": disk["models"] + grown, "run": disk["run"] + grown}
    return Estimate(model.name, _sizes_told(whole, fitted_on), "read", memory, disk, seconds, available, troubles)


def _seconds(
    config: Config,
    model: Recommender,
    prepared: Prepared,
    train: InteractionDataset,
    disk: dict[str, int],
    runs_dir: Path,
) -> tuple[dict[str, float], int]:
    """Seconds of the stages after reading, and the bytes of the model's file."""
    fit, trial = model.probe_fit(train)
    save, of_byte, file = _saving(trial, model.estimate_file(train.n_users, train.n_items, len(train)), runs_dir)
    parts = ["validation", "test"] if config.has_validation else ["test"]
    held_out = {part: getattr(prepared.split, part)(prepared.dataset) for part in parts}
    seconds = {"fit": fit, "save": save}
    for part, relevant in held_out.items():
        seconds[f"evaluate_{part}"] = _measuring(
            relevant, lambda some: stages.evaluate_model(trial, some, some.history, config)
        )
    n_epochs = getattr(model, "_n_epochs", 0)
    if model.trained_in_epochs and "validation" in held_out:
        measured = _measuring(held_out["validation"], lambda some: ValidationMetrics(config, some)(trial))
        seconds["fit"] += measured * -(-n_epochs // config.training.validate_every)
    if model.trained_in_epochs and config.training.checkpoint_every:
        seconds["fit"] += n_epochs / config.training.checkpoint_every * of_byte * disk["checkpoints"]
    if config.training.refit:
        more = len(held_out["validation"]) / len(train)
        seconds["refit"] = fit * (1 + more) + save
    return seconds, file


def _saving(trial: Recommender, file: int, runs_dir: Path) -> tuple[float, float, int]:
    """Seconds to save a model, seconds of a byte, and the bytes, from a file that is written where runs are."""
    there = next(folder for folder in (runs_dir.absolute(), *runs_dir.absolute().parents) if folder.is_dir())
    with tempfile.TemporaryDirectory(prefix=".estimate-", dir=there) as folder:
        path = Path(folder) / "trial"
        begin = perf_counter()
        if file > _MOST_TO_WRITE:
            from recctl import atomic

            atomic.write_bytes(path, bytes(_MOST_TO_WRITE))
        else:
            trial.save(path)
        seconds, size = perf_counter() - begin, path.stat().st_size
        of_byte = seconds / size
        # Hashing goes on beside writing, at about a gigabyte a second.
        return (seconds, of_byte, size) if file <= _MOST_TO_WRITE else ((of_byte + 1e-9) * file, of_byte, file)


def _measuring(relevant: InteractionDataset, measure: Any) -> float:
    """Seconds to measure a part, from some of its users."""

    def of_some(share: float) -> float:
        some = fit_probe.sample_users(relevant, share)
        some.history = relevant.history
        begin = perf_counter()
        with progress.silence():
            measure(some)
        return perf_counter() - begin

    return fit_probe.extrapolate_seconds(of_some, min(1.0, max(1 / 256, 16 / relevant.n_users)))
