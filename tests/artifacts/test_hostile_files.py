"""Malicious files and files of other programs: refused with a reason, without running code or using much memory."""

import contextlib
import hashlib
import io
import os
import pickle
import struct
import time
import tracemalloc

import numpy as np
import pytest

from recctl import artifacts
from recctl.artifacts import arrays, files, plain_pickle
from recctl.errors import ArtifactError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.pkl"


def refusal(path, kind="any"):
    """The error message of a file that must be refused, without using much time or memory."""
    tracemalloc.start()
    begin = time.process_time()
    try:
        with pytest.raises(ArtifactError) as caught:
            artifacts.load(path, kind)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert time.process_time() - begin < 5
    assert peak < 3_000_000 + 100 * min(path.stat().st_size, 100_000)
    message = str(caught.value)
    assert message.startswith(f"{path}: ")
    assert "\n" not in message
    assert len(message) < len(str(path)) + 300
    return message.removeprefix(f"{path}: ")


def write_with_header(path, content, kind="any", **header):
    """Write a file with a correct header for any content: the hash alone protects from nothing."""
    values = {
        "recctl": kind,
        "format_version": files.FORMAT_VERSION,
        "sha256": hashlib.sha256(hashlib.sha256(content).digest()).hexdigest(),  # a single piece
        "size": f"{len(content):020d}",
    }
    sink = io.BytesIO()
    plain_pickle.write(sink, {key: value for key, value in (values | header).items() if value is not None})
    path.write_bytes(sink.getvalue() + content)


class Evil:
    def __init__(self, how, mark):
        self.how, self.mark = how, mark

    def __reduce__(self):
        return self.how, (str(self.mark),)


def short(text):
    return b"\x8c" + bytes([len(text)]) + text


# Complete pickles, by the opcode for which they must be refused. Those that can run code create the folder `mark`.
def programs(mark):
    system, name = b"posix\nmkdir\n", str(mark).encode()
    text = short(name)
    v4 = b"\x80\x04"
    return {
        "GLOBAL": v4 + b"c" + system + text + b"\x85R.",
        "REDUCE": v4 + text + b"\x85R.",
        "STACK_GLOBAL": v4 + short(b"posix") + short(b"mkdir") + b"\x93" + text + b"\x85R.",
        "INST": v4 + b"(" + b"X" + struct.pack("<I", len(name)) + name + b"i" + system + b".",
        "OBJ": v4 + b"(o.",
        "BUILD": v4 + b"}}b.",
        "NEWOBJ": v4 + b"})\x81.",
        "NEWOBJ_EX": v4 + b"})}\x92.",
        "EXT1": v4 + b"\x82\x01.",
        "EXT2": v4 + b"\x83\x01\x00.",
        "EXT4": v4 + b"\x84\x01\x00\x00\x00.",
        "PERSID": v4 + b"Pfile\n.",
        "BINPERSID": v4 + b"K\x01Q.",
        "MEMOIZE": v4 + b"]\x94.",
        "BINGET": v4 + b"]h\x00.",
        "LONG_BINPUT": v4 + b"]r\xff\xff\xff\x7f.",
        "PUT": v4 + b"]p99999999999\n.",
        "FRAME": v4 + b"\x95" + struct.pack("<Q", 2**62) + b"N.",
        "DUP": v4 + b"]2.",
        "SETITEM": v4 + b"}" + text + b"Ns.",
        "BINUNICODE8": v4 + b"\x8d" + struct.pack("<Q", 2**40) + b"x.",
        "BYTEARRAY8": v4 + b"\x96" + struct.pack("<Q", 2**60) + b".",
        "NEXT_BUFFER": v4 + b"\x97.",
        "LONG4": v4 + b"\x8b" + struct.pack("<i", 2**31 - 1) + b".",
        "LONG": v4 + b"L" + b"9" * 5000 + b"L\n.",
        "INT": v4 + b"I" + b"9" * 5000 + b"\n.",
        "STRING": v4 + b"S'a'\n.",
        "UNICODE": v4 + b"V\\u0041\n.",
        "EMPTY_TUPLE": v4 + b").",
        "EMPTY_SET": v4 + b"\x8f.",
        "0xff": v4 + b"\xff.",
    }


NAMES = list(programs("x"))


