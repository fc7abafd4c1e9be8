"""Sources on web servers."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from recctl.data.sources import ReadOptions, read_source
from recctl.errors import ConfigError, DataError
from tests.data.sources.remote.servers import Site, web_server

_ROWS = "user_id,item_id,timestamp\n" + "".join(f"u{i % 50},i{i % 31},{1600000000 + i}\n" for i in range(40_000))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A web server with a file of interactions, and an empty cache."""
    monkeypatch.setenv("RECCTL_DATA_HOME", str(tmp_path / "cache"))
    with web_server(_ROWS.encode()) as site:
        yield site


def _sha256(text: str) -> str:
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def test_interrupted_download_continues_where_it_stopped(site: Site) -> None:
    site.cut_after = [300_000, 200_000]
    table = read_source(f"{site.url}/events.csv")
    assert len(table) == 40_000
    assert [request.get("Range") for request in site.requests] == [None, "bytes=300000-", "bytes=500000-"]
    assert site.requests[1]["If-Range"] == '"1"'
    assert table.provenance["source"] == f"{site.url}/events.csv"
    assert table.provenance["sha256"] == hashlib.sha256(_ROWS.encode()).hexdigest()


def test_download_that_stops_for_good_is_never_taken_as_whole(site: Site, tmp_path: Path) -> None:
    site.cut_after = [300_000, 0, 0, 0, 0]
    with pytest.raises(DataError, match="the received part is kept, and the next attempt continues it"):
        read_source(f"{site.url}/events.csv")
    assert [path.name for path in tmp_path.rglob("events.csv*")] != []
    assert not list(tmp_path.rglob("events.csv"))
    site.cut_after = []
    assert len(read_source(f"{site.url}/events.csv")) == 40_000
    assert site.requests[-1]["Range"] == "bytes=300000-"


@pytest.mark.parametrize("ignores_if_range", [False, True])
def test_file_that_changes_during_the_download_is_downloaded_from_its_beginning(
    site: Site, ignores_if_range: bool
) -> None:
    site.cut_after = [300_000, 0, 0, 0, 0]
    with pytest.raises(DataError):
        read_source(f"{site.url}/events.csv")
    site.cut_after = []
    site.content = _ROWS.replace("u1,", "x1,").encode()
    site.etag = '"2"'
    site.ignores_if_range = ignores_if_range
    users = set(read_source(f"{site.url}/events.csv").frame["user_id"])
    assert "x1" in users
    assert "u1" not in users


def test_unchanged_file_is_not_downloaded_again_and_a_changed_one_is(site: Site) -> None:
    for _ in range(2):
        assert len(read_source(f"{site.url}/events.csv")) == 40_000
    assert site.requests[1]["If-None-Match"] == '"1"'
    site.content += b"u1,i1,1\n"
    site.etag = '"2"'
    assert len(read_source(f"{site.url}/events.csv")) == 40_001
    site.etag = ""
    site.content += b"u1,i1,2\n"
    assert len(read_source(f"{site.url}/events.csv")) == 40_002


@pytest.mark.parametrize("name", ["record.json", ".record.json", "..%2F..%2F..%2Frecord.json"])
def test_name_of_a_file_cannot_replace_other_files(site: Site, tmp_path: Path, name: str) -> None:
    site.content = b'{"user_id": 1, "item_id": 2}\n'
    for _ in range(2):
        assert read_source(f"{site.url}/{name}").frame["item_id"].tolist() == [2]
    assert {path.name for path in tmp_path.rglob("*record.json")} == {"record.json", ".record.json"}
    assert len({path.parent for path in tmp_path.rglob("*record.json")}) == 1


def test_times_of_files_of_other_users_do_not_count(site: Site) -> None:
    site.etag = ""
    site.last_modified = "Thu, 01 Jan 2026 00:00:00 GMT"
    for _ in range(2):
        assert len(read_source(f"{site.url}/events.csv")) == 40_000
    assert site.requests[-1]["If-Modified-Since"] == site.last_modified
    assert len(read_source(f"{site.url}/events.csv?token=of-one-user")) == 40_000
    # An older file: the server answers a conditional request with "not modified".
    site.content = b"user_id,item_id\n1,2\n"
    assert len(read_source(f"{site.url}/events.csv?token=of-another-user")) == 1


def test_file_with_the_expected_checksum_is_used_without_asking_the_server(site: Site) -> None:
    options = ReadOptions(checksum=_sha256(_ROWS))
    for _ in range(2):
        assert len(read_source(f"{site.url}/events.csv", options)) == 40_000
    assert len(site.requests) == 1


def test_file_with_another_checksum_is_refused_and_not_kept(site: Site, tmp_path: Path) -> None:
    options = ReadOptions(checksum=_sha256("other"))
    with pytest.raises(DataError, match=f"if the new content is right, set .*checksum.*{_sha256(_ROWS)}"):
        read_source(f"{site.url}/events.csv", options)
    assert not list(tmp_path.rglob("events.csv*"))


def test_checksum_of_a_local_file_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "events.csv"
    path.write_text("user_id,item_id\n1,2\n")
    right = ReadOptions(checksum=_sha256("user_id,item_id\n1,2\n"))
    assert len(read_source(path, right)) == 1
    with pytest.raises(DataError, match="it is damaged or has changed"):
        read_source(path, replace(right, checksum=_sha256("")))
    with pytest.raises(ConfigError, match="is of a single file"):
        read_source(tmp_path, right)


def test_file_beyond_the_limit_is_refused_before_it_is_downloaded(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"holds more than 0.0001 GB.*max_download_gb"):
        read_source(f"{site.url}/events.csv", ReadOptions(max_download_gb=1e-4))
    assert not list(tmp_path.rglob("events.csv"))


def test_user_name_and_password_are_sent_as_a_header_and_shown_nowhere(site: Site, tmp_path: Path) -> None:
    url = site.url.replace("http://", "http://reader:hunter77@")
    table = read_source(f"{url}/events.csv?sig=topsecret9")
    assert site.requests[0]["Authorization"] == "Basic cmVhZGVyOmh1bnRlcjc3"
    assert "hunter77" not in str(table.provenance)
    for path in tmp_path.rglob("*.json"):
        assert "hunter77" not in path.read_text()
        assert "topsecret9" not in path.read_text()


def test_server_that_refuses_is_an_error_without_the_signature(tmp_path: Path, site: Site) -> None:
    site.cut_after = [0] * 9
    with pytest.raises(DataError) as raised:
        read_source(f"{site.url}/events.csv?X-Amz-Signature=topsecret9")
    assert "topsecret9" not in str(raised.value)
    assert "X-Amz-Signature=***" in str(raised.value)
