"""Estimates of the memory, disk space and time that an experiment needs, before anything is trained."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, NamedTuple

from recctl import atomic, engines, progress
from recctl.config import Config, LoadedConfig
from recctl.data.dataset import InteractionDataset
from recctl.data.sources import catalog
from recctl.engines import available_memory
from recctl.errors import TrainingError
from recctl.experiment import stages
from recctl.experiment.callbacks import ValidationMetrics
from recctl.experiment.data import Prepared, prepare
from recctl.experiment.newer_test import split_since
from recctl.kernels import loading
from recctl.models.base import Recommender, fit_probe
from recctl.runs import Run

# Before the data are read, the split and the minimum number of interactions of a user may still remove users and items.
# Only a model that needs this many times the available memory is refused then; the rest is decided by the real sizes.
_MIN_RATIO = 2.0
_MIN_RATIO_WITH_FILTERED_USERS = 4.0
# Smaller models are not refused before reading: if one doesn't fit into memory after all, its run records the error.
_MIN_BYTES_TO_REFUSE = 1 << 30
# Per interaction: codes, rating and timestamp, the codes of train, and the matrix while it is built.
_BYTES_PER_INTERACTION = 45
# Libraries that every run loads; with torch.
_PROCESS_BYTES = 200 << 20
_PROCESS_BYTES_WITH_TORCH = 420 << 20
# Blocks of scores and tables of users during evaluation.
_EVALUATION_BYTES = 50 << 20
# Compressed on disk: a part code takes a quarter of a byte, a metric value of a user less than two. The rest is text.
_SPLIT_BYTES = 0.25
_PER_USER_BYTES = 1.7
_TEXT_BYTES = 20_000
# The speed of the disk is measured by writing the model's file, but no more than this.
_MAX_BYTES_TO_WRITE = 64 << 20
_HASHING_SECONDS_PER_BYTE = 1e-9
# The first sample of users whose evaluation is timed.
_MIN_SHARE = 1 / 256
_MIN_SAMPLED_USERS = 16


class Sizes(NamedTuple):
    """The size of a data set."""

    n_users: int
    n_items: int
    n_interactions: int


@dataclass(frozen=True)
class Estimate:
    """Estimated memory, disk space and time of a run, in bytes and seconds.

    Attributes:
        model: The name of the model.
        sizes: Users, items and interactions of all data and of the training part.
        source: Where the sizes come from: "read" from the data, or "known" from the config or the catalog.
        memory: Before the fit (process and data), of the fit, and at the peak.
        disk: Of the model files, the checkpoints, and the whole run.
        seconds: Of each stage and in total; for a model trained in epochs, of the maximum number of epochs. None if the
            run does not fit, or if the data have not been downloaded.
        available: Free memory and disk space.
        troubles: Why the run does not fit, each with a suggested fix.
        backtest: Of a rolling split: the number of windows, and the `disk` and `seconds` of `recctl compare` with this
            model in all of them (at most: older windows have less training data). All else is of the newest window,
            which `recctl train` uses.
    """

    model: str
    sizes: dict[str, int]
    source: Literal["read", "known"]
    memory: dict[str, int]
    disk: dict[str, int]
    seconds: dict[str, float] | None
    available: dict[str, int]
    troubles: list[str] = field(default_factory=list)
    backtest: dict[str, float | None] | None = None

    @property
    def fits(self) -> bool:
        """Whether the run fits into the available memory and disk space."""
        return not self.troubles

    def plain(self) -> dict[str, Any]:
        """Return plain values for JSON."""
        return {**asdict(self), "fits": self.fits}


def known_sizes(config: Config) -> Sizes | None:
    """Return the maximum size of the data if the config or the catalog tells it without reading, else None."""
    if config.data.source == "synthetic":
        synthetic = config.data.synthetic
        # An item without interactions is not part of the data set.
        return Sizes(synthetic.n_users, min(synthetic.n_items, synthetic.n_interactions), synthetic.n_interactions)
    for catalog_entry in catalog():
        if catalog_entry.name == config.data.source:
            return Sizes(catalog_entry.users, catalog_entry.items, catalog_entry.rows)
    return None


def refuse_if_too_large(config: Config) -> None:
    """Refuse a model that certainly does not fit into memory before any data are read.

    This is certain only if no items are filtered out; otherwise the model itself decides when it is fitted.

    Raises:
        TrainingError: Gives the needed and the available memory, and a suggested fix.
    """
    sizes = known_sizes(config)
    data_config = config.data
    if sizes is None or data_config.preprocess or data_config.min_item_interactions > 1:
        return
    model = stages.build_model(config)
    if model.estimate_memory(*sizes) > _MIN_BYTES_TO_REFUSE:
        filters_users = data_config.min_user_interactions > 1
        min_ratio = _MIN_RATIO_WITH_FILTERED_USERS if filters_users else _MIN_RATIO
        model.require_memory_for(*sizes, min_ratio=min_ratio)


def estimate(loaded: LoadedConfig, runs_dir: Path, test_since: Run | None = None) -> Estimate:
    """Estimate what a run of a config needs.

    The data are read and split, and parts of the fit and of the evaluation are timed, which takes some seconds. For a
    data set of the catalog that has not been downloaded, the sizes are those before filtering, and time is unknown.

    Args:
        loaded: A config with one model.
        runs_dir: The directory in which the run would be created.
        test_since: The run would be tested on what is newer than the data of this one; see `train`.

    Raises:
        DataError: The data can't be read.
    """
    one_window = _estimate_run(loaded, runs_dir, test_since)
    split_config = loaded.config.split
    if split_config.strategy != "rolling" or test_since is not None:
        return one_window
    return replace(one_window, backtest=_estimate_backtest(one_window, split_config.n_windows))


def _estimate_backtest(one_window: Estimate, n_windows: int) -> dict[str, float | None]:
    """What a backtest needs if every window costs as much as the newest; the data are read once."""
    total_seconds = None
    if one_window.seconds is not None:
        in_each_window = one_window.seconds["total"] - one_window.seconds["prepare"]
        total_seconds = one_window.seconds["prepare"] + n_windows * in_each_window
    return {"n_windows": n_windows, "disk": n_windows * one_window.disk["run"], "seconds": total_seconds}


def _estimate_run(loaded: LoadedConfig, runs_dir: Path, test_since: Run | None) -> Estimate:
    config = loaded.config
    model = stages.build_model(config)
    sizes = known_sizes(config)
    try:
        refuse_if_too_large(config)
        is_too_large = False
    except TrainingError:
        is_too_large = True
    # Data that would have to be downloaded, or whose fit would fail, are not read.
    if sizes is not None and (is_too_large or not _is_local(config)):
        return _estimate_from_sizes(config, model, sizes, runs_dir)
    # Before the clock starts: they are compiled once on a machine, not in each run.
    loading.load(loading.kernels_of_training([config.model.name]))
    start_time = perf_counter()
    make_split = None if test_since is None else split_since(test_since, config)
    prepared = prepare(loaded, make_split)
    return _estimate_from_data(config, model, prepared, perf_counter() - start_time, runs_dir)


def _is_local(config: Config) -> bool:
    for catalog_entry in catalog():
        if catalog_entry.name == config.data.source:
            return catalog_entry.cached
    return True


# ---- from sizes alone


def _estimate_from_sizes(config: Config, model: Recommender, sizes: Sizes, runs_dir: Path) -> Estimate:
    process = _PROCESS_BYTES_WITH_TORCH if "device" in model.parameters else _PROCESS_BYTES
    disk = _estimate_disk(config, model, sizes, sizes)
    return Estimate(
        model=model.name,
        sizes=_size_record(sizes, sizes),
        source="known",
        memory=_estimate_memory(model, sizes, process + _BYTES_PER_INTERACTION * sizes.n_interactions),
        disk=disk,
        seconds=None,
        available=_available(runs_dir),
        troubles=_find_problems(model, sizes, disk["run"], runs_dir),
    )


def _find_problems(model: Recommender, train_sizes: Sizes, run_bytes: int, runs_dir: Path) -> list[str]:
    troubles = []
    try:
        model.require_memory_for(*train_sizes)
    except TrainingError as error:
        troubles.append(str(error))
    try:
        engines.require_disk(run_bytes, runs_dir, "the run")
    except TrainingError as error:
        troubles.append(str(error))
    return troubles


def _estimate_memory(model: Recommender, train_sizes: Sizes, before_fit: int) -> dict[str, int]:
    fit_bytes = model.estimate_memory(*train_sizes)
    evaluation = _EVALUATION_BYTES + model.estimate_file(*train_sizes)
    return {"before_fit": before_fit, "fit": fit_bytes, "peak": before_fit + max(fit_bytes, evaluation)}


def _estimate_disk(config: Config, model: Recommender, sizes: Sizes, train_sizes: Sizes) -> dict[str, int]:
    n_models = 2 if config.training.refit else 1
    models = n_models * model.estimate_file(*train_sizes)
    keeps_best = config.training.early_stopping is not None
    checkpoints = model.estimate_checkpoints(*train_sizes, keeps_best=keeps_best)
    n_columns = 1 + len(config.evaluation.metrics) * len(config.evaluation.k_values)
    n_parts = 2 if config.has_validation else 1
    per_user = _PER_USER_BYTES * n_columns * n_parts * sizes.n_users
    other_bytes = _SPLIT_BYTES * sizes.n_interactions + per_user + _TEXT_BYTES
    return {"models": models, "checkpoints": checkpoints, "run": int(models + checkpoints + other_bytes)}


def _size_record(sizes: Sizes, train_sizes: Sizes) -> dict[str, int]:
    return {
        "users": sizes.n_users,
        "items": sizes.n_items,
        "interactions": sizes.n_interactions,
        "train_users": train_sizes.n_users,
        "train_items": train_sizes.n_items,
        "train_interactions": train_sizes.n_interactions,
    }


def _available(runs_dir: Path) -> dict[str, int]:
    return {"memory": available_memory(), "disk": engines.available_disk(runs_dir)}


# ---- from data


class _SaveProbe(NamedTuple):
    """Measured cost of saving a model."""

    seconds: float
    seconds_per_byte: float
    file_bytes: int


def _estimate_from_data(
    config: Config,
    model: Recommender,
    prepared: Prepared,
    seconds_to_prepare: float,
    runs_dir: Path,
) -> Estimate:
    dataset = prepared.dataset
    train = prepared.split.train(dataset)
    sizes = Sizes(dataset.n_users, dataset.n_items, len(dataset))
    train_sizes = Sizes(train.n_users, train.n_items, len(train))
    if "device" in model.parameters:
        import torch  # noqa: F401 - a fit imports it too, and it takes memory
    # The peak so far includes reading and splitting, whose temporary copies a run makes as well.
    before_fit = engines.peak_memory() or _PROCESS_BYTES + _BYTES_PER_INTERACTION * len(dataset)
    disk = _estimate_disk(config, model, sizes, train_sizes)
    available = _available(runs_dir)
    troubles = _find_problems(model, train_sizes, disk["run"], runs_dir)
    seconds = None
    if not troubles:
        with progress.task(f"Timing {model.name}"):
            stage_seconds, file_bytes = _time_stages(config, model, prepared, train, disk, runs_dir)
        seconds = {"prepare": seconds_to_prepare, **stage_seconds}
        seconds["total"] = sum(seconds.values())
        # Some sizes are known only after fitting, such as the number of nonzero weights of SLIM.
        excess = max(file_bytes - model.estimate_file(*train_sizes), 0)
        disk["models"] += excess
        disk["run"] += excess
    return Estimate(
        model=model.name,
        sizes=_size_record(sizes, train_sizes),
        source="read",
        memory=_estimate_memory(model, train_sizes, before_fit),
        disk=disk,
        seconds=seconds,
        available=available,
        troubles=troubles,
    )


def _time_stages(
    config: Config,
    model: Recommender,
    prepared: Prepared,
    train: InteractionDataset,
    disk: dict[str, int],
    runs_dir: Path,
) -> tuple[dict[str, float], int]:
    """Estimate the seconds of the stages after reading, and the bytes of the model's file."""
    fit_seconds, probe = model.probe_fit(train)
    save_probe = _time_saving(probe, model.estimate_file(train.n_users, train.n_items, len(train)), runs_dir)
    seconds = {"fit": fit_seconds, "save": save_probe.seconds}
    held_out = {}
    if config.has_validation:
        held_out["validation"] = prepared.split.validation(prepared.dataset)
    held_out["test"] = prepared.split.test(prepared.dataset)

    def evaluate(sample: InteractionDataset) -> None:
        stages.evaluate_model(probe, sample, sample.history, config)

    def validate(sample: InteractionDataset) -> None:
        ValidationMetrics(config, sample)(probe)

    for part_name, relevant in held_out.items():
        seconds[f"evaluate_{part_name}"] = _time_evaluation(relevant, evaluate)
    if model.trained_in_epochs:
        n_epochs = getattr(model, "_n_epochs", 0)
        if "validation" in held_out:
            n_validations = math.ceil(n_epochs / config.training.validate_every)
            seconds["fit"] += n_validations * _time_evaluation(held_out["validation"], validate)
        if config.training.checkpoint_every:
            n_checkpoints = n_epochs / config.training.checkpoint_every
            seconds["fit"] += n_checkpoints * save_probe.seconds_per_byte * disk["checkpoints"]
    if config.training.refit:
        # Linear in the interactions, which overestimates models whose cost depends on the items.
        growth = len(held_out["validation"]) / len(train)
        seconds["refit"] = fit_seconds * (1 + growth) + save_probe.seconds
    return seconds, save_probe.file_bytes


