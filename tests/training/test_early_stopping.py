import math

import numpy as np
import pytest

from recctl import EarlyStopping
from recctl.errors import ConfigError
from recctl.training.monitor import direction


class Weights:
    """A model that learns by counting up, in place."""

    def __init__(self):
        self.weights = np.zeros(2)

    def snapshot(self):
        return self.weights.copy()

    def restore(self, snapshot):
        self.weights = snapshot.copy()


def stopped_after(stopping, scores):
    for at, score in enumerate(scores, start=1):
        stopping(score)
        if stopping.early_stop:
            return at
    return None


def test_lower_is_better_for_rmse_and_higher_for_ndcg():
    falling, rising = [5.0, 4.0, 3.0, 2.0, 1.0], [1.0, 2.0, 3.0, 4.0, 5.0]
    assert stopped_after(EarlyStopping(patience=2, monitor="rmse"), falling) is None
    assert stopped_after(EarlyStopping(patience=2, monitor="rmse"), rising) == 3
    assert stopped_after(EarlyStopping(patience=2, monitor="ndcg@10"), rising) is None
    assert stopped_after(EarlyStopping(patience=2, monitor="ndcg@10"), falling) == 3
    assert stopped_after(EarlyStopping(patience=2, mode="max"), falling) == 3


@pytest.mark.parametrize(
    ("metric", "expected"), [("rmse", "min"), ("loss", "min"), ("hit_rate@5", "max"), ("sampled_ndcg@10", "max")]
)
def test_direction_follows_the_metric(metric, expected):
    assert direction(metric) == expected
    assert direction(metric, "min") == "min"


def test_counter_counts_improvements_below_min_delta():
    stopping = EarlyStopping(patience=3, min_delta=0.1, mode="min")
    assert [stopping(score) for score in (1.0, 0.95, 0.89, 0.85, 0.8)] == [False] * 5
    assert (stopping.best_score, stopping.best_epoch, stopping.counter) == (0.89, 3, 2)
    assert stopping(0.79)
    assert stopping.early_stop


def test_nan_score_is_never_the_best():
    stopping = EarlyStopping(patience=2, monitor="rmse")
    assert not stopping(math.nan)
    assert stopping.best_score is None
    assert not stopping(1.0)
    assert not stopping(math.nan)
    assert stopping(math.nan)
    assert stopping.best_score == 1.0


def test_best_weights_are_copied_and_restored():
    model, stopping = Weights(), EarlyStopping(patience=2, monitor="rmse")
    for score in (3.0, 1.0, 2.0, 2.0):
        model.weights += 1
        stopping(score, model)
    assert stopping.early_stop
    assert model.weights.tolist() == [2, 2]
    model.weights += 5
    stopping.restore(model)
    assert model.weights.tolist() == [2, 2]


def test_torch_module_is_restored():
    torch = pytest.importorskip("torch")
    module, stopping = torch.nn.Linear(1, 1, bias=False), EarlyStopping(patience=1, mode="max")
    with torch.no_grad():
        module.weight.fill_(1)
        assert not stopping(0.5, module)
        module.weight.fill_(2)  # in place: a shallow copy of the state would change along
    assert stopping(0.4, module)
    assert module.weight.item() == 1


def test_restore_after_the_last_epoch_brings_back_the_best():
    model, stopping = Weights(), EarlyStopping(patience=9, mode="max")
    for score in (1.0, 3.0, 2.0):
        model.weights += 1
        assert not stopping(score, model)
    assert model.weights.tolist() == [3, 3]
    stopping.restore(model)
    assert model.weights.tolist() == [2, 2]


def test_restore_best_false_keeps_the_last_weights_until_restore():
    model, stopping = Weights(), EarlyStopping(patience=1, mode="max", restore_best=False)
    for score in (2.0, 1.0):
        model.weights += 1
        stopping(score, model)
    assert stopping.early_stop
    assert model.weights.tolist() == [2, 2]
    stopping.restore(model)
    assert model.weights.tolist() == [1, 1]


def test_restore_without_a_copy_of_the_weights_is_an_error():
    model, stopping = Weights(), EarlyStopping(patience=1, mode="max")
    stopping.restore(model)  # no score yet, so that nothing is lost
    stopping(1.0)
    with pytest.raises(ConfigError, match=r"no copy of the best weights; give the model with each score"):
        stopping.restore(model)


def test_scores_without_metric_or_mode_are_refused():
    stopping = EarlyStopping(patience=3)
    with pytest.raises(ConfigError, match=r"monitor='rmse', or pass mode='min' .* or mode='max'"):
        stopping(0.3)
    assert stopping.best_score is None


@pytest.mark.parametrize("score", [None, "0.5", True, [], np.zeros(2)])
def test_score_that_is_no_number_is_an_error(score):
    with pytest.raises(ConfigError, match=r"EarlyStopping: score=.*: must be a number"):
        EarlyStopping(mode="max")(score)


def test_scores_of_numpy_and_torch_are_numbers():
    torch = pytest.importorskip("torch")
    stopping = EarlyStopping(mode="max")
    assert [stopping(score) for score in (np.float32(0.5), torch.tensor(0.75))] == [False, False]
    assert stopping.best_score == 0.75


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"patience": 0}, "patience=0: must be a whole number of at least 1"),
        ({"patience": 1.5}, "patience=1.5"),
        ({"patience": True}, "patience=True"),
        ({"min_delta": -1}, "min_delta=-1: must be a number of at least 0"),
        ({"min_delta": math.nan}, "min_delta=nan"),
        ({"restore_best": 1}, "restore_best=1: must be True or False"),
        ({"monitor": 3}, "monitor=3: must be a text"),
        ({"mode": None}, "mode=None: unknown choice"),
        ({"mode": "mni"}, "mode='mni': unknown choice; did you mean min"),
        ({"monitor": "ndgc@10"}, "monitor='ndgc@10': unknown metric; did you mean ndcg.*mode='min'"),
    ],
)
def test_invalid_argument_is_an_error(arguments, message):
    with pytest.raises(ConfigError, match=message):
        EarlyStopping(**arguments)


def test_custom_metric_needs_a_mode():
    assert stopped_after(EarlyStopping(patience=1, monitor="profit", mode="max"), [1.0, 2.0, 1.0]) == 3
