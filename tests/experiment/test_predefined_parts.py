"""The files of a predefined split as one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from recctl import experiment, progress
from recctl.config import parse_config, to_yaml
from recctl.errors import DataError

TRAIN = "user_id,item_id,rating,timestamp\n" + "".join(f"{n % 5},{n % 7},4,{1_500_000_000 + n}\n" for n in range(35))
HELD = "user_id,item_id,rating,timestamp\n1,2,4,1500002000\n2,3,5,1500002001\n"


class Notices(progress._Silence):
    def __init__(self) -> None:
        self.messages: list[str] = []

    def notice(self, message: str) -> None:
        self.messages.append(message)


def read(folder: Path, train: str = TRAIN, held: str = HELD, **data: Any) -> tuple[Any, list[str]]:
    (folder / "train.csv").write_text(train)
    (folder / "held.csv").write_text(held)
    split = {"strategy": "predefined", "test": "held.csv"}
    text = to_yaml({"data": {"source": "train.csv", **data}, "split": split})
    notices = Notices()
    with progress.listening(notices):
        result = experiment.read_dataset(parse_config(text, "c.yaml", folder, [], experiment.CHECKS))
    return result, notices.messages


def without(text: str, column: int) -> str:
    rows = [line.split(",") for line in text.splitlines()]
    return "".join(",".join(row[:column] + row[column + 1 :]) + "\n" for row in rows)


@pytest.mark.parametrize("lacking", ["train", "held"])
def test_part_without_a_column_of_the_others_is_named_with_a_fix(tmp_path: Path, lacking: str) -> None:
    texts = {"train": TRAIN, "held": HELD}
    texts[lacking] = without(texts[lacking], 3)
    other = "held" if lacking == "train" else "train"
    with pytest.raises(DataError) as caught:
        read(tmp_path, **texts)
    assert f"{lacking}.csv: no timestamp column, which {other}.csv has" in str(caught.value)
    assert "set data.columns: {timestamp: null}" in str(caught.value)
    (dataset, labels, _), _ = read(tmp_path, **texts, columns={"timestamp": None})
    assert dataset.timestamps is None
    assert labels.tolist() == ["train"] * 35 + ["test"] * 2


def test_suggested_fix_repeats_the_configured_columns(tmp_path: Path) -> None:
    columns = {"user_id": "user_id", "item_id": 1}
    with pytest.raises(DataError, match=r"data\.columns: \{user_id: user_id, item_id: 1, timestamp: null\}"):
        read(tmp_path, held=without(HELD, 3), columns=columns)


def test_ratings_that_are_not_used_may_be_missing_in_a_part(tmp_path: Path) -> None:
    (dataset, _, _), notices = read(tmp_path, held=without(HELD, 2))
    assert dataset.ratings is None
    assert notices == ["held.csv: no ratings, unlike train.csv; they are not used, and left out"]
    with pytest.raises(DataError, match=r"held\.csv: no rating column"):
        read(tmp_path, held=without(HELD, 2), implicit=False)


def test_ids_that_are_text_in_one_part_are_text_in_all(tmp_path: Path) -> None:
    (dataset, _, _), notices = read(tmp_path, held=HELD + "x7,3,5,2001\n007,4,1,2001\n")
    assert set(dataset.user_vocabulary.ids) == {"0", "1", "2", "3", "4", "x7", "007"}
    assert dataset.item_vocabulary.ids.dtype == int
    assert notices[-1] == "held.csv: user_id is text, but in train.csv whole numbers; all are read as text"
