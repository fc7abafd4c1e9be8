"""Every reader, fed with what is kept, with changes of it, and with made-up configs: a result or an error of ours."""

from __future__ import annotations

import resource
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from recctl.config import to_yaml
from recctl.config.yaml_tree import parse
from recctl.models.registry import model_names
from tests.fuzz.targets import MEGABYTES, TARGETS, corpus, feed

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
# Bytes that readers look for.
TOKENS = [
    b"\n",
    b"\r\n",
    b"\x00",
    b'"',
    b"'",
    b",",
    b"\t",
    b"::",
    b"{",
    b"}",
    b"[",
    b"&a ",
    b"*a",
    b"!!python/x ",
    b"nan",
]
TOKENS += [b"1e999", b"-1", b"9" * 30, "é".encode(), b"\xff\xfe", b"\xef\xbb\xbf", b"null", b"true", b"2020-01-01"]


@st.composite
def changed(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """One of these, with a few cuts, doublings, insertions and other bytes in it."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 6))):
        begin = draw(st.integers(0, len(data)))
        end = draw(st.integers(begin, min(len(data), begin + 40)))
        into = draw(st.sampled_from(TOKENS) | st.binary(max_size=8) | st.just(data[begin:end] * 2) | st.just(b""))
        data = data[:begin] + into + data[end:]
    return data


@pytest.fixture(autouse=True)
def _in_little_memory() -> Any:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert sys.platform != "linux" or grown < MEGABYTES, f"{grown:.0f} MB"


@pytest.mark.parametrize("name", TARGETS)
def test_what_is_kept(name: str) -> None:
    for data in corpus(name):
        feed(name, data)


@pytest.mark.parametrize("name", TARGETS)
def test_changes_of_what_is_kept(name: str) -> None:
    seeds = corpus(name)

    @settings(max_examples=120)
    @given(changed(seeds) | st.binary(max_size=200))
    def fed(data: bytes) -> None:
        feed(name, data)

    fed()


@settings(max_examples=120)
@given(changed([path.read_bytes() for path in CONFIGS]))
def test_changes_of_our_configs(data: bytes) -> None:
    feed("config", data)


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.dates()
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.sampled_from(["ease", "movielens-100k", "random", "ndcg@10", "ndcg", "x.csv", "auto", "1e-3", "[", "local"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6) | st.integers(), inner, max_size=4),
    max_leaves=8,
)


@st.composite
def wrong_at_places(draw: st.DrawFn) -> dict[str, Any]:
    """One of our configs, with another value, or another key, at some places."""
    tree = parse(draw(st.sampled_from(CONFIGS)).read_text(encoding="utf-8"), "x.yaml").values
    for _ in range(draw(st.integers(1, 3))):
        here = tree
        while True:
            key = draw(st.sampled_from(sorted(here, key=str)) if here else st.just("x"))
            if isinstance(here.get(key), dict) and here[key] and draw(st.booleans()):
                here = here[key]
                continue
            if draw(st.integers(0, 4)) == 0:
                key = draw(
                    st.sampled_from(["name", "params", "models", "space", "strategy", "engine", "early_stopping"])
                )
            here[key] = draw(VALUES | st.sampled_from(model_names()))
            break
    return tree


@settings(max_examples=100)
@given(wrong_at_places() | st.dictionaries(st.text(max_size=8), VALUES, max_size=5) | VALUES)
def test_configs_with_other_values(values: Any) -> None:
    feed("config", yaml.safe_dump(values, allow_unicode=True).encode())


def test_what_is_written_is_read() -> None:
    for path in CONFIGS:
        feed("config", to_yaml(parse(path.read_text(encoding="utf-8"), "x.yaml").values).encode())
