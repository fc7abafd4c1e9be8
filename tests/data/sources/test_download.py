from __future__ import annotations

import hashlib
import io
import socket
import threading
import time
import zipfile

import numpy as np
import pytest

from recctl.data.sources.catalog.download import download
from recctl.errors import DataError
from tests.data.sources.server import Behaviour, serving


def archive_of(size=600_000, seed=0):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        # Of a fixed date: names of tests must be the same in processes that collect them at different moments.
        archive.writestr(zipfile.ZipInfo("data.bin"), np.random.default_rng(seed).bytes(size))
    return buffer.getvalue()


CONTENT = archive_of()
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "set.zip"


def get(behaviour, target, md5=MD5, stall=5.0):
    with serving(behaviour) as url:
        download(url, target, md5=md5, connect_seconds=5.0, stall_seconds=stall)


def only_target_is_left(target):
    return [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("md5", [MD5, None])
def test_a_file_arrives_whole(target, md5):
    get(Behaviour(CONTENT), target, md5)
    assert target.read_bytes() == CONTENT
    assert only_target_is_left(target)


def test_a_broken_connection_is_taken_up_where_it_broke(target):
    behaviour = Behaviour(CONTENT, stop_after=[300_000, 200_000])
    get(behaviour, target)
    assert target.read_bytes() == CONTENT
    assert [r.get("Range") for r in behaviour.requests] == [None, "bytes=300000-", "bytes=500000-"]
    assert all(r["If-Range"] == '"v1"' for r in behaviour.requests[1:])
    assert only_target_is_left(target)


def test_a_stall_times_out_and_is_taken_up(target):
    behaviour = Behaviour(CONTENT, stall_after=[262_144])
    get(behaviour, target, stall=0.3)
    assert target.read_bytes() == CONTENT
    assert behaviour.requests[1]["Range"] == "bytes=262144-"


def test_the_next_call_goes_on(target):
    with pytest.raises(DataError, match="what arrived is kept, and trying again goes on"):
        get(Behaviour(CONTENT, stop_after=[400_000, 0, 0, 0]), target)
    assert not target.exists()
    behaviour = Behaviour(CONTENT)
    get(behaviour, target)
    assert behaviour.requests[0]["Range"] == "bytes=400000-"
    assert target.read_bytes() == CONTENT


def test_another_file_on_the_server_starts_over(target):
    with pytest.raises(DataError):
        get(Behaviour(archive_of(seed=1), etag='"old"', stop_after=[400_000, 0, 0]), target)
    get(Behaviour(CONTENT, etag='"new"'), target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_mark_nothing_is_added_to_what_arrived(target, etag):
    behaviour = Behaviour(CONTENT, etag=etag, stop_after=[300_000])
    get(behaviour, target)
    assert [r.get("Range") for r in behaviour.requests] == [None, None]
    assert target.read_bytes() == CONTENT


def test_a_server_that_ignores_ranges_starts_over(target):
    behaviour = Behaviour(CONTENT, ranges=False, stop_after=[300_000])
    get(behaviour, target)
    assert behaviour.requests[1]["Range"] == "bytes=300000-"
    assert target.read_bytes() == CONTENT


def test_a_wrong_range_is_not_glued_on(target):
    behaviour = Behaviour(CONTENT, wrong_range=True, stop_after=[300_000])
    get(behaviour, target)
    assert [r.get("Range") for r in behaviour.requests] == [None, "bytes=300000-", None]
    assert target.read_bytes() == CONTENT


def test_a_part_that_can_not_be_gone_on_with_starts_over(target):
    target.with_name("set.zip.part").write_bytes(b"x" * (len(CONTENT) + 5))
    target.with_name("set.zip.part.tag").write_text('"v1"')
    get(Behaviour(CONTENT), target)
    assert target.read_bytes() == CONTENT


def test_a_length_longer_than_the_file(target):
    behaviour = Behaviour(CONTENT, claim=len(CONTENT) + 10, ranges=False)
    with pytest.raises(DataError, match=rf"sent {len(CONTENT):,} of {len(CONTENT) + 10:,} bytes"):
        get(behaviour, target)
    assert len(behaviour.requests) == 3  # no progress, no end of tries
    assert not target.exists()


def test_a_length_shorter_than_the_file(target):
    with pytest.raises(DataError, match="no whole zip archive"):
        get(Behaviour(CONTENT, claim=len(CONTENT) - 10), target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("behaviour", "message"),
    [
        (Behaviour(b"<html>log in</html>", content_type="text/html"), "a web page instead of the archive"),
        (Behaviour(b"<html>log in</html>"), r"19 B that are no whole zip archive \(they start with b'<html>log in"),
        (Behaviour(status=404), "the server answers 404 Not Found"),
        (Behaviour(status=503), "the server answers 503"),
        (Behaviour(b""), "no whole zip archive"),
    ],
)
def test_what_is_no_archive_is_refused(target, behaviour, message):
    with pytest.raises(DataError, match=message):
        get(behaviour, target)
    assert list(target.parent.iterdir()) == []


def test_a_wrong_checksum_leaves_nothing_behind(target):
    with pytest.raises(DataError, match=f"the archive's MD5 is {MD5}, not {'0' * 32}"):
        get(Behaviour(CONTENT), target, "0" * 32)
    assert list(target.parent.iterdir()) == []


def test_nobody_listens(target):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DataError, match=r"can't be reached \(.*refused"):
        download(f"http://127.0.0.1:{port}/x.zip", target, md5=None, connect_seconds=2.0)


def test_a_name_look_up_that_hangs_is_given_up(target, monkeypatch):
    hang = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: hang.wait(20))
    begin = time.monotonic()
    with pytest.raises(DataError, match=r"can't be reached \(no connection within 0\.2 s\)"):
        download("https://example.invalid/x.zip", target, md5=None, connect_seconds=0.2)
    hang.set()
    assert time.monotonic() - begin < 10


def test_what_stood_at_the_target_stays_until_the_new_file_is_whole(target):
    target.write_bytes(b"old")
    with pytest.raises(DataError):
        get(Behaviour(CONTENT, stop_after=[0, 0, 0, 0]), target)
    assert target.read_bytes() == b"old"
