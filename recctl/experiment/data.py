"""Read the data set of a config, preprocess it and split it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from numpy.typing import NDArray

from recctl import progress, urls
from recctl.config import Config, LoadedConfig
from recctl.config.schema import QueryConfig, Source, source_label
from recctl.data.columns import COLUMNS
from recctl.data.dataset import InteractionDataset
from recctl.data.description import summary
from recctl.data.labels import Labels
from recctl.data.leakage import leakage_report, warnings
from recctl.data.preprocessing import StepReport, apply_steps, filter_by_interaction_count, source_columns
from recctl.data.sources import Query, ReadOptions, SourceTable, read_configured_source, source_names
from recctl.data.splitting import Split, make_split
from recctl.errors import DataError
from recctl.experiment.predefined_parts import PART, concatenate_parts, read_parts
from recctl.experiment.segments import AttributeTables, segment_columns
from recctl.experiment.use_of_ratings import needs_ratings, step_list, weight_notes

if TYPE_CHECKING:
    import pandas as pd

SplitFunction = Callable[[InteractionDataset], Split]
"""Makes a split of a data set, in place of the one that a config describes."""


@dataclass
class Prepared:
    """A preprocessed data set and its split.

    Attributes:
        dataset: All interactions after preprocessing.
        split: The part of each interaction.
        record: The sections `data` and `split` of metadata.json.
        notes: Warnings about the data and the split for the user.
        tables: The tables of users and items, for segments; None if no config was read.
        popularity: The metric of popularity by user, by part and evaluator: the models that are fitted on this split
            are compared with the same values (`popularity_baseline`).
    """

    dataset: InteractionDataset
    split: Split
    record: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    tables: AttributeTables | None = None
    popularity: dict[tuple[str, str], pd.Series[float]] = field(default_factory=dict)


class ReadResult(NamedTuple):
    """A data set as read and preprocessed.

    Attributes:
        dataset: All interactions after preprocessing.
        labels: The part name of each interaction of a predefined split, shape `(n_interactions,)`; else None.
        record: The section `data` of metadata.json.
    """

    dataset: InteractionDataset
    labels: NDArray[Any] | None
    record: dict[str, Any]


def prepare(loaded: LoadedConfig, split: Split | SplitFunction | None = None, data_hash: str | None = None) -> Prepared:
    """Read, preprocess and split the data of a config.

    Args:
        loaded: The config.
        split: An existing split to use, or a function that makes one; the config describes it if None.
        data_hash: The expected hash of the preprocessed data; not checked if None.

    Raises:
        DataError: The data can't be read or split, or their hash is not the expected one.
    """
    config = loaded.config
    dataset, labels, record = read_dataset(loaded)
    if data_hash not in (None, record["hash"]):
        raise DataError(
            f"{source_label(config.data.source)}: the data have changed since the run was created: hash "
            f"{str(data_hash)[:12]}... then, {record['hash'][:12]}... now ({len(dataset):,} interactions); restore the "
            "data, say where they are now with --set data.source=FILE, or train a new run"
        )
    if callable(split):
        with progress.task("Splitting"):
            split = split(dataset)
    prepared = split_dataset(dataset, labels, record, config, split)
    prepared.tables = AttributeTables(loaded)
    return prepared


def split_dataset(
    dataset: InteractionDataset,
    labels: NDArray[Any] | None,
    data_record: dict[str, Any],
    config: Config,
    split: Split | None = None,
) -> Prepared:
    """Split a data set that `read_dataset` returned; use `split` if it is given."""
    if split is None:
        with progress.task("Splitting"):
            split = _make_split(dataset, labels, config)
    leakage = leakage_report(split, dataset)
    split_record = {
        "hash": split.hash(),
        "strategy": split.strategy,
        "options": {option_name: value for option_name, value in split.options.items() if option_name != "labels"},
        "leakage": leakage,
    }
    notes = weight_notes([config]) + warnings(leakage)
    if split.window is not None:
        assert dataset.timestamps is not None  # a split by dates has them
        unused = split.window.count_unused(dataset.timestamps)
        split_record["window"] = split.window.record() | {"unused": unused}
        notes += _unused_notes(unused)
    return Prepared(dataset, split, {"data": data_record, "split": split_record}, notes)


def _unused_notes(unused: Mapping[str, int]) -> list[str]:
    """Say how many interactions a split by dates leaves out, and why."""
    places = {
        "gap": "lie in the gap (split.gap_days)",
        "before_train": "are older than train (split.train_days)",
        "after_test": "are newer than test (split.test_days)",
    }
    return [f"{unused[key]:,} interactions {place} and are in no part" for key, place in places.items() if unused[key]]


def read_dataset(loaded: LoadedConfig) -> ReadResult:
    """Read and preprocess the data set of a config.

    Raises:
        DataError: The data can't be read, or preprocessing leaves no interactions.
    """
    config = loaded.config
    with progress.task(f"Reading {source_label(config.data.source)}"):
        tables = _read_tables(config, loaded.base)
    minimums = {
        "min_user_interactions": config.data.min_user_interactions,
        "min_item_interactions": config.data.min_item_interactions,
    }
    reports: list[StepReport] = []
    labels = None
    other_columns = segment_columns(config)
    if not config.data.preprocess and len(tables) == 1 and not other_columns:
        # Building the data set from columns, without a table in between, takes half the memory.
        n_before = len(tables[0])
        dataset = InteractionDataset.from_columns(tables[0].columns, config.data.implicit, **minimums)
    else:
        frame = tables[0].frame if len(tables) == 1 else concatenate_parts(tables)
        frame, reports = _preprocess(frame, config)
        n_before = len(frame)
        # After the steps, which can remove interactions; the labels of a predefined split are filtered along.
        frame = _filter_by_minimums(frame, minimums)
        if PART in frame:
            labels = frame[PART].to_numpy()
        # Not by the constructor, whose notices about timestamps are for tables that a program makes itself.
        role_columns = {name: frame[name] for name in COLUMNS if name in frame}
        dataset = InteractionDataset.from_columns(role_columns, config.data.implicit)
        if other_columns:
            dataset.labels = {name: Labels.encode(frame[name]) for name in other_columns}
    dataset.unused_columns = tables[0].unused
    record = {
        **tables[0].provenance,
        "hash": dataset.content_hash(),
        "interactions": len(dataset),
        "users": dataset.n_users,
        "items": dataset.n_items,
        "outline": summary(dataset),
        "preprocess": [asdict(report) for report in reports],
        "left_out_by_minimum": n_before - len(dataset),
    }
    if len(tables) > 1:
        record["other_files"] = [other_table.provenance for other_table in tables[1:]]
    return ReadResult(dataset, labels, record)


def resolve_config(loaded: LoadedConfig) -> dict[str, Any]:
    """Return the values of a config with every default filled in and absolute paths, for storing it in a run.

    Sections that do not apply are left out. URLs keep their variables, and lose user names, passwords and signatures.
    """
    values = loaded.config.model_dump()
    # Absolute, because a run may be resumed from another directory.
    values["data"]["source"] = _stored_source(values["data"]["source"], loaded.base)
    for table_config in (values["data"]["items"], values["data"]["users"]):
        if table_config is not None:
            table_config["file"] = _stored_source(table_config["file"], loaded.base)
    values["models"] = [_resolved_model(entry, loaded.base) for entry in values["models"]]
    for part_key in ("test", "validation"):
        if values["split"].get(part_key) is not None:  # the files of a predefined split
            values["split"][part_key] = _stored_source(values["split"][part_key], loaded.base)
    # Sections that do not apply would be ignored, but suggest that they matter.
    if values["data"]["source"] != "synthetic":
        del values["data"]["synthetic"]
    # Each model has a default of its own; a stored value would be one that was given for all of them.
    if values["models"] and "implicit" not in loaded.config.data.model_fields_set:
        del values["data"]["implicit"]
    for section in ("tuning", "backtest", "engine", "tracking"):
        if values[section] is None:
            del values[section]
    del values["model" if values["models"] else "models"]
    return values


def _resolved_model(entry: dict[str, Any], base: Path) -> dict[str, Any]:
    """An entry of `models` with what applies to it: that of a model, or that of a file of recommendations."""
    left_out = ["recommendations", "columns"]
    if entry["recommendations"] is not None:
        left_out = ["params", "training", "space"]
        entry["recommendations"] = _stored_source(entry["recommendations"], base)
    return {key: value for key, value in entry.items() if key not in left_out}


def _stored_source(source: Any, base: Path) -> Any:
    """A source as a run's config holds it: paths are absolute, URLs have no secrets."""
    if isinstance(source, dict):
        return {"sql": urls.redact(source["sql"]), "url": _absolute_database(source["url"], base)}
    if urls.is_url(source):
        return urls.redact(source)
    if source in {*source_names(), "synthetic"}:
        return source
    return str((base / Path(source).expanduser()).resolve())


