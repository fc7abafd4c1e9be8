"""Aliases of runs."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.errors import ArtifactError, ConfigError
from recctl.runs.aliases import RunAliases


def test_rollback_returns_through_previous_runs(tmp_path: Path) -> None:
    aliases = RunAliases(tmp_path)
    assert aliases.all() == []
    assert aliases.current("production") is None
    for run in ("a", "b", "c"):
        aliases.promote("production", run)
    aliases.promote("production", "c")  # no move: it points to c already
    aliases.promote("staging", "c")
    assert aliases.all() == ["production", "staging"]
    assert aliases.runs() == {"c": ["production", "staging"]}
    assert aliases.rollback("production").run == "b"
    assert aliases.promote("production", "d").run == "d"
    assert [aliases.rollback("production").run for _ in range(2)] == ["b", "a"]
    with pytest.raises(ArtifactError, match="production: can't be rolled back: a is the first run"):
        aliases.rollback("production")
    moves = aliases.history("production")
    assert [(move.number, move.action, move.run) for move in moves] == [
        (1, "promote", "a"),
        (2, "promote", "b"),
        (3, "promote", "c"),
        (4, "rollback", "b"),
        (5, "promote", "d"),
        (6, "rollback", "b"),
        (7, "rollback", "a"),
    ]
    assert all("@" in move.by and move.at for move in moves)


@given(st.lists(st.one_of(st.none(), st.sampled_from("abc")), max_size=12))
def test_any_sequence_of_moves_behaves_like_a_stack(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str | None]
) -> None:
    aliases = RunAliases(tmp_path_factory.mktemp("runs"))
    stack: list[str] = []
    for step in steps:
        if step is not None:
            aliases.promote("x", step)
            stack += [step] if stack[-1:] != [step] else []
        elif len(stack) > 1:
            stack.pop()
            aliases.rollback("x")
        else:
            with pytest.raises(ArtifactError):
                aliases.rollback("x")
        current = aliases.current("x")
        assert (current.run if current else None) == (stack[-1] if stack else None)


def test_concurrent_moves_are_all_recorded(tmp_path: Path) -> None:
    aliases = RunAliases(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: aliases.promote("x", f"run{n}"), range(40)))
    moves = aliases.history("x")
    assert [move.number for move in moves] == list(range(1, 41))
    assert {move.run for move in moves} == {f"run{n}" for n in range(40)}
    assert [move.previous for move in moves] == [None, *range(1, 40)]
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("name", ["latest", "best", "", "2026", "a/b", "../x", ".x", "a b", "x" * 65, "é/"])
def test_invalid_names_are_rejected(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="must begin with a letter"):
        RunAliases(tmp_path).promote(name, "run")
    assert not (tmp_path / ".names").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"number": 2}'])
def test_damaged_move_is_reported_with_a_fix(tmp_path: Path, content: str) -> None:
    aliases = RunAliases(tmp_path)
    for run in ("a", "b"):
        aliases.promote("x", run)
    path = tmp_path / ".names" / "x" / "000002.json"
    path.write_text(content)
    with pytest.raises(ArtifactError, match=r"000002\.json: damaged: .*; remove it to return to the move before it"):
        aliases.current("x")
    path.unlink()
    current = aliases.current("x")
    assert current is not None
    assert current.run == "a"
