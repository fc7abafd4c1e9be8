"""From a config to a data set and its split."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recctl import progress
from recctl.config import Config, LoadedConfig
from recctl.data.columns import ITEM, USER
from recctl.data.dataset import InteractionDataset
from recctl.data.description import summary
from recctl.data.leakage import leakage_report, warnings
from recctl.data.preprocessing import StepReport, apply_steps, filter_by_interaction_count
from recctl.data.sources import ReadOptions, SourceTable, read_source, source_names
from recctl.data.splitting import Split, make_split
from recctl.errors import DataError

if TYPE_CHECKING:
    import pandas as pd

_PART = "__part"  # the label of a predefined split's rows, on their way through the preprocessing


@dataclass
class Prepared:
    """A data set, its split, and what a run records of them.

    Attributes:
        dataset: Everything, after preprocessing.
        split: Which row is in which part.
        record: `data` and `split` of metadata.json.
        notes: What a person must know of the data and the split.
    """

    dataset: InteractionDataset
    split: Split
    record: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)


def prepare(loaded: LoadedConfig, split: Split | None = None, data_hash: str | None = None) -> Prepared:
    """Read, preprocess and split.

    Args:
        loaded: The config.
        split: A split that exists; made if None.
        data_hash: What the hash of the prepared data must be, where the split is not new.

    Raises:
        DataError: The data can't be read or split as asked, or are not what they were.
    """
    config = loaded.config
    dataset, labels, data = read_dataset(loaded)
    if data_hash not in (None, data["hash"]):
        raise DataError(
            f"{config.data.source}: the data have changed since the run was made: hash {str(data_hash)[:12]}... then, "
            f"{data['hash'][:12]}... now ({len(dataset):,} interactions); restore the data, or train a new run"
        )
    return split_dataset(dataset, labels, data, config, split)


def split_dataset(
    dataset: InteractionDataset, labels: Any, data: dict[str, Any], config: Config, split: Split | None = None
) -> Prepared:
    """Split what `read_dataset` gave; by a split that exists, if one is given."""
    if split is None:
        with progress.task("Splitting"):
            split = _make_split(dataset, labels, config)
    report = leakage_report(split, dataset)
    options = {name: value for name, value in split.options.items() if name != "labels"}
    record = {
        "data": data,
        "split": {"hash": split.hash(), "strategy": split.strategy, "options": options, "leakage": report},
    }
    return Prepared(dataset, split, record, warnings(report))


def read_dataset(loaded: LoadedConfig) -> tuple[InteractionDataset, np.ndarray[Any, Any] | None, dict[str, Any]]:
    """The data set of a config, the labels of its rows if its split is predefined, and what a run records."""
    config = loaded.config
    with progress.task(f"Reading {config.data.source}"):
        tables = _read(config, loaded.base)
    steps = [(name, params or {}) for step in config.data.preprocess for name, params in step.items()]
    low = {name: getattr(config.data, name) for name in ("min_user_interactions", "min_item_interactions")}
    reports: list[StepReport] = []
    labels = None
    if not steps and len(tables) == 1:  # without a table of them, in half the memory
        before = len(tables[0])
        dataset = InteractionDataset.from_columns(tables[0].columns, config.data.implicit, **low)
    else:
        frame = tables[0].frame if len(tables) == 1 else _labelled(config, tables)
        if steps:
            with progress.task("Preprocessing"):
                frame, reports = apply_steps(frame, steps, config.seed)
        before = len(frame)
        if max(low.values()) > 1:
            frame = filter_by_interaction_count(frame, **low)
            if not len(frame):
                told = " and ".join(f"{name}={value}" for name, value in low.items())
                raise DataError(f"{told} leave nothing of {before:,} interactions; lower them")
        labels = frame[_PART].to_numpy() if _PART in frame else None
        dataset = InteractionDataset(frame, implicit=config.data.implicit)
    data = {
        **tables[0].provenance,
        "hash": dataset.content_hash(),
        "interactions": len(dataset),
        "users": dataset.n_users,
        "items": dataset.n_items,
        "outline": summary(dataset),
        "preprocess": [asdict(report) for report in reports],
        "left_out_by_minimum": before - len(dataset),
    }
    if len(tables) > 1:
        data["other_files"] = [table.provenance for table in tables[1:]]
    return dataset, labels, data


def _read(config: Config, base: Path) -> list[SourceTable]:
    """The table of the source; of a predefined split also those of validation (if any) and test, in that order."""
    data = config.data
    if data.source == "synthetic":
        from recctl.data.synthetic import generate

        seed = config.seed if data.synthetic.seed is None else data.synthetic.seed
        size = data.synthetic
        frame = generate(size.n_users, size.n_items, size.n_interactions, seed=seed)
        return [SourceTable.from_frame(frame, {"source": "synthetic", **size.model_dump(), "seed": seed})]
    options = ReadOptions(
        data.format,
        {str(k): v for k, v in data.columns.items()},
        data.delimiter,
        data.header,
        data.timestamp_unit,
        data.bad_rows,
        data.id_type,
    )
    sources = [data.source]
    if config.split.strategy == "predefined":
        sources += [*filter(None, [config.split.validation]), config.split.test]
    return [read_source(source, options, base=base) for source in sources]


def _labelled(config: Config, tables: list[SourceTable]) -> pd.DataFrame:
    import pandas as pd

    names = ["train", "test"] if len(tables) == 2 else ["train", "validation", "test"]
    frames = [table.frame.assign(**{_PART: name}) for table, name in zip(tables, names, strict=True)]
    if any(len({str(frame[column].dtype) for frame in frames}) > 1 for column in (USER, ITEM)):
        raise DataError("the files of a predefined split have ids of different types; set data.id_type: text")
    return pd.concat(frames, ignore_index=True)


def _make_split(dataset: InteractionDataset, labels: Any, config: Config) -> Split:
    options = config.split.model_dump(exclude={"strategy", "test", "validation"})
    if labels is not None:
        options["labels"] = labels
    return make_split(dataset, config.split.strategy, seed=config.seed, **options)


def resolve_config(loaded: LoadedConfig) -> dict[str, Any]:
    """The config with every default filled in, and file paths that hold from anywhere."""
    values = loaded.config.model_dump()
    names = {*source_names(), "synthetic"}

    def from_anywhere(source: str) -> str:
        return source if source in names else str((loaded.base / Path(source).expanduser()).resolve())

    values["data"]["source"] = from_anywhere(values["data"]["source"])
    for name in ("test", "validation"):
        if isinstance(values["split"].get(name), str):
            values["split"][name] = from_anywhere(values["split"][name])
    if values["data"]["source"] != "synthetic":
        del values["data"]["synthetic"]
    for name in ("tuning", "engine", "tracking"):
        if values[name] is None:
            del values[name]
    del values["model" if values["models"] else "models"]
    return values
