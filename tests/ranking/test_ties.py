"""The order of items with equal scores, against its definition in plain Python."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recctl.data import id_hashes
from recctl.data.dataset import InteractionDataset
from recctl.data.id_hashes import hash_id_list, hash_ids
from recctl.data.matrix import InteractionMatrix
from recctl.data.vocabulary import Vocabulary
from recctl.evaluation import Evaluator
from recctl.models.base import Recommender
from recctl.ranking import TIE_RULE, TieBreaker, blocks
from tests.ranking.ties import fnv1a, key_of_history, key_of_id, ranking


class ConstantModel(Recommender):
    """All items have the same score."""

    name = "constant"

    def _fit(self, interactions: InteractionDataset) -> None:
        pass

    def _score(self, histories: InteractionMatrix, users: np.ndarray | None) -> np.ndarray:
        return np.zeros((histories.n_rows, histories.n_columns), np.float32)

    def _similarity(self, items: np.ndarray) -> np.ndarray:
        return np.zeros((len(items), len(self.item_vocabulary)), np.float32)


def popular_items_first(n_users: int = 150, n_items: int = 100, seed: int = 0) -> pd.DataFrame:
    """Interactions in which items of low ids are popular."""
    rng = np.random.default_rng(seed)
    users = np.repeat(np.arange(n_users), 12)
    items = np.minimum(rng.exponential(n_items / 5, len(users)).astype(int), n_items - 1)
    return pd.DataFrame({"user_id": users, "item_id": items}).drop_duplicates(ignore_index=True)


def lists(table: pd.DataFrame, by: str = "user_id", item: str = "item_id") -> dict[Any, list[Any]]:
    return {user: rows[item].tolist() for user, rows in table.groupby(by)}


# ---- hashes


@given(ids=st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_hash_of_integers_is_that_of_their_text(ids: list[int]) -> None:
    assert hash_ids(np.array(ids, np.int64)).tolist() == [fnv1a(str(number)) for number in ids]
    assert hash_id_list(ids).tolist() == hash_id_list(list(map(str, ids))).tolist()


@pytest.mark.parametrize("max_encoded", [0, 100])
@given(texts=st.lists(st.text()))
def test_hash_of_texts_is_fnv1a_of_their_utf8_bytes(max_encoded: int, texts: list[str]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(id_hashes, "_MAX_ENCODED", max_encoded)
        assert hash_ids(np.array(texts, object)).tolist() == [fnv1a(text) for text in texts]


def test_hashes_equal_published_values_of_fnv1a() -> None:
    # Test vectors of the authors of the hash: http://www.isthe.com/chongo/tech/comp/fnv/
    published = {"": 0xCBF29CE484222325, "a": 0xAF63DC4C8601EC8C, "foobar": 0x85944171F73967E8}
    assert hash_id_list(published).tolist() == list(published.values())


def test_hashes_of_a_vocabulary_do_not_depend_on_its_other_ids() -> None:
    ids = np.array(["b", "aa", "é", "b"], object)
    vocabulary, codes = Vocabulary.encode(ids)
    part, part_codes = vocabulary.subset(codes[:1])
    assert vocabulary.hashes[codes].tolist() == [fnv1a(text) for text in ids]
    assert part.hashes[part_codes].tolist() == [fnv1a("b")]


def test_row_keys_equal_their_definition() -> None:
    items = np.array([3, 10, 17, 24])
    histories = InteractionMatrix.from_rows([np.array(row, np.int32) for row in ([], [2], [0, 3], [3, 0, 3])], 4)
    ties = TieBreaker.of_histories(histories, hash_ids(items))
    assert ties.row_keys.tolist() == [key_of_history(row) for row in ([], [17], [3, 24], [3, 24])]
    assert TieBreaker.of_ids(hash_ids(items), hash_ids(items)).take(np.array([2, 0])).row_keys.tolist() == [
        key_of_id(17),
        key_of_id(3),
    ]


def test_order_is_that_of_the_recorded_version_of_the_rule() -> None:
    # Evaluations are compared by the version: a change of this order needs another one.
    assert TIE_RULE == 2
    assert ranking(dict.fromkeys(range(8), 0.0), key_of_id(7)) == [3, 7, 1, 0, 4, 2, 5, 6]


# ---- every way to get a list


def test_recommendations_popular_and_similar_items_follow_the_rule() -> None:
    rows = popular_items_first()
    items = sorted(rows.item_id.unique().tolist())
    model = ConstantModel().fit(rows)
    equal = dict.fromkeys(items, 0.0)

    assert lists(model.recommend([3, 99], k=200, exclude_seen=False)) == {
        user: ranking(equal, key_of_id(user)) for user in (3, 99)
    }
    # The history of "b" is that of "a" in another order, with a repetition and an unknown item.
    histories = {"a": items[:3], "b": [*reversed(items[:3]), items[0], -1], "c": items[:2]}
    given_histories = lists(model.recommend_for_history(histories, k=200, exclude_seen=False))
    assert given_histories == {user: ranking(equal, key_of_history({*histories[user]} - {-1})) for user in histories}
    assert given_histories["a"] == given_histories["b"]

    others = {item: 0.0 for item in items if item != items[5]}
    similar = lists(model.similar_items([items[5]], k=200), "item_id", "similar_item_id")
    assert similar == {items[5]: ranking(others, key_of_id(items[5]))}

    counts = rows.item_id.value_counts().to_dict()
    popular = lists(model.recommend(["new", 1000], k=200, on_unknown="popular"))
    assert popular == {user: ranking(counts, key_of_id(user)) for user in ("new", 1000)}


def test_order_of_ties_does_not_depend_on_other_ids_rows_id_types_threads_or_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    rows = popular_items_first()
    before = lists(ConstantModel().fit(rows).recommend(range(20), k=200, exclude_seen=False))
    shuffled = rows.sample(frac=1, random_state=1)
    monkeypatch.setenv("RECCTL_THREADS", "3")
    monkeypatch.setattr(blocks, "_MAX_ROWS", 7)
    assert lists(ConstantModel().fit(shuffled).recommend(range(20), k=200, exclude_seen=False)) == before

    # Users and items with low and high ids are added, which changes all codes.
    more = pd.concat([rows, pd.DataFrame({"user_id": [-5, 10**6], "item_id": [-9, 10**9]})])
    after = lists(ConstantModel().fit(more).recommend(range(20), k=200, exclude_seen=False))
    assert {user: [item for item in items if item not in (-9, 10**9)] for user, items in after.items()} == before

    text = ConstantModel().fit(rows.astype(str))
    by_text = lists(text.recommend(list(map(str, range(20))), k=200, exclude_seen=False))
    assert by_text == {str(user): list(map(str, items)) for user, items in before.items()}


# ---- evaluation


def dcg_gains(n: int) -> list[float]:
    return [1 / math.log2(rank + 2) for rank in range(n)]


def test_equal_scores_gain_nothing_over_random_items() -> None:
    rows = popular_items_first(n_users=600)
    is_test = np.random.default_rng(1).random(len(rows)) < 0.2
    model = ConstantModel().fit(rows[~is_test])
    table = Evaluator(["ndcg"], [10]).evaluate_users(model, rows[is_test]).per_user
    n_items = len(model.item_vocabulary)
    n_candidates = n_items - rows[~is_test].groupby("user_id").size()[table.user_id].to_numpy()
    # Of a random order, each of the first 10 ranks holds a relevant item with probability n_relevant / n_candidates.
    ideal = np.array([sum(dcg_gains(min(10, n))) for n in table.n_relevant])
    expected = table.n_relevant.to_numpy() / n_candidates * sum(dcg_gains(10)) / ideal
    difference = table["ndcg@10"].to_numpy() - expected
    assert abs(difference.mean()) < 4 * difference.std() / math.sqrt(len(difference))


def test_relabelled_ids_change_results_by_chance_only() -> None:
    rows = popular_items_first(n_users=600)
    is_test = np.random.default_rng(1).random(len(rows)) < 0.2
    labels = np.random.default_rng(2).permutation(1000)
    tables = []
    for ids in (rows, rows.assign(item_id=labels[rows.item_id], user_id=rows.user_id + 5000)):
        model = ConstantModel().fit(ids[~is_test])
        tables.append(Evaluator(["ndcg"], [10]).evaluate_users(model, ids[is_test]).per_user["ndcg@10"].to_numpy())
    difference = tables[0] - tables[1]
    assert difference.any()
    assert abs(difference.mean()) < 4 * difference.std() / math.sqrt(len(difference))


def test_known_users_of_sequence_models_are_ranked_by_their_id_like_those_of_other_models() -> None:
    class ConstantSequenceModel(ConstantModel):
        name = "constant-sequence"
        reads_order = True

    rows = popular_items_first()
    part = np.random.default_rng(1).integers(0, 3, len(rows))
    tables = []
    for model in (ConstantModel(), ConstantSequenceModel()):
        model.fit(rows[part == 0])
        # Sequence models score these users by all that is known of them, not by what they were fitted on.
        evaluation = Evaluator(["ndcg"], [10]).evaluate_users(model, rows[part == 2], known=rows[part == 1])
        tables.append(evaluation.per_user.sort_values("user_id", ignore_index=True))
    assert tables[0]["ndcg@10"].any()
    pd.testing.assert_frame_equal(*tables)
