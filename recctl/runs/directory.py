"""One run: a directory whose files appear whole or not at all."""

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
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from recctl import artifacts, atomic, locking
from recctl.config import to_yaml
from recctl.errors import ArtifactError, ConfigError
from recctl.runs import liveness
from recctl.runs.environment import environment
from recctl.runs.schema import require_metadata, require_metrics

if TYPE_CHECKING:
    import pandas as pd

    from recctl.models.base import Recommender

Status = Literal["running", "complete", "failed", "interrupted", "died"]


class Run:
    """A run's directory.

    Attributes:
        path: The directory; its name is the run's id.
        metadata: What metadata.json says; `save_metadata` writes it back.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata: dict[str, Any] = {}
        self._held: int | None = None

    @property
    def id(self) -> str:
        """The run's id."""
        return self.path.name

    @classmethod
    def create(
        cls,
        root: Path,
        label: str,
        kind: str,
        config: dict[str, Any],
        parts: NDArray[np.uint8] | None = None,
        facts: Mapping[str, Any] | None = None,
    ) -> Run:
        """Make a new run directory under `root`. It is a run, that can be gone on with, once all of this stands in it.

        Args:
            root: The runs directory; made if missing.
            label: What stands between the time and the random end of the id: `ease-movielens-100k`.
            kind: "train", "fit" or "split".
            config: The config with every default filled in.
            parts: The part code of every interaction.
            facts: What else stands in the metadata.
        """
        now = datetime.now(UTC)
        root.mkdir(parents=True, exist_ok=True)
        while True:  # two runs of one second differ in the random end; of equal ends one is made again
            run = cls(root / f"{now:%Y%m%d-%H%M%S}-{label}-{secrets.token_hex(2)}")
            try:
                run.path.mkdir()
                break
            except FileExistsError:
                continue
        run.metadata = {
            "run_id": run.id,
            "kind": kind,
            "status": "running",
            "created": now.isoformat(timespec="milliseconds"),
            "seed": config["seed"],
            "environment": environment(),
            "timings": {},
            "models": [],
            "test_looks": 0,
            **(facts or {}),
        }
        try:
            run.save_file("config.yaml", to_yaml(config).encode())
            if parts is not None:
                run.save_split(parts)
            run.begin()
        except BaseException:
            shutil.rmtree(run.path, ignore_errors=True)
            raise
        return run

    @classmethod
    def open(cls, path: Path) -> Run:
        """An existing run.

        Raises:
            ArtifactError: No run is there, or its metadata is damaged.
        """
        run = cls(path)
        run.metadata = run._read_json("metadata.json")
        require_metadata(run.metadata, path / "metadata.json")
        return run

    # ---- status

    def begin(self) -> None:
        """Say that this process works on the run; no other may until `end`.

        Raises:
            ConfigError: Another does, or has since this one looked.
        """
        self._hold()
        self.metadata["status"] = "running"
        self.metadata["process"] = liveness.this()
        self.metadata.pop("error", None)
        self.save_metadata()

    def end(self, status: Status, error: str | None = None) -> None:
        """Say how the work ended."""
        self.metadata["status"] = status
        self.metadata["finished"] = datetime.now(UTC).isoformat(timespec="seconds")
        if error:
            self.metadata["error"] = error
        try:
            self.save_metadata()
        finally:
            self._release()

    def _hold(self) -> None:
        if self._held is not None:
            return
        try:
            self._held = locking.acquire(self.path)
        except BlockingIOError:
            raise ConfigError(f"{self.id}: another process is working on it") from None
        if (self.path / "metadata.json").exists() and self._read_json("metadata.json") != self.metadata:
            self._release()
            raise ConfigError(f"{self.id}: another process has worked on it meanwhile; look at it again")

    def _release(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """A block in which this process alone changes the figures of a run that is at rest; waits for others that do.

        Raises:
            ConfigError: One works on the run, which may take any time.
        """
        if self._held is not None:
            yield
            return
        try:
            held = locking.acquire(self.path)
        except BlockingIOError:
            Run.open(self.path).require_idle()
            held = locking.acquire(self.path, wait=True)
        try:
            self.metadata = self._read_json("metadata.json")
            yield
        finally:
            if held is not None:
                os.close(held)

    @property
    def status(self) -> Status:
        """As recorded; "died" where it says running and its process, of this machine, is no more."""
        recorded: Status = self.metadata["status"]
        return "died" if recorded == "running" and liveness.is_gone(self.metadata.get("process") or {}) else recorded

    def require_idle(self) -> None:
        """Refuse a run that another process works on.

        Raises:
            ConfigError: One does.
        """
        if self.status == "running":
            raise ConfigError(f"{self.id}: another process is working on it (pid {self.metadata['process']['pid']})")

    def timed(self, stage: str) -> _Timer:
        """A context that records how long a stage took, in seconds."""
        return _Timer(self.metadata["timings"], stage)

    # ---- files

    def save_metadata(self) -> None:
        """Write metadata.json."""
        self._write_json("metadata.json", self.metadata)

    def save_file(self, name: str, content: bytes) -> None:
        """Write a file whose hash stands in the metadata from their next saving on."""
        atomic.write_bytes(self.path / name, content)
        self.metadata.setdefault("files", {})[name] = hashlib.sha256(content).hexdigest()

    def trials(self) -> pd.DataFrame:
        """A row for each trial of a search.

        Raises:
            ArtifactError: The file is missing or damaged.
        """
        import pandas as pd

        table: pd.DataFrame = self._read("trials.parquet", lambda path: pd.read_parquet(io.BytesIO(path.read_bytes())))
        return table

    def config_text(self) -> str:
        """The stored config.

        Raises:
            ArtifactError: It is missing.
        """
        return str(self._read("config.yaml", lambda path: path.read_text(encoding="utf-8")))

    def metrics(self) -> dict[str, dict[str, float]]:
        """`{"validation": {...}, "test": {...}}`; empty for a run that was not evaluated."""
        path = self.path / "metrics.json"
        found = self._read_json("metrics.json") if path.exists() else {}
        require_metrics(found, path)
        return found

    def add_metrics(self, part: str, values: dict[str, float]) -> None:
        """Add to the metrics of a part; those measured again are replaced."""
        metrics = self.metrics()
        metrics[part] = {**metrics.get(part, {}), **values}
        self._write_json("metrics.json", metrics)

    def save_per_user(self, tables: dict[str, pd.DataFrame]) -> None:
        """Keep each user's metrics, by part. What was kept of the same users stays, but for what is measured again."""
        import pandas as pd

        path = self.path / "per_user.parquet"
        old = self._read("per_user.parquet", pd.read_parquet) if path.exists() else pd.DataFrame({"part": []})
        new = [_beside(old[old["part"] == part], table).assign(part=part) for part, table in tables.items()]
        kept = old[~old["part"].isin(list(tables))].dropna(axis=1, how="all")
        sink = io.BytesIO()
        pd.concat([*([kept] if len(kept) else []), *new], ignore_index=True).to_parquet(sink, index=False)
        atomic.write_bytes(path, sink.getvalue())

    def per_user(self, part: str) -> pd.DataFrame:
        """What each user of a part got of the run's model: `user_id`, a column for each metric, `n_relevant`.

        Raises:
            ArtifactError: The run has not kept it.
        """
        import pandas as pd

        def read(path: Path) -> pd.DataFrame:
            return pd.read_parquet(io.BytesIO(path.read_bytes()))

        there = (self.path / "per_user.parquet").exists()
        table = self._read("per_user.parquet", read) if there else pd.DataFrame({"part": []})
        table = table[table["part"] == part]
        if table.empty:
            raise ArtifactError(
                f"{self.id}: holds no figures of users on {part}: recctl evaluate {self.id} --on {part}"
            )
        return table.drop(columns="part").dropna(axis="columns", how="all").reset_index(drop=True)

    def save_split(self, parts: NDArray[np.uint8]) -> None:
        """Keep the part code of every interaction."""
        sink = io.BytesIO()
        # Only the main thread is interrupted; in the midst of this, zipfile would complain of that and hide it.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(np.savez_compressed, sink, parts=parts).result()
        atomic.write_bytes(self.path / "split.npz", sink.getvalue())

    def split_parts(self) -> NDArray[np.uint8]:
        """The part code of every interaction.

        Raises:
            ArtifactError: The file is missing or damaged.
        """

        def read(path: Path) -> NDArray[np.uint8]:
            with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
                return np.asarray(file["parts"], np.uint8)

        parts: NDArray[np.uint8] = self._read("split.npz", read)
        return parts

    def save_model(self, model: Recommender, fitted_on: str, trial: int | None = None) -> Path:
        """Keep a fitted model as the next version; earlier ones are never overwritten.

        Args:
            model: The model.
            fitted_on: What it has learnt from.
            trial: Of a search, the trial it is of.
        """
        version = 1 + max((entry["version"] for entry in self.metadata["models"]), default=0)
        path = self.path / "models" / f"v{version}.pkl"
        sha256 = model.save(path)
        self.metadata["models"].append(
            {
                "version": version,
                "file": f"models/v{version}.pkl",
                "model": model.name,
                "fitted_on": fitted_on,
                "sha256": sha256,
                "format_version": artifacts.FORMAT_VERSION,
                "bytes": path.stat().st_size,
            }
            | ({} if trial is None else {"trial": trial})
        )
        self.save_metadata()
        return path

    def model_entry(self, version: int | None = None) -> dict[str, Any]:
        """The metadata of a model version, by default the newest.

        Raises:
            ArtifactError: The run has no such model.
        """
        entries = self.metadata.get("models", [])
        found = [entry for entry in entries if version in (None, entry["version"])]
        if not found:
            there = ", ".join(f"v{entry['version']}" for entry in entries) or "none"
            asked = "model" if version is None else f"model v{version}"
            raise ArtifactError(f"{self.id}: has no {asked} (there: {there}); its status is {self.status}")
        entry: dict[str, Any] = found[-1]
        return entry

    def log(self, text: str) -> None:
        """Append a line to log.txt."""
        path = self.path / "log.txt"
        with atomic.with_filename(path), path.open("a", encoding="utf-8") as file:
            file.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {text}\n")

    def _write_json(self, name: str, value: Any) -> None:
        atomic.write_bytes(self.path / name, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())

    def _read_json(self, name: str) -> dict[str, Any]:
        value = self._read(name, lambda path: json.loads(path.read_text(encoding="utf-8")))
        if not isinstance(value, dict):
            raise ArtifactError(f"{self.path / name}: damaged: holds no JSON object")
        return value

    def _read(self, name: str, read: Callable[[Path], Any]) -> Any:
        path = self.path / name
        try:
            return read(path)
        except FileNotFoundError:
            raise ArtifactError(f"{path}: missing: not a run, or not a whole one") from None
        except Exception as error:
            raise ArtifactError(f"{path}: damaged: {error}") from None


def _beside(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """A new table with the columns of an old one that it has not, if both are of the same users."""
    old = old.dropna(axis=1, how="all")
    more = [column for column in old if column not in new and column != "part"]
    if not more or set(old["user_id"]) != set(new["user_id"]):
        return new
    return new.merge(old[["user_id", *more]], on="user_id", how="left", validate="one_to_one")


class _Timer:
    def __init__(self, timings: dict[str, float], stage: str) -> None:
        self.timings = timings
        self.stage = stage

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.timings[self.stage] = round(time.perf_counter() - self.start, 4)
