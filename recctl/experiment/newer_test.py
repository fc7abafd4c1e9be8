"""Test on what is newer than the data of an earlier run: `train --test-since RUN`."""

from __future__ import annotations

from recctl import progress
from recctl.config import Config
from recctl.data.dataset import InteractionDataset
from recctl.data.splitting import TEST, Split, format_moment, split_after
from recctl.errors import ConfigError, DataError, RecctlError
from recctl.experiment import stages
from recctl.experiment.data import SplitFunction
from recctl.experiment.lifecycle import prepare_for
from recctl.experiment.run_config import load_run_config
from recctl.runs import Run


def split_since(run: Run, config: Config) -> SplitFunction:
    """Return a function that splits at the last moment that a run's model was fitted on.

    Test is everything later; the config's split strategy holds out validation from the rest.

    Args:
        run: A run with a model; its newest version counts.
        config: The config of the new run.

    Raises:
        ConfigError: The config's split is predefined.
        ArtifactError: The run has no model.
        DataError: The moment is unknown: the data had no timestamps, or an old run's data can't be read any more.
    """
    if config.split.strategy == "predefined":
        raise ConfigError(
            "split.strategy: predefined names the files of the parts, and --test-since makes everything new the test "
            "part; choose another strategy, e.g. --set split.strategy=temporal"
        )
    moment = last_fitted_moment(run)
    split_options = config.split.model_dump(exclude={"strategy", "test_size", "val_size"})

    def split(dataset: InteractionDataset) -> Split:
        try:
            made = split_after(
                dataset,
                moment,
                config.split.strategy,
                val_size=getattr(config.split, "val_size", 0),
                seed=config.seed,
                **split_options,
            )
        except DataError as error:
            raise DataError(f"--test-since {run.id}: {error}") from None
        made.options["test_since"] = run.id
        n_test = int((made.parts == TEST).sum())
        progress.notice(
            f"test: {n_test:,} interactions after {format_moment(moment)}, the last moment that {run.id} was fitted on"
        )
        return made

    return split


def last_fitted_moment(run: Run) -> float:
    """Return the newest timestamp that the newest model of a run was fitted on, in seconds since 1970.

    Raises:
        ArtifactError: The run has no model.
        DataError: The data had no timestamps; or the run is of a version that did not record the moment, and its data
            can't be read any more.
    """
    model_entry = run.model_entry()
    if "last_timestamp" in model_entry:
        moment = model_entry["last_timestamp"]
    else:
        moment = _recomputed_moment(run, model_entry["fitted_on"])
    if moment is None:
        raise DataError(f"{run.id}: was fitted on data without timestamps, so nothing is known to be newer")
    return float(moment) if isinstance(moment, float) else int(moment)


def _recomputed_moment(run: Run, fitted_on: str) -> float | None:
    try:
        prepared, _ = prepare_for(load_run_config(run), run)
    except RecctlError as error:
        raise DataError(
            f"{run.id}: does not record until when it was fitted (it is of an older version of recctl), and its data "
            f"can't be read as they were: {error}; fit its settings again: recctl fit {run.id} --all-data"
        ) from None
    split, dataset = prepared.split, prepared.dataset
    if fitted_on == stages.TRAIN:
        return split.train(dataset).last_timestamp()
    return split.train_and_validation(dataset).last_timestamp()
