from __future__ import annotations

import stat
import struct
import zipfile

import pytest

from recctl.data.sources.catalog.unzip import unpack
from recctl.errors import DataError


@pytest.fixture
def bundle(tmp_path):
    def make(*members):
        path = tmp_path / "set.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in members:
                archive.writestr(name, content)
        return path

    return make


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "out" / "inner"
    path.mkdir(parents=True)
    return path


def files(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_unpack_extracts_all_members_or_one(bundle, folder):
    path = bundle(("ml/", ""), ("ml/README", "read me"), ("ml/u.data", "1\t2"))
    unpack(path, folder, limit=100)
    assert files(folder) == {"ml/README": "read me", "ml/u.data": "1\t2"}
    unpack(path, folder.parent, limit=5, only="ml/u.data")
    assert (folder.parent / "ml/u.data").exists()
    assert not (folder.parent / "ml/README").exists()
    with pytest.raises(DataError, match=r"set\.zip: the archive has no member ml/x"):
        unpack(path, folder, limit=100, only="ml/x")


def link():
    info = zipfile.ZipInfo("ml/link")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info


@pytest.mark.parametrize(
    "name", ["/etc/x", "../x", "ml/../../x", "a/..", "..\\x", "C:/x", "C:x", "\\\\server\\x", link()]
)
def test_member_outside_of_the_folder_is_rejected(bundle, folder, tmp_path, name):
    path = bundle(("ml/ok", "fine"), (name, "evil"))
    with pytest.raises(
        DataError,
        match=r"set\.zip: not unpacked, because member .* is a link or a path outside of the archive's folder",
    ):
        unpack(path, folder, limit=100)
    assert files(tmp_path / "out") == {}


def test_archive_beyond_the_limit_is_rejected_before_unpacking(bundle, folder):
    path = bundle(("a", b"\0" * 10_000_000))
    assert path.stat().st_size < 20_000
    with pytest.raises(
        DataError, match=r"set\.zip: not unpacked, because its contents take 10\.0 MB and at most 1\.0 MB"
    ):
        unpack(path, folder, limit=1_000_000)
    assert files(folder) == {}


def test_member_larger_than_declared_is_cut_off_and_rejected(bundle, folder):
    path = bundle(("a", b"\0" * 1_000_000))
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", data, data.index(signature) + offset, 1000)
    path.write_bytes(data)
    with pytest.raises(DataError, match="truncated or damaged archive"):
        unpack(path, folder, limit=10_000)
    assert sum(p.stat().st_size for p in folder.rglob("*") if p.is_file()) <= 1000


@pytest.mark.parametrize("keep", [0, 10, 0.3, 0.9])
def test_truncated_archive_is_rejected(bundle, folder, keep):
    path = bundle(("a", "".join(map(str, range(5000)))))
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(keep * len(data))])
    with pytest.raises(DataError, match=r"set\.zip: truncated or damaged archive .*; delete .*set\.zip"):
        unpack(path, folder, limit=10**6)


def test_damaged_member_is_rejected(bundle, folder):
    path = bundle(("a", "".join(map(str, range(5000)))))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(DataError, match="truncated or damaged archive"):
        unpack(path, folder, limit=10**6)


def test_encrypted_archive_is_rejected(bundle, folder):
    path = bundle(("a", "secret"))
    data = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match="encrypted"):
        unpack(path, folder, limit=100)