def _absolute_database(url: str, base: Path) -> str:
    """The URL of a database without secrets; a relative file becomes absolute."""
    match = re.fullmatch(r"((?:sqlite|duckdb)[+\w]*:///)([^/$].*)", url)
    if match is None:
        return urls.redact(url)
    path = base / match[2]
    if not path.exists() and Path(f"/{match[2]}").exists():  # an absolute path with three slashes
        path = Path(f"/{match[2]}")
    return urls.redact(f"{match[1]}{path.resolve()}")


def source_to_read(source: str | QueryConfig) -> str | Query:
    """The source of a config, as the readers take it."""
    return Query(source.sql, source.url) if isinstance(source, QueryConfig) else source


def _read_tables(config: Config, base: Path) -> list[SourceTable]:
    """Read the source; for a predefined split, also the files of validation (if given) and test, in this order."""
    data_config = config.data
    if data_config.source == "synthetic":
        return [_generate(config)]
    options = _read_options(config)
    sources: list[Source] = [data_config.source]
    if config.split.strategy == "predefined":
        if config.split.validation:
            sources.append(config.split.validation)
        sources.append(config.split.test)
    if len(sources) > 1:
        return read_parts([source_to_read(source) for source in sources], options, base, config)
    return [read_configured_source(source_to_read(data_config.source), options, base=base)]


