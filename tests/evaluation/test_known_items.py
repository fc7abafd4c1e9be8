"""Items that users interacted with before the measured part: not candidates, not relevant, and part of the history."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import InteractionMatrix
from recctl.evaluation import Evaluator
from recctl.models.base import Recommender
from tests.evaluation.oracle import frame, hand_made

# Scores fall with the item id, for all users.
SCORES = -np.tile(np.arange(10.0), (10, 1))


class LastItemRecommender(Recommender):
    """Recommends the item after the last one of the history."""

    name = "last-item"
    reads_order = True

    def _fit(self, interactions: InteractionDataset) -> None:
        self.histories = interactions.matrix_of(None)
        order = np.lexsort((interactions.timestamps, interactions.users))
        self.ordered = interactions.items[order]

    def _score(self, histories: InteractionMatrix, users: np.ndarray | None) -> np.ndarray:
        items = self.ordered if users is not None else histories.columns
        starts = self.histories.starts if users is not None else histories.starts
        rows = users if users is not None else np.arange(histories.n_rows)
        last = np.array([items[starts[row + 1] - 1] for row in rows])
        item_codes = np.arange(len(self.item_vocabulary))
        return (item_codes[None, :] == last[:, None] + 1).astype(np.float32)


def sequences(n_users: int = 4) -> InteractionDataset:
    """User u interacts with items u, u + 1, ..., u + 5, in this order."""
    rows = [(user, user + step, step) for user in range(n_users) for step in range(6)]
    return InteractionDataset(pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]))


def evaluate(model: Recommender, test: Any, **options: Any) -> Any:
    return Evaluator(["recall"], [1], **options).evaluate_users(model, test)


def test_test_part_knows_train_and_validation_of_its_users() -> None:
    data = sequences()
    _, validation, test = data.split(strategy="leave_last", val_size=1)
    assert validation.known is None  # train is all that is known, and the model is fitted on it
    known = set(zip(test.known.data["user_id"], test.known.data["item_id"], strict=True))
    assert known == {(user, user + step) for user in range(4) for step in range(5)}


def test_test_part_without_validation_knows_nothing_but_train() -> None:
    _, test = sequences().split(strategy="leave_last")
    assert test.known is None


def test_split_by_user_knows_the_history() -> None:
    _, validation, test = sequences(20).split(strategy="user", test_size=0.2, val_size=0.2, fold_in=0.5)
    assert validation.known is None
    assert test.known is None
    assert len(test.history) == 3 * test.n_users


def test_validation_items_are_neither_candidates_nor_relevant_on_test() -> None:
    model = hand_made(SCORES, SCORES).fit(frame([(0, 0), (1, 1), (1, 2), (1, 3)]))
    test = InteractionDataset(frame([(0, 1), (0, 2), (1, 0)]))
    test.known = InteractionDataset(frame([(0, 0), (0, 1), (1, 1), (1, 2), (1, 3)]))
    result = evaluate(model, test)
    assert result.metrics == {"recall@1": 1.0}  # user 0: item 1 is known, item 2 is next
    assert result.left_out["known"] == 1
    assert evaluate(model, test, exclude="train").metrics == {"recall@1": 0.75}  # item 1, of the relevant 1 and 2


def test_known_items_that_the_model_does_not_know_are_not_misses() -> None:
    model = hand_made(SCORES, SCORES).fit(frame([(0, 0), (1, 1)]))
    test = InteractionDataset(frame([(0, 1), (0, 7)]))
    test.known = InteractionDataset(frame([(0, 0), (0, 7)]))
    assert evaluate(model, test).metrics == {"recall@1": 1.0}
    assert evaluate(model, test, exclude="train").metrics == {"recall@1": 0.5}


def test_repeated_items_are_found_if_nothing_is_excluded() -> None:
    model = hand_made(SCORES, SCORES).fit(frame([(0, 0), (1, 1), (1, 2)]))
    test = InteractionDataset(frame([(0, 0), (1, 0)]))
    result = evaluate(model, test, exclude="none")
    assert result.metrics == {"recall@1": 1.0}
    assert result.left_out["known"] == 0
    assert evaluate(model, test).left_out["known"] == 1


def test_models_that_read_order_have_validation_in_their_history_on_test() -> None:
    train, _, test = sequences().split(strategy="leave_last", val_size=1)
    model = LastItemRecommender().fit(train)
    assert evaluate(model, test).metrics == {"recall@1": 0.5}  # the model does not know the last items of users 2 and 3
    # Asked for the item after next, the model answers with the item of validation, which was held out.
    assert evaluate(model, test, exclude="train").metrics == {"recall@1": 0.0}
    assert evaluate(model, test).n_folded_in == 0


def test_known_interactions_can_be_given() -> None:
    model = hand_made(SCORES, SCORES).fit(frame([(0, 0), (1, 1), (1, 2)]))
    evaluator = Evaluator(["recall"], [1])
    assert evaluator.evaluate(model, frame([(0, 2)])) == {"recall@1": 0.0}
    assert evaluator.evaluate(model, frame([(0, 2)]), known=frame([(0, 0), (0, 1)])) == {"recall@1": 1.0}


def test_unknown_choice_is_refused_with_a_suggestion() -> None:
    with pytest.raises(Exception, match="exclude='knwon': unknown choice; did you mean known"):
        Evaluator(exclude="knwon")  # type: ignore[arg-type]