@pytest.mark.parametrize("opcode", NAMES)
@pytest.mark.parametrize("place", ["header", "content", "inside"])
def test_opcodes_that_are_not_for_plain_values_are_refused_by_name(path, tmp_path, opcode, place):
    mark = tmp_path / "ran"
    program = programs(mark)[opcode]
    if place == "header":
        path.write_bytes(program)
    elif place == "content":
        write_with_header(path, program)
    else:
        write_with_header(path, b"\x80\x04}(X\x01\x00\x00\x00a" + program[2:-1] + b"u.")
    message = refusal(path)
    if opcode in ("REDUCE", "INST", "SETITEM", "NEWOBJ", "NEWOBJ_EX", "STACK_GLOBAL"):  # SHORT_BINUNICODE precedes it
        assert message.startswith("refused: pickle opcode ")
    else:
        assert message.startswith(f"refused: pickle opcode {opcode} at byte ")
    assert "could run code" in message
    assert not mark.exists()


def test_pickle_module_runs_these_programs(tmp_path):
    # Otherwise the test above would prove nothing.
    for opcode in ("GLOBAL", "STACK_GLOBAL", "INST"):
        mark = tmp_path / opcode
        pickle.loads(programs(mark)[opcode])
        assert mark.exists()


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("value", [{"a": 1}, [1, 2], "text", np.zeros(3), Evil(os.mkdir, "ran"), {"recctl": "any"}])
def test_foreign_pickles_are_refusal(path, tmp_path, monkeypatch, protocol, value):
    monkeypatch.chdir(tmp_path)
    foreign = pickle.dumps(value, protocol)
    path.write_bytes(foreign)
    reason = "refused: pickle opcode" if protocol == 4 else "not a recctl file"
    assert refusal(path).startswith(reason)
    write_with_header(path, foreign)
    assert refusal(path).startswith(reason)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"\x80", "truncated"),
        (b"hello", "not a recctl file"),
        (b"<!DOCTYPE html><html>404</html>", "not a recctl file"),
        (b"PK\x03\x04" + bytes(100), "not a recctl file"),
        ("user_id,item_id\n1,2\n".encode("utf-16"), "not a recctl file"),
        (bytes(10_000), "not a recctl file"),
        (b"\x80\x04}.", "not a recctl file (a pickle of something else)"),
        (b"\x80\x04N.", "not a recctl file (a pickle of something else)"),
        (b"\x80\x04](" + b"K\x01" * 100_001 + b"e.", "truncated"),  # a header ends within 4096 bytes
    ],
)
def test_files_of_other_programs_are_refusal(path, content, reason):
    path.write_bytes(content)
    assert refusal(path).startswith(reason)


STACKS = {
    "nothing": (b".", "does not hold one value"),
    "two values": (b"NN.", "does not hold one value"),
    "an open mark": (b"](N.", "does not hold one value"),
    "an end without a mark": (b"]e.", "refused: pickle opcode APPENDS"),
    "a pop of an empty stack": (b"0N.", "refused: pickle opcode POP"),
    "items without a container": (b"(Ne.", "belong to no list or dict"),
    "items of a number": (b"K\x01(Ne.", "belong to no list or dict"),
    "list items for a dict": (b"}(Ne.", "belong to no list or dict"),
    "dict items for a list": (b"](X\x01\x00\x00\x00aNu.", "belong to no list or dict"),
    "half an item": (b"}(X\x01\x00\x00\x00au.", "belong to no list or dict"),
    "a key that is a number": (b"}(K\x01Nu.", "belong to no list or dict"),
    "a key that is bytes": (b"}(C\x01aNu.", "belong to no list or dict"),
    "text that is not UTF-8": (b"X\x02\x00\x00\x00\xc3\x28.", "not UTF-8"),
    "text that is half a surrogate": (b"X\x03\x00\x00\x00\xed\xa0\x80.", "not UTF-8"),
    "huge bytes": (b"\x8e" + struct.pack("<Q", 2**63) + b".", "truncated"),
    "huge text": (b"X\xff\xff\xff\xff.", "truncated"),
    "a long number cut off": (b"\x8a\xff\x01.", "truncated"),
    "no end": (b"N", "truncated"),
    "a list": (b"].", "its content is not a single dict"),
    "more after the end": (b"}.}.", "its content is not a single dict"),
    "deep nesting": (b"](" * 33 + b"e" * 33 + b".", "nested deeper than 32 levels"),
    "very deep nesting": (b"](" * 10**5, "nested deeper than 32 levels"),
    "marks only": (b"(" * 10**6, "nested deeper than 32 levels"),
    "many values": (b"](" + b"N" * 100_001 + b"e.", "more than 100,000 values"),
    "many values popped": (b"N0" * 100_001 + b"}.", "more than 100,000 values"),
    "many dicts": (b"](" + b"}" * 10**6 + b"e.", "more than 100,000 values"),
}


