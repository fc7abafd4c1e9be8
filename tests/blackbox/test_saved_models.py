"""Model files of every format, saved by other versions of recctl and NumPy, give the results they were saved with.

Like the other tests of this folder, it needs the installed package and pytest alone.
"""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

import recctl

FOLDER = Path(__file__).parents[1] / "models" / "formats"
FILES = sorted(FOLDER.rglob("*.pkl"))


def test_there_are_files() -> None:
    assert FILES


@pytest.mark.parametrize("path", FILES, ids=lambda path: "-".join(path.relative_to(FOLDER).with_suffix("").parts))
def test_saved_model_recommends_as_before(path: Path) -> None:
    expected = pd.DataFrame(json.loads(path.with_suffix(".json").read_text(encoding="utf-8")))
    users = list(dict.fromkeys(expected["user_id"]))
    model = recctl.load_model(path)
    found = model.recommend(users, k=4)
    # Version 0.1 ordered items with equal scores by id. Which of them are listed may differ, but not their scores.
    of_scores = ["user_id", "score", "rank"]
    pd.testing.assert_frame_equal(found[of_scores], expected[of_scores], check_dtype=False, rtol=1e-5)
    of_items = model.predict(expected["user_id"], expected["item_id"])
    assert of_items.tolist() == pytest.approx(expected["score"].tolist(), rel=1e-5)
