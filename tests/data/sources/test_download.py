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
from tests.data.sources.server import Behavior, serving


def archive_of(size=600_000, seed=0):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        # A fixed date: all test processes must collect the same parametrized test names.
        archive.writestr(zipfile.ZipInfo("data.bin"), np.random.default_rng(seed).bytes(size))
    return buffer.getvalue()


CONTENT = archive_of()
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "set.zip"


def get(behavior, target, md5=MD5, stall=5.0):
    with serving(behavior) as url:
        download(url, target, md5=md5, connect_seconds=5.0, stall_seconds=stall)


def only_target_is_left(target):
    return [path.name for path in target.parent.iterdir()] == [target.name]


@pytest.mark.parametrize("md5", [MD5, None])
def test_download_writes_the_complete_file(target, md5):
    get(Behavior(CONTENT), target, md5)
    assert target.read_bytes() == CONTENT
    assert only_target_is_left(target)


def test_interrupted_download_is_resumed(target):
    behavior = Behavior(CONTENT, stop_after=[300_000, 200_000])
    get(behavior, target)
    assert target.read_bytes() == CONTENT
    assert [r.get("Range") for r in behavior.requests] == [None, "bytes=300000-", "bytes=500000-"]
    assert all(r["If-Range"] == '"v1"' for r in behavior.requests[1:])
    assert only_target_is_left(target)


def test_stalled_download_times_out_and_is_resumed(target):
    behavior = Behavior(CONTENT, stall_after=[262_144])
    get(behavior, target, stall=0.3)
    assert target.read_bytes() == CONTENT
    assert behavior.requests[1]["Range"] == "bytes=262144-"


def test_next_call_resumes_a_failed_download(target):
    with pytest.raises(DataError, match="the received part is kept, and the next attempt continues it"):
        get(Behavior(CONTENT, stop_after=[400_000, 0, 0, 0]), target)
    assert not target.exists()
    behavior = Behavior(CONTENT)
    get(behavior, target)
    assert behavior.requests[0]["Range"] == "bytes=400000-"
    assert target.read_bytes() == CONTENT


def test_changed_file_on_the_server_restarts_the_download(target):
    with pytest.raises(DataError):
        get(Behavior(archive_of(seed=1), etag='"old"', stop_after=[400_000, 0, 0]), target)
    get(Behavior(CONTENT, etag='"new"'), target)
    assert target.read_bytes() == CONTENT


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_download_without_a_strong_etag_restarts(target, etag):
    behavior = Behavior(CONTENT, etag=etag, stop_after=[300_000])
    get(behavior, target)
    assert [r.get("Range") for r in behavior.requests] == [None, None]
    assert target.read_bytes() == CONTENT


def test_server_that_ignores_ranges_restarts_the_download(target):
    behavior = Behavior(CONTENT, ranges=False, stop_after=[300_000])
    get(behavior, target)
    assert behavior.requests[1]["Range"] == "bytes=300000-"
    assert target.read_bytes() == CONTENT


def test_wrong_range_is_not_appended(target):
    behavior = Behavior(CONTENT, wrong_range=True, stop_after=[300_000])
    get(behavior, target)
    assert [r.get("Range") for r in behavior.requests] == [None, "bytes=300000-", None]
    assert target.read_bytes() == CONTENT


def test_part_longer_than_the_file_restarts_the_download(target):
    target.with_name("set.zip.part").write_bytes(b"x" * (len(CONTENT) + 5))
    target.with_name("set.zip.part.tag").write_text('"v1"')
    get(Behavior(CONTENT), target)
    assert target.read_bytes() == CONTENT


def test_file_shorter_than_announced_is_rejected(target):
    behavior = Behavior(CONTENT, claim=len(CONTENT) + 10, ranges=False)
    with pytest.raises(DataError, match=rf"sent {len(CONTENT):,} of {len(CONTENT) + 10:,} bytes"):
        get(behavior, target)
    assert len(behavior.requests) == 3  # two attempts without progress
    assert not target.exists()


def test_file_cut_to_a_wrong_length_is_rejected(target):
    with pytest.raises(DataError, match="not a complete zip archive"):
        get(Behavior(CONTENT, claim=len(CONTENT) - 10), target)
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("behavior", "message"),
    [
        (Behavior(b"<html>log in</html>", content_type="text/html"), "a web page instead of the archive"),
        (Behavior(b"<html>log in</html>"), r"not a complete zip archive: 19 B that start with b'<html>log in"),
        (Behavior(status=404), "the server answers 404 Not Found"),
        (Behavior(status=503), "the server answers 503"),
        (Behavior(b""), "not a complete zip archive"),
    ],
)
def test_response_that_is_not_an_archive_is_rejected(target, behavior, message):
    with pytest.raises(DataError, match=message):
        get(behavior, target)
    assert list(target.parent.iterdir()) == []


def test_wrong_checksum_leaves_no_files(target):
    with pytest.raises(DataError, match=f"the archive's MD5 is {MD5}, not {'0' * 32}"):
        get(Behavior(CONTENT), target, "0" * 32)
    assert list(target.parent.iterdir()) == []


def test_refused_connection_is_reported(target):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(DataError, match=r"can't be reached \(.*refused"):
        download(f"http://127.0.0.1:{port}/x.zip", target, md5=None, connect_seconds=2.0)


def test_hanging_name_look_up_times_out(target, monkeypatch):
    hang = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *a, **k: hang.wait(20))
    begin = time.monotonic()
    with pytest.raises(DataError, match=r"can't be reached \(no connection within 0\.2 s\)"):
        download("https://example.invalid/x.zip", target, md5=None, connect_seconds=0.2)
    hang.set()
    assert time.monotonic() - begin < 10


def test_old_target_stays_until_the_new_file_is_complete(target):
    target.write_bytes(b"old")
    with pytest.raises(DataError):
        get(Behavior(CONTENT, stop_after=[0, 0, 0, 0]), target)
    assert target.read_bytes() == b"old"
