"""Saving and loading of plain values and arrays."""

import io
import pickle
import stat
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from recctl import artifacts
from recctl.artifacts import files, plain_pickle
from recctl.errors import ArtifactError
from tests.conftest import n_examples

CONTENT = {
    "weights": np.arange(60, dtype=np.float32).reshape(5, 12),
    "ids": np.array(["é", "", "漢字", "b\n"], object),
    "nested": {"list": [1, -1, 2**40, 2.5, None, True, False, "text", b"bytes", []], "empty": {}},
}


def equal(a, b):
    if isinstance(a, np.ndarray):
        dtype = a.dtype.newbyteorder("<")
        return isinstance(b, np.ndarray) and (dtype, a.shape, a.astype(dtype).tobytes()) == (
            b.dtype,
            b.shape,
            b.tobytes(),
        )
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return isinstance(b, list) and len(a) == len(b) and all(map(equal, a, b))
    if isinstance(a, float):
        return type(b) is float and np.float64(a).tobytes() == np.float64(b).tobytes()
    return type(a) is type(b) and a == b


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.pkl"


def test_round_trip(path):
    artifacts.save(path, "model", CONTENT)
    loaded = artifacts.load(path, "model")
    assert loaded["ids"].tolist() == CONTENT["ids"].tolist()
    assert equal({**CONTENT, "ids": 0}, {**loaded, "ids": 0})


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**200), 2**200)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
    | st.binary(max_size=300),
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.dictionaries(st.text(max_size=9).filter(lambda key: key[:1] != "$"), inner, max_size=5)
    ),
    max_leaves=20,
)
arrays = hnp.arrays(
    st.one_of(
        hnp.boolean_dtypes(),
        hnp.integer_dtypes(endianness="?"),
        hnp.unsigned_integer_dtypes(endianness="?"),
        hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
    ),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=6),
)


@settings(max_examples=n_examples(150), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.dictionaries(st.text(max_size=5), plain | arrays, max_size=5))
def test_round_trip_of_any_content(tmp_path, content):
    path = tmp_path / "file.pkl"
    artifacts.save(path, "any", content)
    assert equal(content, artifacts.load(path, "any"))


@settings(max_examples=n_examples(50), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=20))
def test_round_trip_of_any_texts(tmp_path, texts):
    array = np.empty(len(texts), object)
    array[:] = texts
    artifacts.save(tmp_path / "file.pkl", "any", {"texts": array})
    loaded = artifacts.load(tmp_path / "file.pkl", "any")["texts"]
    assert (loaded.dtype, loaded.tolist()) == (object, texts)


def test_round_trip_of_arrays_that_are_not_contiguous(path):
    base = np.arange(24.0).reshape(4, 6)
    views = {
        "transposed": base.T,
        "every other": base[:, ::2],
        "backwards": base[::-1],
        "fortran": np.asfortranarray(base),
    }
    artifacts.save(path, "any", views)
    loaded = artifacts.load(path, "any")
    for name, view in views.items():
        np.testing.assert_array_equal(loaded[name], view)
        assert loaded[name].flags.c_contiguous


def test_numpy_scalars_become_python_scalars(path):
    artifacts.save(path, "any", {"a": np.float32(0.5), "b": np.int64(3), "c": np.bool_(True), "d": (1, 2)})
    assert artifacts.load(path, "any") == {"a": 0.5, "b": 3, "c": True, "d": [1, 2]}


def test_equal_content_gives_equal_bytes(tmp_path):
    one = {"b": 1, "a": {"y": np.ones(9), "x": 2}}
    other = {"a": {"x": 2, "y": np.asfortranarray(np.ones(9, ">f8"))}, "b": 1}
    hashes = {artifacts.save(tmp_path / name, "any", content) for name, content in (("one", one), ("other", other))}
    assert len(hashes) == 1
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    assert artifacts.save(tmp_path / "one", "any", {**one, "b": 2}) not in hashes


def test_pickle_module_reads_the_file(path):
    sha256 = artifacts.save(path, "model", CONTENT)
    with path.open("rb") as file:
        header, content = pickle.load(file), pickle.load(file)
        assert not file.read()
    assert header == {
        "recctl": "model",
        "format_version": 2,
        "sha256": sha256,
        "size": f"{path.stat().st_size - len(files._header('model', sha256, 0)):020d}",
    }
    weights = content["weights"]
    assert (weights["$array"], weights["shape"]) == ("<f4", [5, 12])
    assert weights["bytes"] == CONTENT["weights"].tobytes()
    assert content["nested"] == CONTENT["nested"]
    assert artifacts.describe(path) == header


