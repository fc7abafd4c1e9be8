"""Readers of untrusted bytes: each must return or raise a `RecctlError`, within limits of time and memory."""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import recctl
import tests.fuzz.compile_kernels  # noqa: F401
from recctl import artifacts, experiment, export
from recctl.artifacts import content_hash, plain_pickle
from recctl.cli.runs import list as runs_list
from recctl.data.sources import ReadOptions, read_source
from recctl.data.sources.catalog.unzip import unpack
from recctl.errors import RecctlError
from recctl.runs import Run, RunStore, labels, verification
from recctl.runs.summary import summarize

CORPUS = Path(__file__).with_name("corpus")
SECONDS = 10.0
MEGABYTES = 512


class FindingError(AssertionError):
    """A reader raises an unexpected exception or exceeds a limit."""


@lru_cache(maxsize=1)
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="recctl-fuzz-"))


def _file(name: str, data: bytes) -> Path:
    path = _folder() / name
    path.write_bytes(data)
    return path


def config(data: bytes) -> None:
    """A config file."""
    experiment.load(_file("config.yaml", data))


def _source(name: str, data: bytes) -> None:
    read_source(str(_file(name, data)), ReadOptions())


def csv(data: bytes) -> None:
    """Interactions as delimited text."""
    _source("data.csv", data)


def inter(data: bytes) -> None:
    """Interactions as an atomic file of RecBole."""
    _source("data.inter", data)


def bad_rows(data: bytes) -> None:
    """Interactions as delimited text, with bad rows skipped and text ids."""
    read_source(str(_file("data.tsv", data)), ReadOptions(bad_rows="skip", id_type="text"))


def gzipped(data: bytes) -> None:
    """Interactions compressed by gzip; other data is compressed first."""
    is_compressed = data[:2] == b"\x1f\x8b"
    _source("data.csv.gz", data if is_compressed else gzip.compress(data, 1, mtime=0))


def zipped(data: bytes) -> None:
    """Interactions in a zip archive."""
    _source("data.csv.zip", data)


def lists(data: bytes) -> None:
    """Lists of items, one user a line."""
    read_source(str(_file("lists.txt", data)), ReadOptions(format="sequences", bad_rows="skip"))


def counted_lists(data: bytes) -> None:
    """Lists of items, each after their number, with comments."""
    options = ReadOptions(format="lightgcn", user="counted_line", comment="#", skip_lines=1)
    read_source(str(_file("counted.txt", data)), options)


def formatted_dates(data: bytes) -> None:
    """Interactions with dates of a format."""
    options = ReadOptions(timestamp_format="%d.%m.%Y %H:%M", bad_rows="skip")
    read_source(str(_file("dates.csv", data)), options)


def parquet_parts(data: bytes) -> None:
    """Interactions in a folder of Parquet files."""
    (_folder() / "parts").mkdir(exist_ok=True)
    _file("parts/0.parquet", data)
    read_source(str(_folder() / "parts"), ReadOptions())


def parquet(data: bytes) -> None:
    """Interactions in Parquet."""
    _source("data.parquet", data)


def json_lines(data: bytes) -> None:
    """Interactions as JSON lines."""
    _source("data.jsonl", data)


def json_parts(data: bytes) -> None:
    """Interactions in a folder of files of JSON lines, with bad rows skipped."""
    (_folder() / "json_parts").mkdir(exist_ok=True)
    _file("json_parts/0.jsonl", b'{"user_id": 1, "item_id": 2}\n')
    _file("json_parts/1.jsonl", data)
    read_source(str(_folder() / "json_parts"), ReadOptions(bad_rows="skip"))


def arrow(data: bytes) -> None:
    """Interactions in an Arrow file or stream."""
    _source("data.arrow", data)


def any_format(data: bytes) -> None:
    """Interactions in a format that is recognised by its content."""
    _source("data", data)


def archive(data: bytes) -> None:
    """A downloaded zip archive; nothing may be unpacked outside of its folder."""
    folder = _folder() / "unpacked"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        unpack(_file("archive.zip", data), folder, limit=1 << 20)
    finally:
        unpacked = {path.resolve() for path in folder.rglob("*")}
        assert all(path.is_relative_to(folder.resolve()) for path in unpacked)


def model(data: bytes) -> None:
    """A model file; the bytes are its content, after a valid header."""
    hasher = content_hash.PiecewiseHash()
    with hasher:
        hasher.update(data)
        digest = hasher.hexdigest()
    header = {"recctl": "model", "format_version": artifacts.FORMAT_VERSION, "sha256": digest}
    path = _folder() / "model.pkl"
    with path.open("wb") as file:
        plain_pickle.write(file, header | {"size": f"{len(data):020d}"})
        file.write(data)
    recctl.load_model(path)


def metadata(data: bytes) -> None:
    """The metadata of a run."""
    run = Run.open(_run("metadata.json", data))
    runs_list._row(RunStore(run.path.parent), summarize(run), [])
    verification.verify(run)
    RunStore(run.path.parent).count_test_evaluations("a", "b")


def metrics(data: bytes) -> None:
    """The metrics of a run."""
    run = Run.open(_run("metrics.json", data))
    runs_list._row(RunStore(run.path.parent), summarize(run), [])
    verification.verify(run)


def annotations(data: bytes) -> None:
    """Tags and note of a run."""
    labels.read(Run.open(_run("remarks.json", data)))


def manifest(data: bytes) -> None:
    """The manifest of an export."""
    folder = _folder() / "export"
    folder.mkdir(exist_ok=True)
    (folder / "manifest.json").write_bytes(data)
    export.verify_export(folder)


def _run(name: str, data: bytes) -> Path:
    """A run directory in which one file holds the bytes."""
    folder = _folder() / "runs" / "20260101-000000-ease-data-0000"
    folder.mkdir(parents=True, exist_ok=True)
    metadata = {"status": "complete", "kind": "train", "monitor": {"metric": "ndcg@5", "mode": "max"}, "models": []}
    (folder / "metadata.json").write_text(json.dumps(metadata))
    for other in ("metrics.json", "remarks.json"):
        (folder / other).unlink(missing_ok=True)
    (folder / name).write_bytes(data)
    return folder


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target
    for target in (
        config,
        csv,
        inter,
        bad_rows,
        lists,
        counted_lists,
        formatted_dates,
        gzipped,
        zipped,
        parquet,
        parquet_parts,
        json_lines,
        json_parts,
        arrow,
        any_format,
        archive,
        model,
        metadata,
        metrics,
        annotations,
        manifest,
    )
}


def feed(name: str, data: bytes) -> None:
    """Call a target with bytes.

    Raises:
        FindingError: It raises another exception than a `RecctlError`, an error without a message, or takes too long.
    """
    begin = time.process_time()
    try:
        TARGETS[name](data)
    except RecctlError as error:
        if not str(error).strip():
            raise FindingError(f"{name}: an error without a message, for {data!r}") from error
    except Exception as error:
        raise FindingError(f"{name}: {type(error).__name__}: {error}, for {data!r}") from error
    seconds = time.process_time() - begin
    if seconds > SECONDS:
        raise FindingError(f"{name}: {seconds:.0f} s, for {data!r}")


def corpus(name: str) -> list[bytes]:
    """The saved inputs of a target."""
    return [path.read_bytes() for path in sorted(corpus_folder(name).iterdir())]


def corpus_folder(name: str) -> Path:
    """The folder of the saved inputs of a target; targets of the same format share one."""
    shared = {"zipped": "archive", "parquet_parts": "parquet", "json_parts": "json_lines"}
    return CORPUS / shared.get(name, name)