@pytest.mark.parametrize("name", STACKS)
def test_invalid_programs_of_allowed_opcodes_are_refusal(path, name):
    program, reason = STACKS[name]
    write_with_header(path, b"\x80\x04" + program)
    assert reason in refusal(path)


def test_exponential_expansion_is_refusal(path):
    # Each level would double the size: with a memo, with DUP, and by referring to one container twice.
    for double in (b"(h\x00h\x00e", b"2", b"\x940h\x00h\x00"):
        write_with_header(path, b"\x80\x04]" + double * 40 + b".")
        assert refusal(path).startswith("refused: pickle opcode ")


ARRAYS = {
    "bytes that are too few": {"$array": "<f4", "shape": [3], "bytes": b"1234"},
    "bytes that are too many": {"$array": "<f4", "shape": [3], "bytes": bytes(16)},
    "part of a number": {"$array": "<f4", "shape": [1], "bytes": b"123"},
    "a negative size": {"$array": "<f4", "shape": [-1], "bytes": bytes(16)},
    "two negative sizes": {"$array": "<f4", "shape": [-2, -2], "bytes": bytes(16)},
    "a shape that overflows to 0": {"$array": "|u1", "shape": [2**32, 2**32, 1], "bytes": b""},
    "a shape that overflows to 16": {"$array": "|u1", "shape": [2**62 + 4, 4], "bytes": bytes(16)},
    "a size beyond 64 bits": {"$array": "|u1", "shape": [2**64], "bytes": b""},
    "a huge shape without elements": {"$array": "<f8", "shape": [2**62, 0], "bytes": b""},
    "too many dimensions": {"$array": "|u1", "shape": [1] * 100, "bytes": b"1"},
    "a size that is true": {"$array": "|u1", "shape": [True], "bytes": b"1"},
    "a size that is a float": {"$array": "|u1", "shape": [1.0], "bytes": b"1"},
    "a shape that is a number": {"$array": "|u1", "shape": 1, "bytes": b"1"},
    "a shape that is text": {"$array": "|u1", "shape": "1", "bytes": b"1"},
    "no shape": {"$array": "|u1", "bytes": b"1"},
    "no bytes": {"$array": "|u1", "shape": [1]},
    "bytes that are text": {"$array": "|u1", "shape": [1], "bytes": "1"},
    "bytes that are a list": {"$array": "|u1", "shape": [1], "bytes": [1]},
    "objects": {"$array": "|O", "shape": [1], "bytes": bytes(8)},
    "an unknown type": {"$array": "no such type" * 1000, "shape": [1], "bytes": bytes(8)},
    "a type that is a list": {"$array": ["<f4"], "shape": [1], "bytes": bytes(4)},
    "a type that is a dict": {"$array": {"names": ["a"]}, "shape": [1], "bytes": bytes(4)},
    "a type that is too wide": {"$array": "<f16", "shape": [1], "bytes": bytes(16)},
    "text without offsets": {"$texts": b"abc"},
    "text that is text": {"$texts": "abc", "ends": [3]},
    "offsets that are a list": {"$texts": b"abc", "ends": [3]},
    "offsets of another type": {"$texts": b"abc", "ends": arrays.to_plain(np.array([3], np.int32))},
    "offsets of two dimensions": {"$texts": b"abc", "ends": arrays.to_plain(np.array([[3]]))},
    "offsets beyond the bytes": {"$texts": b"abc", "ends": arrays.to_plain(np.array([4]))},
    "offsets before the last byte": {"$texts": b"abc", "ends": arrays.to_plain(np.array([2]))},
    "decreasing offsets": {"$texts": b"abc", "ends": arrays.to_plain(np.array([2, 1, 3]))},
    "negative offsets": {"$texts": b"abc", "ends": arrays.to_plain(np.array([-1, 3]))},
    "bytes without offsets": {"$texts": b"abc", "ends": arrays.to_plain(np.array([], np.int64))},
    "part of a character": {"$texts": "é".encode(), "ends": arrays.to_plain(np.array([1, 2]))},
}


