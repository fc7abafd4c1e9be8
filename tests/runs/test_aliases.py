"""Names that runs are promoted to."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.errors import ArtifactError, ConfigError
from recctl.runs.aliases import RunAliases


def test_a_name_moves_and_goes_back_step_by_step(tmp_path: Path) -> None:
    names = RunAliases(tmp_path)
    assert names.all() == []
    assert names.current("production") is None
    for run in ("a", "b", "c"):
        names.promote("production", run)
    names.promote("production", "c")  # it is there already
    names.promote("staging", "c")
    assert names.all() == ["production", "staging"]
    assert names.runs() == {"c": ["production", "staging"]}
    assert names.rollback("production").run == "b"
    assert names.promote("production", "d").run == "d"
    assert [names.rollback("production").run for _ in range(2)] == ["b", "a"]
    with pytest.raises(ArtifactError, match="production: pointed nowhere before a"):
        names.rollback("production")
    moves = names.history("production")
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
def test_any_history_is_a_stack(tmp_path_factory: pytest.TempPathFactory, steps: list[str | None]) -> None:
    names = RunAliases(tmp_path_factory.mktemp("runs"))
    stack: list[str] = []
    for step in steps:
        if step is not None:
            names.promote("x", step)
            stack += [step] if stack[-1:] != [step] else []
        elif len(stack) > 1:
            stack.pop()
            names.rollback("x")
        else:
            with pytest.raises(ArtifactError):
                names.rollback("x")
        now = names.current("x")
        assert (now.run if now else None) == (stack[-1] if stack else None)


def test_names_that_are_moved_at_once_lose_no_move(tmp_path: Path) -> None:
    names = RunAliases(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: names.promote("x", f"run{n}"), range(40)))
    moves = names.history("x")
    assert [move.number for move in moves] == list(range(1, 41))
    assert {move.run for move in moves} == {f"run{n}" for n in range(40)}
    assert [move.previous for move in moves] == [None, *range(1, 40)]
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("name", ["latest", "best", "", "2026", "a/b", "../x", ".x", "a b", "x" * 65, "é/"])
def test_what_can_be_no_name_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match="must begin with a letter"):
        RunAliases(tmp_path).promote(name, "run")
    assert not (tmp_path / ".names").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"number": 2}'])
def test_a_damaged_move_is_told_with_the_way_out(tmp_path: Path, content: str) -> None:
    names = RunAliases(tmp_path)
    for run in ("a", "b"):
        names.promote("x", run)
    path = tmp_path / ".names" / "x" / "000002.json"
    path.write_text(content)
    with pytest.raises(ArtifactError, match=r"000002\.json: damaged: .*; remove it to go by the move before"):
        names.current("x")
    path.unlink()
    now = names.current("x")
    assert now is not None
    assert now.run == "a"
