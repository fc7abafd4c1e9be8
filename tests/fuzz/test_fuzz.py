"""Feed every reader with saved inputs, mutations of them, and generated configs."""

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
from tests.conftest import n_examples
from tests.fuzz.targets import MEGABYTES, TARGETS, corpus, feed

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
# Byte sequences with a meaning for readers.
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
def mutated(draw: st.DrawFn, seeds: list[bytes]) -> bytes:
    """One of the seeds with a few deletions, duplications and insertions."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(1, 6))):
        begin = draw(st.integers(0, len(data)))
        end = draw(st.integers(begin, min(len(data), begin + 40)))
        replacement = draw(
            st.sampled_from(TOKENS) | st.binary(max_size=8) | st.just(data[begin:end] * 2) | st.just(b"")
        )
        data = data[:begin] + replacement + data[end:]
    return data


@pytest.fixture(autouse=True)
def _limited_memory() -> Any:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    assert sys.platform != "linux" or grown < MEGABYTES, f"{grown:.0f} MB"


@pytest.mark.parametrize("name", TARGETS)
def test_saved_inputs(name: str) -> None:
    for data in corpus(name):
        feed(name, data)


@pytest.mark.parametrize("name", TARGETS)
def test_mutations_of_saved_inputs(name: str) -> None:
    seeds = corpus(name)

    @settings(max_examples=n_examples(120))
    @given(mutated(seeds) | st.binary(max_size=200))
    def feed_target(data: bytes) -> None:
        feed(name, data)

    feed_target()


@settings(max_examples=n_examples(120))
@given(mutated([path.read_bytes() for path in CONFIGS]))
def test_mutations_of_packaged_configs(data: bytes) -> None:
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
def configs_with_wrong_values(draw: st.DrawFn) -> dict[str, Any]:
    """A packaged config in which some values or keys are replaced."""
    tree = parse(draw(st.sampled_from(CONFIGS)).read_text(encoding="utf-8"), "x.yaml").values
    for _ in range(draw(st.integers(1, 3))):
        section = tree
        while True:
            key = draw(st.sampled_from(sorted(section, key=str)) if section else st.just("x"))
            if isinstance(section.get(key), dict) and section[key] and draw(st.booleans()):
                section = section[key]
                continue
            if draw(st.integers(0, 4)) == 0:
                key = draw(
                    st.sampled_from(["name", "params", "models", "space", "strategy", "engine", "early_stopping"])
                )
            section[key] = draw(VALUES | st.sampled_from(model_names()))
            break
    return tree


@settings(max_examples=n_examples(100))
@given(configs_with_wrong_values() | st.dictionaries(st.text(max_size=8), VALUES, max_size=5) | VALUES)
def test_generated_configs(values: Any) -> None:
    feed("config", yaml.safe_dump(values, allow_unicode=True).encode())


def test_written_configs_can_be_read() -> None:
    for path in CONFIGS:
        feed("config", to_yaml(parse(path.read_text(encoding="utf-8"), "x.yaml").values).encode())