@pytest.mark.parametrize("name", ARRAYS)
def test_invalid_arrays_are_refusal(path, name):
    sink = io.BytesIO()
    plain_pickle.write(sink, {"a": [{"b": ARRAYS[name]}]})
    write_with_header(path, sink.getvalue())
    assert refusal(path).startswith("damaged: ")


HEADERS = {
    "a newer format": ({"format_version": 3}, "format version 3; this recctl reads 1 to 2; upgrade recctl"),
    "an older format": ({"format_version": 0}, "format version 0; this recctl reads 1 to 2"),
    "a version that is text": ({"format_version": "1"}, "format version '1'"),
    "no version": ({"format_version": None}, "format version None"),
    "another kind": ({"recctl": "checkpoint"}, "holds a checkpoint, not a any"),
    "a kind that is not text": ({"recctl": 3}, "not a recctl file"),
    "another hash": ({"sha256": "0" * 64}, "wrong hash: its content is "),
    "no hash": ({"sha256": None}, "its header has no hash or size"),
    "a hash that is a number": ({"sha256": 7}, "its header has no hash or size"),
    "no size": ({"size": None}, "its header has no hash or size"),
    "a size below 0": ({"size": "-1"}, "its header has no hash or size"),
    "a size in letters": ({"size": "ten"}, "its header has no hash or size"),
    "a size too small": ({"size": "1"}, "truncated or damaged"),
    "a size too large": ({"size": "9" * 30}, "truncated or damaged"),
    "a header too long": ({"more": "x" * 5000}, "truncated"),
}


@pytest.mark.parametrize("name", HEADERS)
def test_invalid_headers_are_refusal(path, name):
    header, reason = HEADERS[name]
    write_with_header(path, b"\x80\x04}.", **header)
    assert reason in refusal(path)


def test_expected_hash_must_be_that_of_the_file(path):
    sha256 = artifacts.save(path, "any", {})
    assert artifacts.load(path, "any", sha256) == {}
    with pytest.raises(ArtifactError, match=r"wrong hash: its content is .*, expected 000000000000"):
        artifacts.load(path, "any", "0" * 64)


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    path = tmp_path_factory.mktemp("small") / "file.pkl"
    ids = np.array(["é", "b"], object)
    artifacts.save(path, "any", {"a": np.arange(20, dtype=np.int32), "ids": ids, "n": [1, 2.5, None, True, 2**40]})
    return path.read_bytes()


def test_truncated_file_is_refused_at_any_length(path, small):
    for size in range(len(small)):
        path.write_bytes(small[:size])
        with pytest.raises(ArtifactError, match="truncated" if size else "empty file"):
            artifacts.load(path, "any")
    path.write_bytes(small + b"\0")
    assert refusal(path).startswith("truncated or damaged")


def test_file_with_any_flipped_bit_is_refusal(path, small):
    for position in range(len(small)):
        for bit in (position % 8, (3 * position + 1) % 8):
            path.write_bytes(small[:position] + bytes([small[position] ^ 1 << bit]) + small[position + 1 :])
            with pytest.raises(ArtifactError, match=str(path)):
                artifacts.load(path, "any")


def test_flipped_bit_with_a_matching_hash_is_refused_or_gives_plain_values(path, small):
    # An attacker can also correct the hash. Whatever is loaded then must be plain values and arrays.
    plain = (dict, list, str, int, float, bool, bytes, np.ndarray, type(None))

    def check(value):
        assert isinstance(value, plain)
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            check(inner)

    begin = small.index(b"\x80\x04", 1)
    for position in range(begin, len(small)):
        for bit in (position % 8, (3 * position + 1) % 8):
            write_with_header(path, small[begin:position] + bytes([small[position] ^ 1 << bit]) + small[position + 1 :])
            with contextlib.suppress(ArtifactError):
                check(artifacts.load(path, "any"))


def test_sparse_file_of_a_terabyte_uses_no_memory(path):
    write_with_header(path, b"\x80\x04}.")
    with path.open("r+b") as file:
        file.truncate(2**40)
    assert refusal(path).startswith("truncated or damaged: 1,099,511,627,776 bytes")
    write_with_header(path, b"\x80\x04}.", size=str(2**40))
    with path.open("r+b") as file:
        file.truncate(2**40 + len(path.read_bytes()) - 4)
    with pytest.raises(ArtifactError, match=r"1\.1 TB to load, .* of memory are available"):
        artifacts.load(path, "any")
