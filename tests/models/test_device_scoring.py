"""Scores, training and validation on a device that is not the CPU.

No GPU is needed: `shim_device` is a device of torch that computes on the CPU. The oracle is the scores by numpy.
"""

from __future__ import annotations

import copy
import pickle
import threading
from typing import Any

import numpy as np
import pytest
import torch

from recctl import (
    InteractionDataset,
    LightGCNRecommender,
    MultVAERecommender,
    NCFRecommender,
    SASRecRecommender,
    progress,
)
from recctl.data.matrix import InteractionMatrix
from recctl.errors import TrainingError
from recctl.models.nn import batches, devices, flat_weights
from recctl.models.nn.device_scorer import DeviceScorer
from tests.models import shim_device
from tests.models.suite import toy

SMALL: dict[str, Any] = {"embedding_dim": 8, "epochs": 2, "learning_rate": 0.01}
LAYERS: dict[str, Any] = {"hidden_layers": [16, 8], "dropout": 0.0}
MODELS = {
    "ncf": lambda **values: NCFRecommender(**SMALL, **LAYERS, **values),
    "ncf-gmf": lambda **values: NCFRecommender(**SMALL, **LAYERS, variant="gmf", **values),
    "ncf-mlp": lambda **values: NCFRecommender(**SMALL, **LAYERS, variant="mlp", **values),
    "lightgcn": lambda **values: LightGCNRecommender(**SMALL, n_layers=2, **values),
    "lightgcn-bpr": lambda **values: LightGCNRecommender(**SMALL, n_layers=1, loss="bpr", **values),
    "mult-vae": lambda **values: MultVAERecommender(**SMALL, hidden_layers=[12, 10], dropout=0.0, **values),
    "sasrec": lambda **values: SASRecRecommender(**SMALL, n_heads=2, max_length=9, dropout=0.0, **values),
    "sasrec-cosine": lambda **values: SASRecRecommender(**SMALL, similarity="cosine", dropout=0.0, **values),
}


def histories_of(model: Any) -> InteractionMatrix:
    """Histories of new users of all lengths up to 24, with an empty one first, in the middle and at the end."""
    drawn = np.random.default_rng(0)
    n_items = model.seen.n_columns
    lengths = [0, *drawn.permutation(24), 0, 5, 0]
    items = [drawn.choice(n_items, length, replace=False).astype(np.int32) for length in lengths]
    if not model.reads_order:
        items = [np.sort(history) for history in items]
    starts = np.cumsum([0, *lengths])
    return InteractionMatrix(starts, np.concatenate(items), np.empty(0, np.float32), n_items)


def scorer_on(model: Any, device: torch.device, bytes_per_row: int = 1) -> DeviceScorer:
    network = model._new_network().to(device)
    flat_weights.use(torch.from_numpy(model.weights).to(device), network)
    return DeviceScorer(network, device, bytes_per_row)


class _CPUGenerator(torch.Generator):
    """Backends in Python have no generators of their own. Dropout, which would need one, is 0 here."""

    def __new__(cls, device: Any = None) -> _CPUGenerator:
        return super().__new__(cls)


