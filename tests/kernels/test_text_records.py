"""The summary of lines, compared with regular expressions and Python's own splitting of lines."""

import re

import numpy as np
import pytest

from recctl.kernels.text_records import LineSummary, summarize_lines

_FIELD = rb'(?:"(?:[^"\\\r\n]|"")*"|[^",\r\n]*)'
_PLAIN_LINE = re.compile(_FIELD + rb"(?:," + _FIELD + rb")*")


def _summarize(lines: bytes) -> LineSummary:
    split = lines.splitlines()
    is_plain = all(_PLAIN_LINE.fullmatch(line) for line in split)
    return LineSummary(b'"' in lines, is_plain, len(split), sum(bool(line) for line in split))


@pytest.mark.parametrize("seed", range(20))
def test_summary_of_random_lines_equals_that_of_regular_expressions(seed: int) -> None:
    rng = np.random.default_rng(seed)
    pieces = [
        b'"',
        b'""',
        b",",
        b"\n",
        b"\r",
        b"\r\n",
        b"\\",
        b"a",
        b"a" * 61,
        b"\xc3\xa9",
        b'"b"',
        b'"c,",',
        b'\n"d"\n',
    ]
    # Files that are mostly well-formed, as well as such that are not.
    weights = rng.dirichlet(np.full(len(pieces), 0.5))
    n_plain = 0
    for _ in range(300):
        chosen = rng.choice(len(pieces), rng.integers(0, 30), p=weights)
        lines = b"".join(pieces[i] for i in chosen)
        expected = _summarize(lines)
        assert summarize_lines(lines, ord(","), ord('"')) == expected, lines
        n_plain += expected.has_quotes and expected.is_plain
    assert n_plain or seed


@pytest.mark.parametrize("change", [b'a"', b'"b"c', b'"', b'"\\"', b'"\n"', b'"\r"'])
def test_irregular_quotes_are_found_at_every_position(change: bytes) -> None:
    line = b'"id-1","id, ""2""",4\r\n'
    for n_lines_before in range(9):
        before = b'"x"\n' + line * n_lines_before
        for shift in range(64):
            begin = before + b"z" * shift + b","
            end = b"\n" + line
            assert not summarize_lines(begin + change + end, ord(","), ord('"')).is_plain
            assert summarize_lines(begin + b'"c"' + end, ord(","), ord('"')).is_plain
