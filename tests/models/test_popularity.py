import pandas as pd
import pytest

from recctl.data.dataset import InteractionDataset
from recctl.models.popularity import PopularityRecommender
from tests.models.suite import ModelSuite


class TestPopularity(ModelSuite):
    name = "popularity"
    personal = False


ROWS = pd.DataFrame({"user_id": [1, 2, 3, 1, 2, 1, 1, 1], "item_id": [5, 5, 5, 7, 7, 9, 9, 9], "rating": 0.0})


def test_scores_count_distinct_users_and_ignore_ratings():
    best = PopularityRecommender().fit(ROWS).recommend([3], exclude_seen=False)
    assert list(zip(best.item_id, best.score, strict=True)) == [(5, 3), (7, 2), (9, 1)]
    explicit = PopularityRecommender().fit(InteractionDataset(ROWS, implicit=False))
    assert explicit.predict([1, 1, 1], [5, 7, 9]).tolist() == [3, 2, 1]


@pytest.mark.parametrize("history", [[], [1234], [9]])
def test_empty_history_gets_popular_items(history):
    best = PopularityRecommender().fit(ROWS).recommend_for_history([history], k=2)
    assert best.item_id.tolist() == [5, 7]


def test_table_of_histories_with_text_ids_leaves_out_their_items():
    names = ROWS.assign(item_id=ROWS.item_id.map(lambda item: f"item-{item}"))
    histories = pd.DataFrame({"user_id": ["new", "new"], "item_id": ["item-5", "item-9"]})
    best = PopularityRecommender().fit(names).recommend_for_history(histories)
    assert list(zip(best.user_id, best.item_id, strict=True)) == [("new", "item-7")]