def select_shim(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(devices, "select", lambda *_: shim_device.DEVICE)
    patch.setattr(torch, "Generator", _CPUGenerator)


@pytest.fixture
def shim(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Makes `device: auto` select the device of `shim_device`, as it would a GPU."""
    select_shim(monkeypatch)
    shim_device.operations.clear()
    shim_device.copied_to_device.clear()
    shim_device.copied_to_host.clear()
    return shim_device


def assert_equal_lists(scores: np.ndarray, expected: np.ndarray, k: int = 10) -> None:
    """The same k best items in the same order, except among items whose expected scores are equal to 1e-5."""
    found = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    best = np.argsort(-expected, axis=1, kind="stable")[:, :k]
    rows = np.arange(len(scores))[:, None]
    np.testing.assert_allclose(expected[rows, found], expected[rows, best], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("device", [torch.device("cpu"), shim_device.DEVICE], ids=["cpu", "shim"])
def test_scores_by_torch_equal_those_by_numpy(name: str, device: torch.device) -> None:
    model = MODELS[name](device="cpu").fit(toy())
    scorer = scorer_on(model, device)
    users = np.array([3, 0, 39, 3], np.int32)
    known = scorer.scores(
        4, model.seen.n_columns, lambda rows: model._scoring_inputs(model.seen.take(users[rows]), users[rows])
    )
    histories = histories_of(model)
    numbers = np.arange(histories.n_rows, dtype=np.int32)
    new = scorer.scores(
        len(numbers), model.seen.n_columns, lambda rows: model._scoring_inputs(histories.take(numbers[rows]), None)
    )
    for scores, expected in ((known, model.score_users(users)), (new, model.score_histories(histories))):
        assert (scores.dtype, scores.shape, scores.flags.c_contiguous) == (np.float32, expected.shape, True)
        np.testing.assert_allclose(scores, expected, rtol=1e-5, atol=1e-5)
        assert_equal_lists(scores, expected)


@pytest.mark.parametrize("name", ["ncf", "lightgcn", "lightgcn-bpr", "mult-vae", "sasrec"])
def test_fit_validation_and_recommendations_on_the_device_equal_those_of_the_cpu(
    name: str, shim: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_cpu = MODELS[name](device="cpu")
    with monkeypatch.context() as patch:
        patch.setattr(devices, "select", lambda *_: torch.device("cpu"))
        on_cpu.fit(toy(), validation=InteractionDataset(toy(1)))
    users = [100, 103, 139]
    expected = on_cpu.recommend(users)

    def score_by_numpy(*_: Any) -> None:
        raise AssertionError("numpy must not compute scores where there is a GPU")

    model = MODELS[name]()
    monkeypatch.setattr(type(model), "_score", score_by_numpy)
    model.fit(toy(), validation=InteractionDataset(toy(1)))
    np.testing.assert_allclose(model.weights, on_cpu.weights, rtol=1e-2, atol=2e-3)
    np.testing.assert_allclose(model.recommend(users)["score"], expected["score"], rtol=1e-2, atol=2e-3)


def test_weights_are_copied_to_the_host_only_when_they_are_read(shim: Any) -> None:
    model = MODELS["ncf"]()
    model.train_epoch(toy())
    weights = model.weights
    n_weights = weights.size
    shim.copied_to_host.clear()
    for _ in range(3):
        model.train_epoch(toy())
        model.score_users(np.arange(40, dtype=np.int32))
    assert n_weights not in shim.copied_to_host
    before = weights.copy()
    assert model.weights is weights
    assert (weights != before).any()
    _ = model.weights
    assert shim.copied_to_host.count(n_weights) == 1
    assert model.snapshot()["weights"].tolist() == weights.tolist()


def test_failed_epoch_leaves_the_weights_of_the_previous_one_on_the_device(
    shim: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = MODELS["ncf"](batch_size=64)
    users = np.arange(40, dtype=np.int32)
    for _ in range(2):
        model.train_epoch(toy())
    scores = model.score_users(users)
    loss = NCFRecommender._loss
    losses: list[int] = []

    def failing_loss(*arguments: Any) -> Any:
        losses.append(1)
        if len(losses) > 2:
            raise RuntimeError("device lost")
        return loss(*arguments)

    monkeypatch.setattr(NCFRecommender, "_loss", failing_loss)
    with pytest.raises(RuntimeError, match="device lost"):
        model.train_epoch(toy())
    assert (len(losses), model.best_epoch) == (3, 2)
    np.testing.assert_array_equal(model.score_users(users), scores)
    np.testing.assert_allclose(model._score(model.seen, users), scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
def test_copy_of_a_model_in_training_has_the_weights_of_the_device(shim: Any, copied: Any) -> None:
    model = MODELS["ncf"]()
    for _ in range(2):
        model.train_epoch(toy())
    other = copied(model)
    model.train_epoch(toy())
    other.train_epoch(toy())
    np.testing.assert_array_equal(other.weights, model.weights)


def test_restored_weights_reach_the_device(shim: Any) -> None:
    model = MODELS["lightgcn"]()
    users = np.arange(40, dtype=np.int32)
    model.train_epoch(toy())
    snapshot = model.snapshot()
    scores = model.score_users(users)
    model.train_epoch(toy())
    assert (model.score_users(users) != scores).any()
    model.restore(snapshot)
    np.testing.assert_array_equal(model.score_users(users), scores)


def test_free_memory_of_the_device_bounds_the_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS["sasrec"](device="cpu").fit(toy())
    users = np.arange(40, dtype=np.int32)
    monkeypatch.setattr(devices, "free_memory", lambda device: 2 * 7 * 100)
    scorer = scorer_on(model, torch.device("cpu"), bytes_per_row=100)
    rows_of_batches = []

    def inputs(rows: slice) -> Any:
        rows_of_batches.append((rows.start, rows.stop))
        return model._scoring_inputs(model.seen.take(users[rows]), users[rows])

    scores = scorer.scores(40, model.seen.n_columns, inputs)
    np.testing.assert_allclose(scores, model.score_users(users), rtol=1e-5, atol=1e-5)
    assert rows_of_batches == [(0, 7), (7, 14), (14, 21), (21, 28), (28, 35), (35, 40)]


@pytest.mark.parametrize("name", ["ncf", "lightgcn", "sasrec"])
def test_out_of_memory_halves_the_batches_of_scores(name: str, shim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS[name]().fit(toy())
    users = np.arange(40, dtype=np.int32)
    expected = model.score_users(users)
    network_class = type(model._device_scorer().network)
    compute = network_class.scores
    sizes = []
    limit = 11

    def limited(network: Any, *inputs: Any) -> torch.Tensor:
        result = compute(network, *inputs)
        sizes.append(len(result))
        if len(result) > limit:
            raise torch.OutOfMemoryError("out of memory")
        return result

    monkeypatch.setattr(network_class, "scores", limited)
    np.testing.assert_allclose(model.score_users(users), expected, rtol=1e-5, atol=1e-5)
    assert sizes == [40, 20, 10, 10, 10, 10]
    sizes.clear()
    model.score_users(users)
    assert sizes == [10, 10, 10, 10]
    limit = 0
    with pytest.raises(TrainingError, match="out of memory with the scores of one user"):
        model.score_users(users)


def test_other_errors_of_the_device_propagate(shim: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MODELS["ncf"]().fit(toy())
    monkeypatch.setattr(type(model), "_scoring_inputs", lambda *_: (torch.zeros(2), None))
    with pytest.raises(RuntimeError, match="index"):
        model.score_users(np.arange(2, dtype=np.int32))


def test_model_file_of_a_gpu_machine_answers_on_the_cpu(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        select_shim(patch)
        model = MODELS["sasrec"](device="cuda:1").fit(toy())
        expected = model.recommend([100, 120])
        model.save(tmp_path / "model.pkl")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    notices: list[str] = []
    monkeypatch.setattr(progress, "notice", notices.append)
    loaded = SASRecRecommender.load(tmp_path / "model.pkl")
    for _ in range(2):
        found = loaded.recommend([100, 120])
        np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-4, atol=1e-4)
    assert loaded.device == "cuda:1"
    assert notices == ["sasrec: device='cuda:1': not found on this machine; the CPU computes the scores"]


def test_batches_are_made_one_ahead_and_unchanged() -> None:
    model = MODELS["lightgcn"](device="cpu").fit(toy())
    data = InteractionDataset(toy())
    expected = list(model._batches(data, 0, 100))
    made: list[int] = []

    def recorded() -> Any:
        for number, batch in enumerate(model._batches(data, 0, 100)):
            made.append(number)
            yield batch

    prefetched = batches.prefetched(recorded(), torch.device("cpu"))
    for number, batch in enumerate(expected):
        found = next(prefetched)
        assert type(found) is type(batch)
        assert torch.equal(found.nodes, batch.nodes)
        assert len(made) <= number + 2
    assert next(prefetched, None) is None


def test_training_with_prefetched_batches_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = MODELS["ncf"](device="cpu", accumulation_steps=2).fit(toy()).weights
    make = NCFRecommender._batches

    def made_ahead(*arguments: Any) -> Any:
        return batches.prefetched(iter(make(*arguments)), torch.device("cpu"))

    monkeypatch.setattr(NCFRecommender, "_batches", made_ahead)
    np.testing.assert_array_equal(MODELS["ncf"](device="cpu", accumulation_steps=2).fit(toy()).weights, expected)


def test_error_while_making_a_batch_reaches_the_caller() -> None:
    def failing() -> Any:
        yield 1
        raise ValueError("no batch")

    prefetched = batches.prefetched(failing(), torch.device("cpu"))
    assert next(prefetched) == 1
    with pytest.raises(ValueError, match="no batch"):
        next(prefetched)


def test_abandoned_batches_end_their_thread() -> None:
    prefetched = batches.prefetched(iter(range(100)), torch.device("cpu"))
    assert next(prefetched) == 0
    names = [thread.name for thread in threading.enumerate() if thread.name.startswith("recctl-batches")]
    assert len(names) == 1
    prefetched.close()
    assert not [thread for thread in threading.enumerate() if thread.name in names]


def test_every_tensor_of_a_batch_moves_to_the_device(shim: Any) -> None:
    model = MODELS["sasrec"](device="cpu").fit(toy())
    batch = next(model._batches(InteractionDataset(toy()), 0, 16))
    moved = batches.to_device(batch, shim.DEVICE)
    assert [part.device.type for part in moved if isinstance(part, torch.Tensor)] == ["shim"] * 6
    assert moved[4] == batch[4]
    nested = batches.to_device({"a": [torch.ones(2), 3], "b": (None, "text")}, shim.DEVICE)
    assert (nested["a"][0].device, nested["a"][1], nested["b"]) == (shim.DEVICE, 3, (None, "text"))
