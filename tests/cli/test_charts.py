"""Text charts show the values they are given."""

from __future__ import annotations

from itertools import pairwise

from recctl.cli.charts import curve


def dots(line: str) -> list[int]:
    """Return the columns of a line, counted in dots, that have a dot."""
    cells = [ord(letter) - 0x2800 for letter in line.partition("│")[2]]
    return [2 * at + side for at, cell in enumerate(cells) for side in (0, 1) if cell & (0xB8 if side else 0x47)]


def test_line_runs_from_first_to_last_value() -> None:
    title, *lines, below = curve([4.0, 3.0, 2.0, 1.0], "loss", "epoch", width=10, height=4)
    assert title == "loss"
    assert below.split() == ["1", "epoch", "4"]
    assert [line.partition("│")[0].strip() for line in lines] == ["4", "", "", "1"]
    drawn = [dots(line) for line in lines]
    assert sorted({column for columns in drawn for column in columns}) == list(range(20))
    assert all(max(above) - min(after) <= 1 for above, after in pairwise(drawn)), "it only falls"


def test_gaps_are_skipped_and_values_keep_their_positions() -> None:
    _, *lines, _ = curve([1.0, None, float("nan"), None, 2.0], "x", "epoch", width=10, height=1)
    assert dots(lines[0]) == list(range(20))
    _, *lines, _ = curve([None, None, 1.0, 2.0, None, None, None, None, None, None], "x", "epoch", width=5, height=1)
    assert dots(lines[0]) == [2, 3]


def test_nothing_is_drawn_of_less_than_two_values() -> None:
    for values in ([], [1.0], [None, 1.0], [2.0, 2.0], [float("inf"), 1.0]):
        assert curve(values, "x", "epoch") == []