def _read_options(config: Config) -> ReadOptions:
    data_config = config.data
    return ReadOptions(
        format=data_config.format,
        columns={str(role): column for role, column in data_config.columns.items()},
        delimiter=data_config.delimiter,
        quoting=data_config.quoting,
        encoding=data_config.encoding,
        decimal=data_config.decimal,
        header=data_config.header,
        skip_lines=data_config.skip_lines,
        comment=data_config.comment,
        user=data_config.user,
        timestamp_unit=data_config.timestamp_unit,
        timestamp_format=data_config.timestamp_format,
        bad_rows=data_config.bad_rows,
        id_type=data_config.id_type,
        extra_columns=tuple(dict.fromkeys([*source_columns(step_list(config)), *segment_columns(config)])),
        needs_ratings=needs_ratings(config),
        checksum=data_config.checksum,
        max_download_gb=data_config.max_download_gb,
    )


def _generate(config: Config) -> SourceTable:
    from recctl.data.synthetic import generate

    synthetic = config.data.synthetic
    # Of its own if given: an experiment can be repeated with other seeds on the same synthetic data.
    data_seed = config.seed if synthetic.seed is None else synthetic.seed
    frame = generate(synthetic.n_users, synthetic.n_items, synthetic.n_interactions, seed=data_seed)
    return SourceTable.from_frame(frame, {"source": "synthetic", **synthetic.model_dump(), "seed": data_seed})


def _preprocess(frame: pd.DataFrame, config: Config) -> tuple[pd.DataFrame, list[StepReport]]:
    if not config.data.preprocess:
        return frame, []
    with progress.task("Preprocessing"):
        return apply_steps(frame, step_list(config), config.seed)


def _filter_by_minimums(frame: pd.DataFrame, minimums: dict[str, int]) -> pd.DataFrame:
    if max(minimums.values()) <= 1:
        return frame
    filtered = filter_by_interaction_count(frame, **minimums)
    if not len(filtered):
        options = " and ".join(f"{option_name}={value}" for option_name, value in minimums.items())
        raise DataError(f"{options} remove all of the {len(frame):,} interactions; use lower values")
    return filtered


def _make_split(dataset: InteractionDataset, labels: NDArray[Any] | None, config: Config) -> Split:
    options = config.split.model_dump(exclude={"strategy", "test", "validation"})
    if labels is not None:
        options["labels"] = labels
    return make_split(dataset, config.split.strategy, seed=config.seed, **options)
