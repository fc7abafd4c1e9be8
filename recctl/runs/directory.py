"""A run: a directory of files, each of which is written as a whole or not at all."""

from __future__ import annotations

import hashlib
import io
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal

from recctl import arguments, atomic, locking, urls
from recctl.arguments import at_least, optional, text, validated
from recctl.errors import ArtifactError, ConfigError
from recctl.runs import layout, liveness
from recctl.runs.environment import environment
from recctl.runs.evaluations import EvaluationRecord, current_records, is_same_segment, records_of_version_1
from recctl.runs.schema import require_metadata, require_metrics

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from recctl.data.titles import ItemTitles
    from recctl.models.base import Recommender

Status = Literal["running", "complete", "failed", "interrupted", "died"]


class Run:
    """The directory of a run.

    Attributes:
        path: The directory; its name is the id of the run.
        metadata: The content of metadata.json; `save_metadata` writes it.

    Examples:
        ```python
        from recctl import RunStore

        run = RunStore().resolve("latest")
        print(run.status, run.metrics())
        ```
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.metadata: dict[str, Any] = {}
        self._lock: int | None = None

    def __repr__(self) -> str:
        if not self.metadata:
            return f"Run({self.id!r})"
        parts = [repr(self.id), f"kind={self.metadata.get('kind')!r}", f"status={self.status!r}"]
        models = sorted({str(model_entry["model"]) for model_entry in self.metadata.get("models", [])})
        if models:
            parts.append(f"model={', '.join(models)!r}")
        return f"Run({', '.join(parts)})"

    def _repr_html_(self) -> str:
        from recctl.runs.html_view import run_html

        return run_html(self)

    @property
    def id(self) -> str:
        """The id of the run."""
        return self.path.name

    @classmethod
    def create(
        cls,
        root: Path,
        label: str,
        kind: str,
        config: dict[str, Any],
        parts: NDArray[np.uint8] | None = None,
        extra_metadata: Mapping[str, Any] | None = None,
        extra_files: Mapping[str, bytes] | None = None,
    ) -> Run:
        """Create a run directory in `root`.

        metadata.json is written last: a directory without it is not a run, and one with it can be resumed.

        Args:
            root: The runs directory; created if missing.
            label: The middle of the id, between the time and a random end: `ease-movielens-100k`.
            kind: "train", "fit", "split", "tune", "compare" or "lists".
            config: The config with every default filled in.
            parts: The part code of each interaction, shape `(n_interactions,)`.
            extra_metadata: Other entries of metadata.json.
            extra_files: The content of other files by name.
        """
        from recctl.config import to_yaml  # imports the schema, for which programs that list runs need not wait

        creation_time = datetime.now(UTC)
        root.mkdir(parents=True, exist_ok=True)
        run = cls(_make_directory(root, f"{creation_time:%Y%m%d-%H%M%S}-{label}"))
        run.metadata = {
            "run_id": run.id,
            "kind": kind,
            "status": "running",
            "created": creation_time.isoformat(timespec="milliseconds"),
            "seed": config["seed"],
            "environment": environment(),
            "timings": {},
            "models": [],
            "test_looks": 0,  # evaluations of the test set
        }
        run.metadata |= extra_metadata or {}
        try:
            run.save_file(layout.CONFIG, to_yaml(config).encode())
            for name, content in (extra_files or {}).items():
                run.save_file(name, content)
            if parts is not None:
                run.save_split(parts)
            run.begin()
        except BaseException:  # also Ctrl-C: a partial directory must not remain
            shutil.rmtree(run.path, ignore_errors=True)
            raise
        return run

    @classmethod
    @validated(path=arguments.path)
    def open(cls, path: str | os.PathLike[str]) -> Run:
        """Open an existing run.

        Raises:
            ArtifactError: The directory is not a run, or its metadata are damaged.
        """
        run = cls(path)
        run.metadata = run._read_json(layout.METADATA)
        require_metadata(run.metadata, run.path / layout.METADATA)
        return run

    @property
    def is_fitted_on_all(self) -> bool:
        """Whether the run was made to fit all data: it has no held-out part."""
        return layout.ALL_DATA in self.metadata

    @property
    def is_lists(self) -> bool:
        """Whether the run measured recommendation lists that were made elsewhere, and has no model."""
        return layout.LISTS in self.metadata

    @property
    def measured_entries(self) -> list[dict[str, Any]]:
        """The metadata of what the run's figures belong to: its model versions, or its file of lists."""
        if self.is_lists:
            return [self.metadata[layout.LISTS]]
        entries: list[dict[str, Any]] = self.metadata["models"]
        return entries

    @property
    def timings(self) -> dict[str, float]:
        """Seconds by stage."""
        # Until version 0.2, the stage of a comparison that tests differences was called `judge`.
        recorded = self.metadata.get("timings", {})
        return {"compare" if stage == "judge" else stage: seconds for stage, seconds in recorded.items()}

    # ---- status

    def begin(self) -> None:
        """Lock the run until `end` and record that this process works on it.

        Raises:
            ConfigError: Another process works on it, or has changed it since this one opened it.
        """
        self._acquire_lock()
        self.metadata["status"] = "running"
        self.metadata["process"] = liveness.current_process()
        self.metadata.pop("error", None)
        self.save_metadata()

    def end(self, status: Status, error: str | None = None) -> None:
        """Record how the work ended, and unlock the run."""
        self.metadata["status"] = status
        self.metadata["finished"] = datetime.now(UTC).isoformat(timespec="milliseconds")
        if error:
            self.metadata["error"] = error
        try:
            self.save_metadata()
        finally:
            self._release_lock()

    def _acquire_lock(self) -> None:
        if self._lock is not None:
            return
        try:
            self._lock = locking.acquire(self.path)
        except BlockingIOError:
            raise ConfigError(f"{self.id}: another process is working on it") from None
        # Between opening the run and locking it, another process may have worked on it and ended.
        if (self.path / layout.METADATA).exists() and self._read_json(layout.METADATA) != self.metadata:
            self._release_lock()
            raise ConfigError(f"{self.id}: another process has changed it in the meantime; check it and try again")

    def _release_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Change the results of a run inside the block, excluding other processes; wait for those that do the same.

        The metadata are read again, as another process may have changed them.

        Raises:
            ConfigError: A process works on the run, which can take arbitrarily long.
        """
        if self._lock is not None:
            yield
            return
        try:
            descriptor = locking.acquire(self.path)
        except BlockingIOError:
            Run.open(self.path).require_idle()
            descriptor = locking.acquire(self.path, wait=True)
        try:
            self.metadata = self._read_json(layout.METADATA)
            yield
        finally:
            if descriptor is not None:
                os.close(descriptor)

    @property
    def status(self) -> Status:
        """The recorded status; "died" instead of "running" if its process has ended."""
        recorded: Status = self.metadata["status"]
        if recorded != "running" or self._lock is not None:
            return recorded
        has_died = liveness.has_died(self.metadata.get("process") or {}, self.path)
        return "died" if has_died else recorded

    def require_idle(self) -> None:
        """Check that no process works on the run.

        Raises:
            ConfigError: One does.
        """
        if self.status == "running":
            process = self.metadata.get("process") or {}
            raise ConfigError(
                f"{self.id}: another process is working on it (pid {process.get('pid')} on {process.get('host')})"
            )

    def timed(self, stage: str) -> _Timer:
        """Return a context that records the seconds of a stage."""
        return _Timer(self.metadata["timings"], stage)

    # ---- files

    def save_metadata(self) -> None:
        """Write metadata.json."""
        self._write_json(layout.METADATA, self.metadata)

    def save_file(self, name: str, content: bytes) -> None:
        """Write a file and add its hash to the metadata, which are not written yet."""
        atomic.write_bytes(self.path / name, content)
        self.metadata.setdefault("files", {})[name] = hashlib.sha256(content).hexdigest()

    def trials(self) -> pd.DataFrame:
        """Return a row for each trial of a tuning run.

        Raises:
            ArtifactError: The file is missing or damaged.
        """
        trials_table: pd.DataFrame = self._read(layout.TRIALS, _read_parquet)
        return trials_table

    def importances(self) -> dict[str, dict[str, float]]:
        """Return the share of each hyperparameter in the importance for each optimized metric of a tuning run.

        Empty if there were too few trials. Runs of older versions store the shares for the first metric alone.
        """
        search: dict[str, Any] = self.metadata.get("tuning", {})
        stored: dict[str, Any] = search.get("importances") or {}
        if any(isinstance(value, dict) for value in stored.values()):
            return stored
        return {search["monitors"][0]: stored} if stored else {}

    def read_comparison(self) -> dict[str, Any]:
        """Return the content of comparison.json; `recctl.experiment.comparison_result` corrects that of old versions.

        Raises:
            ArtifactError: The run is not a comparison, is not complete, or the file is damaged.
        """
        return self._read_json(layout.COMPARISON)

    def titles(self) -> ItemTitles:
        """Return the titles of the items.

        Raises:
            ArtifactError: The run stores none, or the file is damaged.
        """
        titles: ItemTitles = self._read(layout.TITLES, _read_titles)
        return titles

    def config_text(self, file_name: str = layout.CONFIG) -> str:
        """Return the stored config.

        Raises:
            ArtifactError: It is missing.
        """
        return str(self._read(file_name, lambda path: path.read_text(encoding="utf-8")))

    def evaluations(self) -> list[EvaluationRecord]:
        """Return a record of each evaluation of the run, in order.

        Raises:
            ArtifactError: A file is damaged.
        """
        if not (self.path / layout.EVALUATIONS).exists():
            self._require_version_1()
            import yaml

            settings = yaml.safe_load(self.config_text()).get("evaluation") or {}
            return records_of_version_1(self.stored_metrics(), self.metadata, settings)
        stored = self._read_json(layout.EVALUATIONS).get("evaluations")
        if not isinstance(stored, list):
            raise ArtifactError(f"{self.path / layout.EVALUATIONS}: damaged: has no list of evaluations")
        try:
            return [EvaluationRecord.from_json(values) for values in stored]
        except ArtifactError as error:
            raise ArtifactError(f"{self.path / layout.EVALUATIONS}: {error}") from None

    def _require_version_1(self) -> None:
        """Check that a run with figures but no records is of a version before 0.3: its metadata name evaluations."""
        if (self.path / layout.METRICS).exists() and "evaluation" not in self.metadata:
            raise ArtifactError(
                f"{self.path / layout.EVALUATIONS}: missing; measure the run again after deleting {layout.METRICS}: "
                f"recctl evaluate {self.id}"
            )

    @property
    def has_figures_of_version_1(self) -> bool:
        """Whether the run was evaluated by a version before 0.3, and not since then."""
        return (self.path / layout.METRICS).exists() and not (self.path / layout.EVALUATIONS).exists()

    @validated(label=text)
    def evaluation(self, label: str) -> EvaluationRecord | None:
        """Return the evaluation of the current model on a part or a file (`file:...`); None if there is none."""
        return current_records(self.evaluations(), self.measured_entries).get(label)

    def current_evaluations(self) -> dict[str, EvaluationRecord] | None:
        """Return the evaluations of the current model by part or file; None if the run stores figures alone.

        Raises:
            ArtifactError: A file is damaged.
        """
        if not (self.path / layout.EVALUATIONS).exists():
            return None
        return current_records(self.evaluations(), self.measured_entries)

    def metrics(self) -> dict[str, dict[str, float]]:
        """Return the figures of the current model, `{"validation": {...}, "test": {...}}`; empty if there are none."""
        current = self.current_evaluations()
        if current is None:
            self._require_version_1()
            return self.stored_metrics()
        return {label: record.metrics for label, record in current.items()}

    def segments(self) -> dict[str, dict[str, dict[str, Any]]]:
        """Return the segments of the current model by part or file and key, as `EvaluationRecord.segments`."""
        current = self.current_evaluations() or {}
        return {label: record.segments for label, record in current.items() if record.segments}

    def add_evaluation(
        self,
        record: EvaluationRecord,
        per_user: pd.DataFrame,
        segment_tables: Mapping[str, pd.DataFrame] = MappingProxyType({}),
    ) -> None:
        """Store an evaluation and its values by user; figures of the same model, data and protocol are merged.

        Args:
            record: The record.
            per_user: A row for each user: `user_id`, a column for each metric, `n_relevant`.
            segment_tables: Such a table for each segment of the record.
        """
        records = self.evaluations()
        # In this order: no record has figures whose values by user are missing.
        self._save_per_user(records, record, per_user)
        if segment_tables:
            self._save_segment_tables(records, record, segment_tables)
        earlier = [stored for stored in records if stored.id == record.id]
        records = [stored for stored in records if stored.id != record.id]
        records.append(record.merged_into(earlier[0]) if earlier else record)
        self._save_evaluations(records)

    @validated(part=text)
    def per_user(self, part: str) -> pd.DataFrame:
        """Return the metrics of each user of a part: `user_id`, a column for each metric, `n_relevant`.

        Raises:
            ArtifactError: The run has not stored them.
        """
        record = self.evaluation(part)
        if record is None:
            raise ArtifactError(self._missing_per_user_message(part))
        return self.per_user_of(record)

    def per_user_of(self, record: EvaluationRecord) -> pd.DataFrame:
        """Return the metrics of each user of an evaluation; see `per_user`.

        Raises:
            ArtifactError: The run has not stored them.
        """
        table = self._read_per_user(self.evaluations())
        table = table[table["evaluation"] == record.id]
        if table.empty:
            raise ArtifactError(self._missing_per_user_message(record.data.label))
        table = table.drop(columns=["evaluation", "part"])
        return table.dropna(axis="columns", how="all").reset_index(drop=True)

    def segment_tables(self, record: EvaluationRecord) -> dict[str, pd.DataFrame]:
        """Return the metrics of each user in each segment of an evaluation, by key of the segment.

        Raises:
            ArtifactError: The run has not stored them.
        """
        if not any(segment["n_users"] for segment in record.segments.values()):
            return {}
        stored = self._read(layout.SEGMENTS, _read_parquet)
        return _tables_by_segment(stored[stored["evaluation"] == record.id])

    def _missing_per_user_message(self, part: str) -> str:
        return f"{self.id}: has no metrics by user on {part}; evaluate it with: recctl evaluate {self.id} --on {part}"

    def _save_evaluations(self, records: list[EvaluationRecord]) -> None:
        self._write_json(layout.EVALUATIONS, {"evaluations": [record.to_json() for record in records]})
        metrics: dict[str, Any] = self.metrics()
        segments = {
            label: record.segment_metrics
            for label, record in (self.current_evaluations() or {}).items()
            if record.segments
        }
        if segments:
            metrics = metrics | {layout.SEGMENTS_OF_METRICS: segments}
        self._write_json(layout.METRICS, metrics)

    def _save_segment_tables(
        self, records: list[EvaluationRecord], record: EvaluationRecord, tables: Mapping[str, pd.DataFrame]
    ) -> None:
        import pandas as pd

        earlier = [stored for stored in records if stored.id == record.id]
        rows = []
        stored_tables: dict[str, pd.DataFrame] = {}
        if (self.path / layout.SEGMENTS).exists():
            stored = self._read(layout.SEGMENTS, _read_parquet)
            rows.append(stored[stored["evaluation"] != record.id])
            stored_tables = self.segment_tables(earlier[0]) if earlier else {}
        for key, table in (stored_tables | dict(tables)).items():
            if (
                key in stored_tables
                and key in tables
                and is_same_segment(earlier[0].segments[key], record.segments[key])
            ):
                table = _merge_columns(stored_tables[key], table)
            rows.append(table.assign(evaluation=record.id, part=record.data.label, segment=key))
        rows = [table.dropna(axis=1, how="all") for table in rows if len(table)]
        if not rows:
            return
        buffer = io.BytesIO()
        pd.concat(rows, ignore_index=True).to_parquet(buffer, index=False)
        atomic.write_bytes(self.path / layout.SEGMENTS, buffer.getvalue())

    def _save_per_user(self, records: list[EvaluationRecord], record: EvaluationRecord, per_user: pd.DataFrame) -> None:
        import pandas as pd

        stored = self._read_per_user(records)
        of_record = stored["evaluation"] == record.id
        tables = [_merge_columns(stored[of_record], per_user).assign(evaluation=record.id, part=record.data.label)]
        others = stored[~of_record].dropna(axis=1, how="all")
        if len(others):
            tables.insert(0, others)
        buffer = io.BytesIO()
        pd.concat(tables, ignore_index=True).to_parquet(buffer, index=False)
        atomic.write_bytes(self.path / layout.PER_USER, buffer.getvalue())

    def _read_per_user(self, records: list[EvaluationRecord]) -> pd.DataFrame:
        import pandas as pd

        if not (self.path / layout.PER_USER).exists():
            return pd.DataFrame({"evaluation": [], "part": []})
        table: pd.DataFrame = self._read(layout.PER_USER, _read_parquet)
        if "evaluation" not in table:  # of versions before 0.3, which stored one evaluation of each part
            table["evaluation"] = table["part"].map({record.data.label: record.id for record in records})
        return table

    def stored_metrics(self) -> dict[str, dict[str, float]]:
        """Return the content of metrics.json, which is a view for scripts; empty if it does not exist."""
        metrics_path = self.path / layout.METRICS
        if not metrics_path.exists():
            return {}
        metrics = self._read_json(layout.METRICS)
        metrics.pop(layout.SEGMENTS_OF_METRICS, None)
        require_metrics(metrics, metrics_path)
        return metrics

    def save_split(self, parts: NDArray[np.uint8]) -> None:
        """Store the part code of each interaction, shape `(n_interactions,)`."""
        import numpy as np

        buffer = io.BytesIO()
        # In a thread, because Ctrl-C interrupts only the main thread: in the middle of savez, zipfile would raise an
        # error about its unfinished archive and hide the KeyboardInterrupt.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(np.savez_compressed, buffer, parts=parts).result()
        atomic.write_bytes(self.path / layout.SPLIT, buffer.getvalue())

    def split_parts(self) -> NDArray[np.uint8]:
        """Return the part code of each interaction, shape `(n_interactions,)`.

        Raises:
            ArtifactError: The file is missing or damaged.
        """
        parts: NDArray[np.uint8] = self._read(layout.SPLIT, _read_split)
        return parts

    def save_model(self, model: Recommender, fitted_on: str, trial: int | None = None, **entry: Any) -> Path:
        """Store a fitted model as the next version; earlier versions are never overwritten.

        Args:
            model: A fitted model.
            fitted_on: The data it was fitted on: "train", "train+validation" or "all".
            trial: The number of its trial in a tuning run.
            **entry: Other values of its entry in the metadata, such as `last_timestamp`.

        Returns:
            The path of the file.
        """
        from recctl import artifacts  # imports NumPy, for which listing runs must not wait

        # Before the new version: figures without records belong to the newest model, which is about to be another one.
        records = self.evaluations()
        version = 1 + max((model_entry["version"] for model_entry in self.metadata["models"]), default=0)
        path = self.path / layout.MODELS / f"v{version}.pkl"
        sha256 = model.save(path)
        model_entry = {
            "version": version,
            "file": f"models/v{version}.pkl",
            "model": model.name,
            "fitted_on": fitted_on,
            "sha256": sha256,
            "format_version": artifacts.FORMAT_VERSION,
            "bytes": path.stat().st_size,
        } | entry
        if trial is not None:
            model_entry["trial"] = trial
        self.metadata["models"].append(model_entry)
        self.save_metadata()
        if records:
            self._save_evaluations(records)  # metrics.json loses the figures of the version before
        return path

    @validated(version=optional(at_least(1)))
    def model_entry(self, version: int | None = None) -> dict[str, Any]:
        """Return the metadata of a model version, by default the newest.

        Raises:
            ArtifactError: The run has no such model.
        """
        entries = self.metadata.get("models", [])
        matching = [entry for entry in entries if version in (None, entry["version"])]
        if not matching:
            raise ArtifactError(f"{self.id}: {self._missing_model_message(version)}")
        entry: dict[str, Any] = matching[-1]
        return entry

    @property
    def winner_id(self) -> str | None:
        """The id of the run of a comparison's best model: its first, if it has several seeds or folds.

        In a backtest, that of the newest window. None if this is not a complete comparison.
        """
        best = self.metadata.get("best")
        if self.metadata.get("kind") != "compare" or self.metadata["status"] != "complete" or best is None:
            return None
        records = self.metadata.get("compared", [])
        of_best = [record for record in records if record.get("label") == best]
        newest = max((record.get("window", 0) for record in of_best), default=0)
        return next((record.get("run_id") for record in of_best if record.get("window", 0) == newest), None)

    def _missing_model_message(self, version: int | None) -> str:
        versions = ", ".join(f"v{model_entry['version']}" for model_entry in self.metadata.get("models", []))
        if versions:
            return f"has no model v{version}; it has {versions}"
        if self.metadata.get("kind") == "compare":
            winner = (
                f"the run of its winner: {self.winner_id}" if self.winner_id else "one of the runs that it compares"
            )
            return f"this run is a comparison and has no model; use {winner}"
        if self.metadata.get("kind") == "split":
            return "this run contains only a split and has no model"
        if self.is_lists:
            return "this run measured a file of recommendation lists and has no model"
        subject = "model" if version is None else f"model v{version}"
        return f"has no {subject}; its status is {self.status}"

    def log(self, text: str) -> None:
        """Append a line to log.txt."""
        log_path = self.path / layout.LOG
        with atomic.with_filename(log_path), log_path.open("a", encoding="utf-8") as log_file:
            log_file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {urls.hide(text)}\n")

    def _write_json(self, name: str, value: Any) -> None:
        # NaN is not JSON; other programs could not read the file.
        json_text = json.dumps(value, indent=2, allow_nan=False) + "\n"
        atomic.write_bytes(self.path / name, json_text.encode())

    def _read_json(self, name: str) -> dict[str, Any]:
        value = self._read(name, lambda path: json.loads(path.read_text(encoding="utf-8")))
        if not isinstance(value, dict):
            raise ArtifactError(f"{self.path / name}: damaged: is not a JSON object")
        return value

    def _read(self, name: str, read: Callable[[Path], Any]) -> Any:
        file_path = self.path / name
        try:
            return read(file_path)
        except FileNotFoundError:
            raise ArtifactError(f"{file_path}: missing; the directory is not a run, or the run is incomplete") from None
        except Exception as error:  # a damaged file can raise anything
            raise ArtifactError(f"{file_path}: damaged: {error}") from None


def _make_directory(root: Path, prefix: str) -> Path:
    """Make a directory with a random end, which distinguishes runs of the same second."""
    while True:
        directory = root / f"{prefix}-{secrets.token_hex(2)}"
        try:
            directory.mkdir()
        except FileExistsError:
            continue
        return directory


def _read_parquet(path: Path) -> pd.DataFrame:
    from recctl.data.parquet_content import read_parquet_content

    table: pd.DataFrame = read_parquet_content(path.read_bytes()).to_pandas(use_threads=False)
    return table


def _read_titles(path: Path) -> ItemTitles:
    from recctl.data.titles import ItemTitles

    return ItemTitles.from_parquet(path.read_bytes())


def _read_split(path: Path) -> NDArray[np.uint8]:
    import numpy as np

    with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as archive:
        return np.asarray(archive["parts"], np.uint8)


def _merge_columns(stored: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Add the stored columns that the new table lacks, if both are of the same users."""
    stored = stored.dropna(axis=1, how="all")
    columns = [column for column in stored if column not in new and column != "part"]
    if not columns or set(stored["user_id"]) != set(new["user_id"]):
        return new
    return new.merge(stored[["user_id", *columns]], on="user_id", how="left", validate="one_to_one")


def _tables_by_segment(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    tables = {}
    for key, rows in table.groupby("segment", sort=False):
        columns = rows.drop(columns=["evaluation", "part", "segment"])
        tables[str(key)] = columns.dropna(axis="columns", how="all").reset_index(drop=True)
    return tables


class _Timer:
    def __init__(self, timings: dict[str, float], stage: str) -> None:
        self.timings = timings
        self.stage = stage

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.timings[self.stage] = round(time.perf_counter() - self.start, 4)
