"""Tags and notes."""

from __future__ import annotations

from pathlib import Path

import pytest

from recctl.errors import ArtifactError, ConfigError
from recctl.runs import Run, labels


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.create(tmp_path, "ease-x", "train", {"seed": 1})


def test_tags_and_notes_are_added_and_removed(run: Run) -> None:
    assert labels.read(run) == ([], "")
    labels.update(run, ["b", "a/1", "b"], note='größer, "quoted"\nlines')
    assert labels.read(run) == (["a/1", "b"], 'größer, "quoted"\nlines')
    labels.update(run, remove=["b", "never there"])
    assert labels.read(run) == (["a/1"], 'größer, "quoted"\nlines')
    labels.update(run, note="")
    assert labels.read(run) == (["a/1"], "")


@pytest.mark.parametrize("tag", ["", "two words", "x" * 65, "a,b", "[red]"])
def test_invalid_tag_is_rejected_without_changes(run: Run, tag: str) -> None:
    with pytest.raises(ConfigError, match="must be 1 to 64 letters"):
        labels.update(run, ["good", tag])
    assert labels.read(run).tags == []


@pytest.mark.parametrize("content", ["", "{}", '{"tags": 3, "note": ""}', "\x00"])
def test_damaged_file_is_reported_with_a_fix(run: Run, content: str) -> None:
    (run.path / "remarks.json").write_text(content)
    with pytest.raises(
        ArtifactError, match=r"remarks\.json: damaged: .*; remove it to lose only the tags and the note"
    ):
        labels.read(run)
