from __future__ import annotations

import hashlib
import importlib.util
import io
import json
import multiprocessing
import os
import threading
import zipfile
from dataclasses import replace

import pytest

from recctl.data import sources
from recctl.data.sources import catalog, fetch, load_movielens, read_source
from recctl.data.sources.catalog import cache, datasets
from recctl.data.sources.catalog.datasets import CatalogDataset
from recctl.data.sources.catalog.mirrors import WebArchive, WheelMember
from recctl.data.sources.options import ReadOptions
from recctl.errors import ConfigError, DataError
from tests.data.sources.server import Behavior, serving

RATINGS = "1::10::4::1500001000\n2::20::3.5::1500002000\n"
LAYOUT = ReadOptions(delimiter="::", header=False, columns={"user_id": 0, "item_id": 1, "rating": 2, "timestamp": 3})
MEMBER = "recbole/dataset_example/ml-100k/ml-100k.inter"
INTER = b"user_id:token\titem_id:token\n5\t6\n"


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # without the time, so that all processes get equal bytes
    return buffer.getvalue()


CONTENT = zipped({"ml/README": "terms", "ml/ratings.dat": RATINGS})
WHEEL = zipped(
    {
        MEMBER: INTER,
        "recbole/__init__.py": "",
        "recbole-1.2.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: recbole\nVersion: 1.2.1\n",
        "recbole-1.2.1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "recbole-1.2.1.dist-info/RECORD": "",
    }
)


def web(url, content=CONTENT, ratings="ml/ratings.dat"):
    return WebArchive("The web", url, ratings, LAYOUT, hashlib.md5(content).hexdigest())


def wheel():
    return WheelMember(
        "The wheel",
        "recbole==1.2.1",
        "recbole-1.2.1-py3-none-any.whl",
        MEMBER,
        ReadOptions(format="inter"),
        hashlib.sha256(INTER).hexdigest(),
    )


