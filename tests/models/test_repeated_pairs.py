"""Of a repeated pair the latest interaction counts, in every model that uses the values of interactions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from recctl import InteractionDataset, make_model

MODELS: list[tuple[str, dict[str, Any]]] = [
    ("als", {"n_factors": 4}),
    ("als", {"n_factors": 4, "implicit": False}),
    ("ease", {}),
    ("item-knn", {}),
    ("rp3beta", {}),
    ("sansa", {}),
    ("slim", {}),
    ("svd", {"n_factors": 4, "n_epochs": 3}),
    ("svdpp", {"n_factors": 4, "n_epochs": 3}),
    ("user-knn", {}),
]


def rated() -> pd.DataFrame:
    """Distinct pairs of 20 users and 12 items."""
    rows = [(user, item, (user * 7 + item * 3) % 5 + 1, 1000 + user + item) for user in range(20) for item in range(12)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id", "rating", "timestamp"])
    return frame[(frame["user_id"] * frame["item_id"]) % 3 != 1].reset_index(drop=True)


@pytest.mark.parametrize(("name", "params"), MODELS)
def test_older_rating_of_a_pair_changes_nothing(name: str, params: dict[str, Any]) -> None:
    once = rated()
    older = once[once["user_id"] < 6].assign(rating=lambda frame: 6 - frame["rating"], timestamp=10)
    scores = []
    for frame in (once, pd.concat([once, older]), pd.concat([older, once])):
        model = make_model(name, **params).fit(InteractionDataset(frame, implicit=False))
        known = model.score_users(np.arange(20, dtype=np.int32))
        histories = frame[frame["user_id"].between(4, 7)]
        folded_in = model.recommend_for_history(histories, k=5, exclude_seen=False)
        scores.append((known, folded_in))
    for known, folded_in in scores[1:]:
        np.testing.assert_array_equal(known, scores[0][0])
        pd.testing.assert_frame_equal(folded_in, scores[0][1])
