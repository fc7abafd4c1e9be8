import math

import pandas as pd
import pytest

from recctl import EarlyStopping, InteractionDataset, ModelCheckpoint, progress
from recctl.errors import ConfigError, TrainingError
from recctl.models.ease import EASERecommender
from recctl.training import run_epochs

DATA = InteractionDataset(pd.DataFrame({"user_id": [1], "item_id": [1]}))


class Scripted:
    """A model whose losses are given; its only weight is the epoch."""

    name = "scripted"
    advice_on_divergence = "try less"

    def __init__(self, losses):
        self.losses, self.epoch = losses, 0

    def train_epoch(self, interactions):
        assert interactions is DATA
        self.epoch += 1
        return self.losses[self.epoch - 1]

    def snapshot(self):
        return self.epoch

    def restore(self, snapshot):
        self.epoch = snapshot


def test_function_callback_is_called_after_every_epoch():
    calls = []
    model = Scripted([3.0, 2.0, 1.0])
    epochs = run_epochs(
        model,
        DATA,
        3,
        validate=lambda m: {"rmse": 10 - m.epoch},
        callbacks=[lambda m, measured: calls.append((m.epoch, measured))],
    )
    assert [(epoch.number, epoch.loss, epoch.metrics) for epoch in epochs] == [
        (1, 3.0, {"rmse": 9}),
        (2, 2.0, {"rmse": 8}),
        (3, 1.0, {"rmse": 7}),
    ]
    assert calls[1] == (2, {"epoch": 2, "loss": 2.0, "rmse": 8})


def test_function_that_returns_true_stops_after_all_callbacks_see_the_epoch():
    seen = []
    epochs = run_epochs(
        Scripted([1.0] * 9), DATA, 9, callbacks=[lambda _, m: m["epoch"] == 2, lambda _, m: seen.append(m["epoch"])]
    )
    assert len(epochs) == 2
    assert seen == [1, 2]


@pytest.mark.parametrize("scores", [[5, 3, 4, 4, 4, 4], [5, 4, 4, 4, 3, 4]])
def test_best_epoch_is_restored_with_and_without_early_stop(scores):
    model, stopping = Scripted([1.0] * 6), EarlyStopping(patience=3)
    run_epochs(model, DATA, 6, validate=lambda m: {"rmse": scores[m.epoch - 1]}, callbacks=[stopping])
    assert model.epoch == stopping.best_epoch == scores.index(min(scores)) + 1
    # The second training starts from scratch.
    again = Scripted([1.0] * 2)
    run_epochs(again, DATA, 2, validate=lambda m: {"rmse": 100.0 - m.epoch}, callbacks=[stopping])
    assert again.epoch == 2


def test_loss_can_be_monitored_without_validation():
    model = Scripted([2.0, 1.0, 1.5, 1.5, 1.5])
    run_epochs(model, DATA, 5, callbacks=[EarlyStopping(patience=2, monitor="loss")])
    assert model.epoch == 2


@pytest.mark.parametrize(
    ("predicts_ratings", "scores", "best"),
    [(True, [3.0, 1.0, 2.0], 2), (False, [1.0, 2.0, 3.0], 3), (None, [3.0, 1.0, 2.0], 2)],
)
def test_callbacks_monitor_the_default_metric_of_the_model(tmp_path, predicts_ratings, scores, best):
    """RMSE of models that predict ratings, NDCG@10 of others; of unknown models, the only metric there is."""
    stopping = EarlyStopping()
    checkpoint = ModelCheckpoint(tmp_path / "best.pkl")
    for _ in range(2):  # the second training starts from scratch
        model = Scripted([1.0] * 3)
        model.save = lambda path: None
        if predicts_ratings is not None:
            model.predicts_ratings = predicts_ratings
        key = "ndcg@10" if predicts_ratings is False else "rmse"
        others = {} if predicts_ratings is None else {"mae": 0.0, "recall@10": 1.0}
        measure = lambda m, key=key, others=others: others | {key: scores[m.epoch - 1]}  # noqa: E731
        run_epochs(model, DATA, 3, validate=measure, callbacks=[stopping, checkpoint])
        assert (stopping.monitor, checkpoint.monitor) == (key, key)
        assert (stopping.best_epoch, checkpoint.best_epoch, model.epoch) == (best, best, best)


def test_callback_adapts_to_the_next_model():
    stopping = EarlyStopping()
    for predicts_ratings, key in ((True, "rmse"), (False, "ndcg@10")):
        model = Scripted([1.0])
        model.predicts_ratings = predicts_ratings
        run_epochs(model, DATA, 1, validate=lambda m, key=key: {key: 0.5}, callbacks=[stopping])
        assert (stopping.monitor, stopping.mode) == (key, {"rmse": "min", "ndcg@10": "max"}[key])


def test_mode_against_the_default_metric_is_an_error():
    model = Scripted([1.0])
    model.predicts_ratings = True
    with pytest.raises(ConfigError, match=r"mode='max': rmse is monitored by default, of which lower values"):
        run_epochs(model, DATA, 1, validate=lambda m: {"rmse": 1.0}, callbacks=[EarlyStopping(mode="max")])


@pytest.mark.parametrize("measured", [{}, {"auc": 0.5, "recall@5": 0.5}])
def test_monitor_that_cannot_be_chosen_is_an_error(measured):
    with pytest.raises(ConfigError, match=r"name the metric to monitor.*available metrics: (none|auc, recall@5)"):
        run_epochs(Scripted([1.0]), DATA, 1, validate=lambda m: measured, callbacks=[EarlyStopping()])


@pytest.mark.parametrize(("predicts_ratings", "metric"), [(True, "rmse"), (False, "ndcg@10")])
def test_monitoring_an_unmeasured_metric_is_an_error(predicts_ratings, metric):
    model = Scripted([1.0])
    model.predicts_ratings = predicts_ratings
    with pytest.raises(ConfigError, match=rf"'{metric}' is not measured; available metrics: loss; fit with validation"):
        run_epochs(model, DATA, 1, callbacks=[EarlyStopping()])


@pytest.mark.parametrize("bad", [math.nan, math.inf, 1.6])
def test_divergence_is_an_error_with_advice(bad):
    with pytest.raises(TrainingError, match=r"scripted: training diverged in epoch 3: loss .*; try less"):
        run_epochs(Scripted([1.0, 0.9, bad]), DATA, 3)


def test_loss_that_begins_at_zero_is_no_divergence():
    # The softmax over a single item: its loss is 0, and later terms of regularization are not.
    assert len(run_epochs(Scripted([0.0, 0.01, 0.02]), DATA, 3)) == 3


def test_progress_shows_loss_and_metrics_but_not_the_progress_of_validation(listener):
    def validate(model):
        with progress.task("noise"):
            return {"rmse": 0.5}

    run_epochs(Scripted([1.0]), DATA, 1, validate=validate)
    assert listener.started == [("scripted: training", 1, "epochs")]
    assert listener.updates == [(1, {"loss": 1.0, "rmse": 0.5})]


def test_callbacks_of_other_models_are_an_error():
    with pytest.raises(ConfigError, match="ease is not trained in epochs and cannot call callbacks"):
        EASERecommender().fit(DATA, callbacks=[EarlyStopping()])
