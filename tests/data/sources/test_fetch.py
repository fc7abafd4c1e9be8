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
from tests.data.sources.server import Behaviour, serving

RATINGS = "1::10::4::1000\n2::20::3.5::2000\n"
LAYOUT = ReadOptions(delimiter="::", header=False, columns={"user_id": 0, "item_id": 1, "rating": 2, "timestamp": 3})
MEMBER = "recbole/dataset_example/ml-100k/ml-100k.inter"
INTER = b"user_id:token\titem_id:token\n5\t6\n"


def zipped(members):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)  # without the time: equal in every process
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
    """Makes the catalog hold one data set, with these mirrors."""

    def make(*mirrors, limit=10_000):
        made = CatalogDataset("movielens-100k", 2, 2, 2, "The terms", "https://example.org", limit, mirrors)
        monkeypatch.setattr(datasets, "_ENTRIES", (made,))
        return made

    return make


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index in a folder, which pip uses instead of any other."""
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


def test_fetched_once_and_told_of_once(entry, notices):
    behaviour = Behaviour(CONTENT)
    with serving(behaviour) as url:
        made = entry(web(url))
        assert not made.cached
        folder = fetch("movielens-100k")
        assert fetch("movielens-100k") == folder == made.folder
        assert made.cached
        assert len(behaviour.requests) == 1
        table = read_source("movielens-100k")
        assert len(behaviour.requests) == 1
    assert notices == ["The terms; https://example.org", f"movielens-100k: fetched from The web into {folder}"]
    assert names_in(cache.home()) == ["movielens-100k"]  # neither the archive nor a part of it
    assert (folder / "ml/README").read_text() == "terms"
    assert table.frame.to_dict("list") == {
        "user_id": [1, 2],
        "item_id": [10, 20],
        "rating": [4.0, 3.5],
        "timestamp": [1000, 2000],
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


def test_force_fetches_again_and_keeps_the_old_if_that_fails(entry):
    behaviour = Behaviour(CONTENT)
    with serving(behaviour) as url:
        made = entry(web(url))
        folder = fetch("movielens-100k")
        (folder / "mine.txt").write_text("x")
        fetch("movielens-100k", force=True)
        assert len(behaviour.requests) == 2
        assert not (folder / "mine.txt").exists()
    with pytest.raises(DataError, match="can't be reached"):
        fetch("movielens-100k", force=True)
    assert made.cached
    assert names_in(cache.home()) == ["movielens-100k"]


@pytest.mark.parametrize("damage", ["gone", "cut", "record", "foreign"])
def test_a_damaged_cache_is_fetched_anew(entry, damage):
    with serving(Behaviour(CONTENT)) as url:
        made = entry(web(url))
        folder = fetch("movielens-100k")
        if damage == "gone":
            (folder / "ml/ratings.dat").unlink()
        elif damage == "cut":
            (folder / "ml/ratings.dat").write_text(RATINGS[:-5])
        elif damage == "record":
            (folder / "source.json").write_text("[1")
        else:
            (folder / "source.json").write_text('{"mirror": "another"}')
        assert not made.cached
        assert len(read_source("movielens-100k").frame) == 2
        assert made.cached


def test_the_next_mirror_serves_where_the_first_can_not(entry, index, notices):
    (index / "recbole-1.2.1-py3-none-any.whl").write_bytes(WHEEL)
    entry(web(DEAD), wheel())
    table = read_source("movielens-100k")
    assert table.frame.to_dict("list") == {"user_id": [5], "item_id": [6]}
    assert (table.provenance["mirror"], table.provenance["package"]) == ("The wheel", "recbole==1.2.1")
    assert table.provenance["archive_sha256"] == hashlib.sha256(WHEEL).hexdigest()
    assert "fetched from The wheel" in notices[1]
    assert "The web: can't be reached" in notices[1]
    assert importlib.util.find_spec("recbole") is None


def test_all_mirrors_fail_with_the_reason_of_each_and_the_way_out(entry, index):
    entry(web(DEAD), wheel())
    with pytest.raises(DataError) as caught:
        fetch("movielens-100k")
    message, home = str(caught.value), cache.home()
    assert message.startswith("movielens-100k: can't be fetched. The web: can't be reached (")
    assert "The wheel: pip can't download recbole==1.2.1 (ERROR: No matching distribution found" in message
    assert f"By hand: put {DEAD} into {home}, or run pip download --no-deps --only-binary=:all: -d {home} " in message
    assert "\n" not in message
    assert names_in(home) == []


def test_no_pip(entry, monkeypatch):
    entry(wheel())
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"this Python has no pip \(another one can run: pip download --no-deps"):
        fetch("movielens-100k")


def test_a_wheel_with_another_file_is_refused(entry):
    made = entry(replace(wheel(), sha256="0" * 64))
    cache.home().mkdir()
    (cache.home() / "recbole-1.2.1-py3-none-any.whl").write_bytes(WHEEL)
    with pytest.raises(DataError, match=r"the SHA-256 of recbole/.*ml-100k\.inter is [0-9a-f]{64}, not 0{64}"):
        fetch("movielens-100k")
    assert not made.cached


def test_an_archive_placed_by_hand_is_used_first_and_kept(entry):
    entry(web(DEAD), wheel())
    cache.home().mkdir()
    placed = cache.home() / "recbole-1.2.1-py3-none-any.whl"
    placed.write_bytes(WHEEL)
    assert read_source("movielens-100k").provenance["mirror"] == "The wheel"
    assert placed.exists()


def test_a_damaged_archive_placed_by_hand_is_named(entry):
    entry(web(DEAD))
    cache.home().mkdir()
    (cache.home() / "set.zip").write_bytes(CONTENT[:-30])
    with pytest.raises(DataError, match=r"movielens-100k: can't be fetched\. The web: .* no whole zip archive"):
        fetch("movielens-100k")
    assert names_in(cache.home()) == ["set.zip"]


def test_archives_that_are_not_as_declared(entry):
    with serving(Behaviour(CONTENT)) as url:
        entry(web(url), limit=10)
        with pytest.raises(DataError, match=r"set\.zip: holds 37 B, more than the 10 B expected"):
            fetch("movielens-100k")
        entry(web(url, ratings="ml/other.dat"))
        with pytest.raises(DataError, match=r"set\.zip: holds no ml/other\.dat"):
            fetch("movielens-100k")
        assert names_in(cache.home()) == []


def test_what_a_dead_process_left_is_cleared(entry):
    (cache.home() / ".movielens-100k-abc" / "ml").mkdir(parents=True)
    with serving(Behaviour(CONTENT)) as url:
        entry(web(url))
        fetch("movielens-100k")
    assert names_in(cache.home()) == ["movielens-100k"]


def test_a_cache_that_can_not_be_written_to(entry, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("RECCTL_DATA_HOME", str(tmp_path / "file" / "home"))
    entry(web(DEAD))
    with pytest.raises(DataError, match=r"the cache can't be written to \(.*\); RECCTL_DATA_HOME names another folder"):
        fetch("movielens-100k")


def test_threads_that_ask_at_once_fetch_once(entry):
    behaviour = Behaviour(CONTENT)
    with serving(behaviour) as url:
        entry(web(url))
        threads = [threading.Thread(target=fetch, args=("movielens-100k",)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(behaviour.requests) == 1
    assert len(read_source("movielens-100k").frame) == 2


def _fetch_elsewhere(url, home, results):
    os.environ["RECCTL_DATA_HOME"] = home
    datasets._ENTRIES = (CatalogDataset("movielens-100k", 2, 2, 2, "", "", 10_000, (web(url),)),)
    results.put(len(read_source("movielens-100k").frame))


def test_processes_that_ask_at_once_fetch_once():
    spawn = multiprocessing.get_context("spawn")
    results, behaviour = spawn.Queue(), Behaviour(CONTENT)
    with serving(behaviour) as url:
        arguments = (url, str(cache.home()), results)
        processes = [spawn.Process(target=_fetch_elsewhere, args=arguments) for _ in range(2)]
        for process in processes:
            process.start()
        assert [results.get(timeout=60) for _ in processes] == [2, 2]
        for process in processes:
            process.join()
    assert len(behaviour.requests) == 1


def test_the_real_catalogue():
    known = {made.name: made for made in catalog()}
    assert list(known) == [f"movielens-{size}" for size in ("100k", "1m", "10m", "20m", "25m", "32m", "latest-small")]
    for made in known.values():
        assert made.rows > made.items
        assert made.mirrors[0].url.startswith("https://files.grouplens.org/datasets/movielens/ml-")
        assert made.licence
        assert made.homepage.startswith("https://grouplens.org/")
        assert not made.cached
    assert [made.mirrors[0].md5 is None for made in known.values()] == [False] * 6 + [True]
    assert len(known["movielens-100k"].mirrors) == 2
    assert len({made.mirrors[0].archive for made in catalog()}) == 7


def test_read_source_finds_files_from_the_base_folder(write, tmp_path, monkeypatch):
    write("data/r.csv", "user,item\n1,2\n")
    table = read_source("r.csv", base=tmp_path / "data")
    assert table.provenance["source"] == "r.csv"
    assert table.provenance["sha256"] == hashlib.sha256(b"user,item\n1,2\n").hexdigest()
    assert len(read_source(str(tmp_path / "data/r.csv"), base=tmp_path / "elsewhere").frame) == 1
    monkeypatch.setenv("HOME", str(tmp_path))
    assert len(read_source("~/data/r.csv").frame) == 1


def test_a_path_may_have_a_name_of_the_catalogue(write, tmp_path):
    write("movielens-100k", "user,item\n1,2\n")
    assert len(read_source("./movielens-100k", base=tmp_path).frame) == 1


def test_unknown_sources_suggest_what_is_near(write, tmp_path):
    write("ratings.csv", "x")
    looked = r"neither a data set of the catalog nor a file \(looked at /.*\)"
    with pytest.raises(DataError, match=rf"^movielens-100: {looked}; did you mean movielens-100k\?"):
        read_source("movielens-100", base=tmp_path)
    with pytest.raises(DataError, match=rf"^rating.csv: {looked}; did you mean ratings\.csv\?"):
        read_source("rating.csv", base=tmp_path)
    with pytest.raises(DataError, match=looked):
        read_source("no/such/folder/x.csv", base=tmp_path)
    with pytest.raises(DataError, match=r"data set 'movielens-1': not in the catalog; did you mean movielens-1m\?"):
        fetch("movielens-1")


def test_a_catalogue_entry_takes_no_options_of_layout(entry):
    entry(web(DEAD))
    with pytest.raises(ConfigError) as caught:
        read_source("movielens-100k", ReadOptions(delimiter=",", header=True, bad_rows="skip"))
    assert caught.value.problems == [
        "data.delimiter: movielens-100k has its own layout; leave this out",
        "data.header: movielens-100k has its own layout; leave this out",
    ]


def test_load_movielens(entry):
    with serving(Behaviour(CONTENT)) as url:
        entry(web(url))
        assert load_movielens("100k").columns.tolist() == ["user_id", "item_id", "rating", "timestamp"]
    with pytest.raises(ConfigError, match=r"size='200k': unknown; one of 100k"):
        sources.load_movielens("200k")


def test_the_cache_has_a_place_of_its_own(monkeypatch):
    monkeypatch.delenv("RECCTL_DATA_HOME")
    assert cache.home().name == "recctl"
    assert cache.home().is_absolute()