def test_arrays_are_aligned_in_the_file_and_in_memory(path):
    content = {f"{n:03}": np.full(n, n, np.uint8) for n in range(64, 250, 7)}
    artifacts.save(path, "any", content)
    file_bytes = path.read_bytes()
    for array in content.values():
        assert file_bytes.index(array.tobytes()) % 64 == 0
    assert {array.ctypes.data % 64 for array in artifacts.load(path, "any").values()} == {0}


def test_loaded_arrays_are_read_only_views_of_one_buffer(path):
    artifacts.save(path, "any", {"a": np.zeros(10**6), "b": np.ones(10**6)})
    tracemalloc.start()
    loaded = artifacts.load(path, "any")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.1 * path.stat().st_size
    for array in loaded.values():
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1
        assert array.base is not None


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ({1, 2}, "of type set is no plain value"),
        (object(), "of type object is no plain value"),
        (1j, "of type complex is no plain value"),
        ({1: 2}, "1 of type int is no key"),
        ({"$array": 1}, r"keys \$array and \$texts are reserved"),
        (1 << 3000, "an int of 376 bytes"),
        (np.array([1j]), "arrays of type complex128 can't be saved"),
        (np.array(["a"]), "arrays of type <U1 can't be saved"),
        (np.array([1, "a"], object), "arrays of objects can't be saved, except one-dimensional ones of str"),
        (np.array([["a"]], object), "arrays of objects can't be saved, except one-dimensional ones of str"),
        (np.array([1], "M8[s]"), "arrays of type datetime64"),
        (np.zeros(2, [("a", "i4")]), "can't be saved"),
        (np.datetime64(1, "s"), "of type datetime is no plain value"),
        ([0] * 100_001, "more than 100,000 values"),
    ],
)
def test_unsupported_values_are_refused_and_keep_the_old_file(path, value, problem):
    artifacts.save(path, "any", {"old": 1})
    with pytest.raises(TypeError, match=problem):
        artifacts.save(path, "any", {"new": value})
    assert artifacts.load(path, "any") == {"old": 1}
    assert list(path.parent.iterdir()) == [path]


def test_largest_content_that_is_written_can_be_read(path):
    deep = 0
    for _ in range(31):
        deep = [deep]
    artifacts.save(path, "any", {"deep": deep})
    assert artifacts.load(path, "any") == {"deep": deep}
    with pytest.raises(TypeError, match="nested deeper than 32 levels"):
        artifacts.save(path, "any", {"deep": [deep]})
    # The dict, its keys, the list, and an array's own nine values and filler.
    many = {"many": [0] * (100_000 - 4 - 10), "z": np.zeros(64, np.uint8)}
    artifacts.save(path, "any", many)
    assert len(artifacts.load(path, "any")["many"]) == 100_000 - 14


def test_save_creates_folders_and_default_permissions(tmp_path):
    path = tmp_path / "a" / "b" / "file.pkl"
    artifacts.save(path, "any", {})
    beside = tmp_path / "plain"
    beside.write_text("")
    assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(beside.stat().st_mode)


def test_concurrent_writers_leave_one_complete_file(path):
    contents = [{"n": n, "data": np.full(20_000, n)} for n in range(16)]
    with ThreadPoolExecutor(8) as pool:
        hashes = list(pool.map(lambda content: artifacts.save(path, "any", content), contents))
        reads = list(pool.map(lambda _: artifacts.load(path, "any"), range(16)))
    for loaded in reads:
        assert (loaded["data"] == loaded["n"]).all()
    assert artifacts.describe(path)["sha256"] in hashes
    assert list(path.parent.iterdir()) == [path]


def test_missing_file_or_directory_is_reported_with_its_path(tmp_path):
    for read in (lambda path: artifacts.load(path, "any"), artifacts.describe):
        with pytest.raises(ArtifactError, match="nothing: No such file"):
            read(tmp_path / "nothing")
        with pytest.raises(ArtifactError, match="Is a directory"):
            read(tmp_path)
    with pytest.raises(ArtifactError, match="can't be written: Is a directory"):
        artifacts.save(tmp_path, "any", {})


def test_file_larger_than_memory_is_refused(path, monkeypatch):
    artifacts.save(path, "any", {"a": np.zeros(10**5)})
    monkeypatch.setenv("RECCTL_MEMORY", "5000")
    with pytest.raises(ArtifactError, match=r"800\.\d kB to load, 5\.0 kB of memory are available"):
        artifacts.load(path, "any")


def test_memoryviews_are_written_without_a_copy():
    sink, array = io.BytesIO(), np.ones(3_000_000)
    sink.write(bytes(array.nbytes + 100))
    sink.seek(0)
    tracemalloc.start()
    plain_pickle.write(sink, memoryview(array.view(np.uint8)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 100_000