def _time_saving(model: Recommender, file_bytes: int, runs_dir: Path) -> _SaveProbe:
    """Time saving a model on the disk of the runs directory, which need not exist yet."""
    folders = [runs_dir.absolute(), *runs_dir.absolute().parents]
    # On the same disk as the runs: others may be much faster.
    existing_folder = next(folder for folder in folders if folder.is_dir())
    with tempfile.TemporaryDirectory(prefix=".estimate-", dir=existing_folder) as folder:
        probe_path = Path(folder) / "probe"
        start_time = perf_counter()
        if file_bytes > _MAX_BYTES_TO_WRITE:
            atomic.write_bytes(probe_path, bytes(_MAX_BYTES_TO_WRITE))
        else:
            model.save(probe_path)
        seconds = perf_counter() - start_time
        written_bytes = probe_path.stat().st_size
    seconds_per_byte = seconds / written_bytes
    if file_bytes > _MAX_BYTES_TO_WRITE:
        # Zeros were written instead of the model, without hashing them.
        total_seconds = (seconds_per_byte + _HASHING_SECONDS_PER_BYTE) * file_bytes
        return _SaveProbe(total_seconds, seconds_per_byte, file_bytes)
    return _SaveProbe(seconds, seconds_per_byte, written_bytes)


def _time_evaluation(relevant: InteractionDataset, evaluate: Callable[[InteractionDataset], None]) -> float:
    """Estimate the seconds of an evaluation from samples of its users."""

    def time_sample(share: float) -> float:
        sample = fit_probe.sample_users(relevant, share)
        sample.history = relevant.history
        start_time = perf_counter()
        with progress.silence():
            evaluate(sample)
        return perf_counter() - start_time

    smallest_share = max(_MIN_SHARE, _MIN_SAMPLED_USERS / relevant.n_users)
    return fit_probe.extrapolate_seconds(time_sample, min(1.0, smallest_share))