@pytest.fixture
def entry(monkeypatch):
    """A function that reduces the catalog to one data set with the given mirrors."""

    def make(*mirrors, limit=10_000):
        dataset = CatalogDataset("movielens-100k", 2, 2, 2, "The terms", "https://example.org", limit, mirrors)
        monkeypatch.setattr(datasets, "_ENTRIES", (dataset,))
        return dataset

    return make


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder that pip uses as its only package index."""
    pytest.importorskip("pip")
    folder = tmp_path / "index"
    folder.mkdir()
    for name in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


DEAD = "http://127.0.0.1:1/set.zip"


def names_in(folder):
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def test_fetch_downloads_once(entry, notices):
    behavior = Behavior(CONTENT)
    with serving(behavior) as url:
        dataset = entry(web(url))
        assert not dataset.cached
        folder = fetch("movielens-100k")
        assert fetch("movielens-100k") == folder == dataset.folder
        assert dataset.cached
        assert len(behavior.requests) == 1
        table = read_source("movielens-100k")
        assert len(behavior.requests) == 1
    assert notices == ["The terms; https://example.org", f"movielens-100k: downloaded from The web to {folder}"]
    assert names_in(cache.home()) == ["movielens-100k"]  # the archive and its parts are deleted
    assert (folder / "ml/README").read_text() == "terms"
    assert table.frame.to_dict("list") == {
        "user_id": [1, 2],
        "item_id": [10, 20],
        "rating": [4.0, 3.5],
        "timestamp": [1500001000, 1500002000],
    }
    assert json.loads(json.dumps(table.provenance)) == {
        "source": "movielens-100k",
        "mirror": "The web",
        "url": url,
        "archive": "set.zip",
        "archive_md5": hashlib.md5(CONTENT).hexdigest(),
        "archive_sha256": hashlib.sha256(CONTENT).hexdigest(),
        "file": "ml/ratings.dat",
        "format": "csv",
        "bytes": len(RATINGS),
        "sha256": hashlib.sha256(RATINGS.encode()).hexdigest(),
        "rows_read": 2,
        "rows_skipped": 0,
    }


def test_force_downloads_again_and_keeps_the_old_copy_on_failure(entry):
    behavior = Behavior(CONTENT)
    with serving(behavior) as url:
        dataset = entry(web(url))
        folder = fetch("movielens-100k")
        (folder / "mine.txt").write_text("x")
        fetch("movielens-100k", force=True)
        assert len(behavior.requests) == 2
        assert not (folder / "mine.txt").exists()
    with pytest.raises(DataError, match="can't be reached"):
        fetch("movielens-100k", force=True)
    assert dataset.cached
    assert names_in(cache.home()) == ["movielens-100k"]


@pytest.mark.parametrize("damage", ["gone", "cut", "record", "foreign"])
def test_damaged_cache_is_downloaded_again(entry, damage):
    with serving(Behavior(CONTENT)) as url:
        dataset = entry(web(url))
        folder = fetch("movielens-100k")
        if damage == "gone":
            (folder / "ml/ratings.dat").unlink()
        elif damage == "cut":
            (folder / "ml/ratings.dat").write_text(RATINGS[:-5])
        elif damage == "record":
            (folder / "source.json").write_text("[1")
        else:
            (folder / "source.json").write_text('{"mirror": "another"}')
        assert not dataset.cached
        assert len(read_source("movielens-100k").frame) == 2
        assert dataset.cached


def test_next_mirror_is_used_if_the_first_fails(entry, index, notices):
    (index / "recbole-1.2.1-py3-none-any.whl").write_bytes(WHEEL)
    entry(web(DEAD), wheel())
    table = read_source("movielens-100k")
    assert table.frame.to_dict("list") == {"user_id": [5], "item_id": [6]}
    assert (table.provenance["mirror"], table.provenance["package"]) == ("The wheel", "recbole==1.2.1")
    assert table.provenance["archive_sha256"] == hashlib.sha256(WHEEL).hexdigest()
    assert "downloaded from The wheel" in notices[1]
    assert "The web: can't be reached" in notices[1]
    assert importlib.util.find_spec("recbole") is None


def test_failure_of_all_mirrors_reports_each_reason_and_manual_steps(entry, index):
    entry(web(DEAD), wheel())
    with pytest.raises(DataError) as caught:
        fetch("movielens-100k")
    message = str(caught.value)
    home = cache.home()
    assert message.startswith("movielens-100k: the download failed. The web: can't be reached (")
    assert "The wheel: pip can't download recbole==1.2.1 (ERROR: No matching distribution found" in message
    assert (
        f"To get it manually, put {DEAD} into {home}, or run pip download --no-deps --only-binary=:all: -d {home} "
        in message
    )
    assert "\n" not in message
    assert names_in(home) == []


def test_missing_pip_is_reported(entry, monkeypatch):
    entry(wheel())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"this Python has no pip; with another Python, run pip download --no-deps"):
        fetch("movielens-100k")


def test_wheel_with_a_changed_file_is_rejected(entry):
    dataset = entry(replace(wheel(), sha256="0" * 64))
    cache.home().mkdir()
    (cache.home() / "recbole-1.2.1-py3-none-any.whl").write_bytes(WHEEL)
    with pytest.raises(DataError, match=r"the SHA-256 of recbole/.*ml-100k\.inter is [0-9a-f]{64}, not 0{64}"):
        fetch("movielens-100k")
    assert not dataset.cached


def test_archive_placed_by_the_user_is_used_first_and_kept(entry):
    entry(web(DEAD), wheel())
    cache.home().mkdir()
    placed = cache.home() / "recbole-1.2.1-py3-none-any.whl"
    placed.write_bytes(WHEEL)
    assert read_source("movielens-100k").provenance["mirror"] == "The wheel"
    assert placed.exists()


def test_damaged_archive_placed_by_the_user_is_reported_and_kept(entry):
    entry(web(DEAD))
    cache.home().mkdir()
    (cache.home() / "set.zip").write_bytes(CONTENT[:-30])
    with pytest.raises(DataError, match=r"movielens-100k: the download failed\. The web: not a complete zip archive"):
        fetch("movielens-100k")
    assert names_in(cache.home()) == ["set.zip"]


def test_archive_too_large_or_without_its_file_is_rejected(entry):
    with serving(Behavior(CONTENT)) as url:
        entry(web(url), limit=10)
        with pytest.raises(DataError, match=r"set\.zip: not unpacked, because its contents take 49 B and at most 10 B"):
            fetch("movielens-100k")
        entry(web(url, ratings="ml/other.dat"))
        with pytest.raises(DataError, match=r"set\.zip: the archive has no file ml/other\.dat"):
            fetch("movielens-100k")
        assert names_in(cache.home()) == []


def test_leftovers_of_a_dead_process_are_deleted(entry):
    (cache.home() / ".movielens-100k-0123456789abcdef.tmp" / "ml").mkdir(parents=True)
    with serving(Behavior(CONTENT)) as url:
        entry(web(url))
        fetch("movielens-100k")
    assert names_in(cache.home()) == ["movielens-100k"]


def test_unwritable_cache_is_reported(entry, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RECCTL_DATA_HOME", str(tmp_path / "file" / "home"))
    entry(web(DEAD))
    with pytest.raises(
        DataError, match=r"can't write to the cache folder \(.*\); set RECCTL_DATA_HOME to another folder"
    ):
        fetch("movielens-100k")


def test_concurrent_threads_download_once(entry):
    behavior = Behavior(CONTENT)
    with serving(behavior) as url:
        entry(web(url))
        threads = [threading.Thread(target=fetch, args=("movielens-100k",)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(behavior.requests) == 1
    assert len(read_source("movielens-100k").frame) == 2


def _read_in_process(url, home, results):
    os.environ["RECCTL_DATA_HOME"] = home
    datasets._ENTRIES = (CatalogDataset("movielens-100k", 2, 2, 2, "", "", 10_000, (web(url),)),)
    results.put(len(read_source("movielens-100k").frame))


def test_concurrent_processes_download_once():
    spawn = multiprocessing.get_context("spawn")
    results = spawn.Queue()
    behavior = Behavior(CONTENT)
    with serving(behavior) as url:
        arguments = (url, str(cache.home()), results)
        processes = [spawn.Process(target=_read_in_process, args=arguments) for _ in range(2)]
        for process in processes:
            process.start()
        assert [results.get(timeout=60) for _ in processes] == [2, 2]
        for process in processes:
            process.join()
    assert len(behavior.requests) == 1


def test_catalog_lists_the_movielens_data_sets():
    entries = catalog()
    assert [entry.name for entry in entries] == [
        f"movielens-{size}" for size in ("100k", "1m", "10m", "20m", "25m", "32m", "latest-small")
    ]
    for entry in entries:
        assert entry.rows > entry.items
        assert entry.mirrors[0].url.startswith("https://files.grouplens.org/datasets/movielens/ml-")
        assert entry.license
        assert entry.homepage.startswith("https://grouplens.org/")
        assert not entry.cached
    assert [entry.mirrors[0].md5 is None for entry in entries] == [False] * 6 + [True]
    assert len(entries[0].mirrors) == 2
    assert len({entry.mirrors[0].archive for entry in entries}) == 7


def test_relative_path_starts_from_the_base_folder(write, tmp_path, monkeypatch):
    write("data/r.csv", "user,item\n1,2\n")
    table = read_source("r.csv", base=tmp_path / "data")
    assert table.provenance["source"] == "r.csv"
    assert table.provenance["sha256"] == hashlib.sha256(b"user,item\n1,2\n").hexdigest()
    assert len(read_source(str(tmp_path / "data/r.csv"), base=tmp_path / "elsewhere").frame) == 1
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(read_source("~/data/r.csv").frame) == 1


def test_path_with_a_catalog_name_is_read_as_a_file(write, tmp_path):
    write("movielens-100k", "user,item\n1,2\n")
    assert len(read_source("./movielens-100k", base=tmp_path).frame) == 1


def test_unknown_source_suggests_similar_names(write, tmp_path):
    write("ratings.csv", "x")
    problem = r"neither a data set of the catalog nor a file \(tried /.*\)"
    with pytest.raises(DataError, match=rf"^movielens-100: {problem}; did you mean movielens-100k\?"):
        read_source("movielens-100", base=tmp_path)
    with pytest.raises(DataError, match=rf"^rating.csv: {problem}; did you mean ratings\.csv\?"):
        read_source("rating.csv", base=tmp_path)
    with pytest.raises(DataError, match=problem):
        read_source("no/such/folder/x.csv", base=tmp_path)
    with pytest.raises(DataError, match=r"data set 'movielens-1': not in the catalog; did you mean movielens-1m\?"):
        fetch("movielens-1")


def test_layout_options_for_a_catalog_entry_are_rejected(entry):
    entry(web(DEAD))
    with pytest.raises(ConfigError) as caught:
        read_source("movielens-100k", ReadOptions(delimiter=",", header=True, bad_rows="skip"))
    assert caught.value.problems == [
        "delimiter: movielens-100k has its own layout; leave this out",
        "header: movielens-100k has its own layout; leave this out",
    ]


def test_load_movielens_returns_a_frame_and_rejects_unknown_sizes(entry):
    with serving(Behavior(CONTENT)) as url:
        entry(web(url))
        assert load_movielens("100k").columns.tolist() == ["user_id", "item_id", "rating", "timestamp"]
    with pytest.raises(ConfigError, match=r"size='200k': unknown; one of 100k"):
        sources.load_movielens("200k")


def test_default_cache_folder_belongs_to_recctl(monkeypatch):
    monkeypatch.delenv("RECCTL_DATA_HOME")
    assert cache.home().name == "recctl"
    assert cache.home().is_absolute()
