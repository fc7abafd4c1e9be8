"""SASRec: the contract of models, and its network and losses against plain formulas."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch
from torch.nn import functional

from recctl.data.dataset import InteractionDataset
from recctl.data.matrix import InteractionMatrix
from recctl.errors import ConfigError
from recctl.models import sasrec
from recctl.models.base.onnx_graph import ScoreGraph
from recctl.models.nn import sasrec as losses
from recctl.models.nn import sasrec_numpy
from recctl.models.nn.dropout import Dropout, drawing_from
from recctl.models.sasrec import SASRecRecommender
from tests.models.suite import ModelSuite, toy

SMALL = {"embedding_dim": 8, "max_length": 30, "epochs": 40, "batch_size": 16, "learning_rate": 0.01, "dropout": 0.1}


class TestSASRec(ModelSuite):
    name = "sasrec"
    hyperparameters = SMALL


def states(model: SASRecRecommender, items: torch.Tensor) -> torch.Tensor:
    """The network's states of one history."""
    n = len(items)
    return model.model(items, torch.arange(n), torch.arange(n), [(1, n)])


def rows_of(histories: list[list[int]], n_items: int) -> InteractionMatrix:
    """Histories as rows of a matrix, each in its order."""
    starts = np.cumsum([0, *map(len, histories)])
    items = np.concatenate([np.array(history, np.int32) for history in histories])
    return InteractionMatrix(starts, items, np.empty(0, np.float32), n_items)


@pytest.mark.parametrize(("n_heads", "similarity"), [(1, "dot"), (2, "dot"), (1, "cosine")])
def test_each_prefix_scores_as_in_one_pass(n_heads: int, similarity: str) -> None:
    model = SASRecRecommender(**{**SMALL, "epochs": 2}, n_heads=n_heads, similarity=similarity).fit(toy())
    items = torch.tensor([3, 1, 4, 1, 5, 9, 2])
    with torch.no_grad():
        once = states(model, items).numpy()
    prefixes = rows_of([items[:end].tolist() for end in range(1, 8)], model.seen.n_columns)
    np.testing.assert_allclose(model._states(prefixes), once, atol=1e-5)


@pytest.mark.parametrize(("n_heads", "similarity"), [(1, "dot"), (2, "cosine")])
def test_torch_numpy_and_onnx_compute_the_same_scores(n_heads: int, similarity: str, tmp_path: Path) -> None:
    """The forward pass exists in torch to train, in numpy to score without importing torch, and in ONNX to export."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from recctl.export import _onnx_file

    model = SASRecRecommender(**{**SMALL, "epochs": 2}, n_heads=n_heads, similarity=similarity).fit(toy())
    histories = [[3, 1, 4, 1, 5, 9, 2], [7], [6, 2]]
    padded = np.full((3, 7), -1, np.int64)
    for row, items in zip(padded, histories, strict=True):
        row[len(row) - len(items) :] = items
    graph = ScoreGraph()
    onnx_scores = model._graph_of_histories(graph, graph.input("histories", np.int64, ("n", "length")))
    graph.output("scores", onnx_scores, np.float32, ("n", model.seen.n_columns))
    _onnx_file.write(graph, tmp_path / "sasrec.onnx", "sasrec", "", {})
    (by_onnx,) = _onnx_file.session(tmp_path / "sasrec.onnx").run(None, {"histories": padded})
    with torch.no_grad():
        network = model.model
        last_states = torch.stack([states(model, torch.tensor(items))[-1] for items in histories])
        by_torch = (last_states @ network.targets().T).numpy()
    by_numpy = model.score_histories(rows_of(histories, model.seen.n_columns))
    np.testing.assert_allclose(by_numpy, by_torch, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(by_onnx, by_torch, rtol=1e-4, atol=1e-4)


def test_states_of_histories_in_blocks_equal_those_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lengths on both sides of every width of a table, of a block, and of `max_length`; and empty histories."""
    model = SASRecRecommender(**{**SMALL, "epochs": 1, "max_length": 20, "n_blocks": 3, "n_heads": 2}).fit(toy())
    drawn = np.random.default_rng(0)
    lengths = drawn.permutation([*range(26), 0, 1, 8, 9, 16, 17, 20, 21, 40])
    histories = [drawn.integers(0, model.seen.n_columns, length).tolist() for length in lengths]
    alone = [model._states(rows_of([history], model.seen.n_columns))[0] for history in histories]
    for history, state in zip(histories, alone, strict=True):
        if history:
            with torch.no_grad():
                expected = states(model, torch.tensor(history[-20:]))[-1].numpy()
            np.testing.assert_allclose(state, expected, atol=1e-5)
        else:
            assert not state.any()
    for positions in (1, 30, 10**6):
        monkeypatch.setattr(sasrec_numpy, "_POSITIONS", positions)
        np.testing.assert_allclose(model._states(rows_of(histories, model.seen.n_columns)), alone, atol=1e-5)


def test_cosine_scores_by_the_cosine_over_the_temperature() -> None:
    model = SASRecRecommender(**SMALL, similarity="cosine", temperature=0.1).fit(toy())
    state = states(model, torch.from_numpy(model.histories.columns[: model.histories.starts[1]]).long())[-1]
    cosines = functional.cosine_similarity(state[None], model.model.item).detach().numpy()
    np.testing.assert_allclose(model.score_users(np.array([0], np.int32))[0], cosines / 0.1, rtol=1e-4, atol=1e-4)


def test_later_items_do_not_change_a_state() -> None:
    model = SASRecRecommender(**{**SMALL, "epochs": 1}).fit(toy())
    with torch.no_grad():
        one, other = (states(model, torch.tensor([3, 1, 4, *rest])) for rest in ([1, 5], [7, 8]))
    assert torch.equal(one[:3], other[:3])
    assert not torch.allclose(one[3:], other[3:])


@pytest.mark.parametrize("loss", ["softmax", "sampled_softmax", "bce", "gbce"])
def test_batch_gradient_equals_the_sum_over_histories(loss: str) -> None:
    model = SASRecRecommender(**{**SMALL, "epochs": 1, "dropout": 0.0}, loss=loss, n_negatives=6).fit(toy())
    network = model.model
    batch = next(model._batches(InteractionDataset(toy()), 0, 16))

    def gradient(batches: list) -> torch.Tensor:
        network.zero_grad(set_to_none=True)
        sum(model._loss(network, part)[0] for part in batches).backward()
        return torch.cat([parameter.grad.reshape(-1) for parameter in network.parameters()])

    owners = (batch[2] == 0).cumsum(0)
    alone = []
    for row in owners.unique():
        inputs, targets, positions, had = (part[owners == row] for part in (*batch[:3], batch[6]))
        alone.append((inputs, targets, positions, torch.arange(len(inputs)), [(1, len(inputs))], batch[5], had))
    torch.testing.assert_close(gradient([batch]), gradient(alone), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 50.0])
def test_softmax_equals_torch_cross_entropy(scale: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(losses, "_POSITIONS", 4)
    monkeypatch.setattr(losses, "_ITEMS", 6)
    drawn = torch.Generator().manual_seed(0)
    hidden, items = (torch.randn(n, 6, generator=drawn).mul(scale).requires_grad_() for n in (11, 20))
    targets = torch.arange(11) % 4
    expected = functional.cross_entropy(hidden @ items.T, targets, reduction="sum")
    found = losses.softmax(hidden, items, targets)
    torch.testing.assert_close(found, expected)
    for a, b in zip(
        torch.autograd.grad(3 * found, [hidden, items]), torch.autograd.grad(3 * expected, [hidden, items]), strict=True
    ):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4 * scale)


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5])
def test_dropout_zeroes_its_share_and_keeps_the_mean(share: float) -> None:
    ones = torch.ones(301, 333, requires_grad=True)
    layer = Dropout(share)
    with drawing_from(torch.Generator().manual_seed(0), layer):
        found = layer(ones)
    assert found.eq(0).float().mean() == pytest.approx(share, abs=0.01)
    assert found.unique().tolist() == pytest.approx(sorted({0.0, 1 / (1 - share)} if share else {1.0}), abs=1e-4)
    found.sum().backward()
    assert torch.equal(ones.grad, found)


def test_sampled_losses_equal_their_formulas() -> None:
    drawn = torch.Generator().manual_seed(0)
    hidden, items = (torch.randn(n, 6, generator=drawn) for n in (5, 20))
    targets, negatives = torch.arange(5), torch.tensor([9, 3, 11])
    histories = [{0, 11}, {1}, {2, 3}, {3, 9}, {4, 3, 9, 11}]
    had = torch.tensor([[int(j) in history for j in negatives] for history in histories])
    softmax = bce = 0.0
    for h, target, history in zip(hidden, targets, histories, strict=True):
        others = [float(h @ items[j]) for j in negatives if int(j) not in history]
        positive = float(h @ items[target])
        rest = 19 / 3 * sum(np.exp(others))
        softmax -= np.log(np.exp(positive) / (np.exp(positive) + rest))
        bce += 0.3 * np.log1p(np.exp(-positive)) + sum(np.log1p(np.exp(other)) for other in others)
    assert float(losses.sampled_softmax(hidden, items, targets, negatives, had)) == pytest.approx(softmax, rel=1e-4)
    assert float(losses.binary(hidden, items, targets, negatives, had, 0.3)) == pytest.approx(bce, rel=1e-4)


def test_learns_the_order_of_timestamps_not_of_rows() -> None:
    rows = toy()[["user_id"]].assign(item_id=0).groupby("user_id").head(6).reset_index(drop=True)
    rows["timestamp"] = rows.groupby("user_id").cumcount()
    rows["item_id"] = (rows.user_id + rows.timestamp) % 10
    model = SASRecRecommender(**{**SMALL, "epochs": 60}).fit(rows.sample(frac=1, random_state=0))
    assert model.recommend_for_history([[3, 4, 5], [7, 8]], k=1).item_id.tolist() == [6, 9]


def test_indivisible_heads_are_an_error() -> None:
    with pytest.raises(ConfigError, match="embedding_dim=8 is not a multiple of n_heads=3"):
        SASRecRecommender(**SMALL, n_heads=3).fit(toy())


@pytest.mark.parametrize("loss", ["sampled_softmax", "bce"])
def test_negatives_are_not_in_the_history(loss: str) -> None:
    model = SASRecRecommender(**{**SMALL, "epochs": 1, "max_length": 3}, loss=loss, n_negatives=20).fit(toy())
    rows = model._trainable[:9]
    negatives = next(model._batches(InteractionDataset(toy()), 0, 16))[5].numpy()
    assert len(set(negatives)) == 20
    had = model._seen_negatives(rows, negatives)
    for user, marked in zip(rows, had, strict=True):
        history = model.histories.columns[model.histories.starts[user] : model.histories.starts[user + 1]]
        assert marked.tolist() == np.isin(negatives, history).tolist()


@pytest.mark.parametrize("loss", ["sampled_softmax", "bce", "gbce"])
def test_users_with_all_items_leave_the_weights_finite(loss: str) -> None:
    rows = pd.DataFrame({"user_id": np.repeat([1, 2], 5), "item_id": np.tile(range(5), 2), "timestamp": range(10)})
    model = SASRecRecommender(**{**SMALL, "epochs": 3}, loss=loss).fit(rows)
    assert np.isfinite(model.weights).all()


def test_windows_cover_each_next_item_once_and_change_every_epoch() -> None:
    model = SASRecRecommender(**{**SMALL, "epochs": 1, "max_length": 3}).fit(toy())
    histories, cuts = model.histories, set()
    for epoch in range(20):
        users, begins, lengths = model._windows(epoch)
        assert (lengths >= 1).all()
        assert (lengths <= 3).all()
        targets = np.concatenate(
            [np.arange(begin + 1, begin + 1 + n) for begin, n in zip(begins, lengths, strict=True)]
        )
        firsts = histories.starts[:-1][np.diff(histories.starts) > 0]
        np.testing.assert_array_equal(targets, np.setdiff1d(np.arange(len(histories.columns)), firsts))
        assert ((begins >= histories.starts[users]) & (begins + lengths < histories.starts[users + 1])).all()
        cuts.add(tuple(lengths))
    assert len(cuts) > 10
    counts = np.mean([len(model._windows(epoch)[0]) for epoch in range(200)])
    assert model._n_batches(InteractionDataset(toy()), 1) == pytest.approx(counts, rel=0.03)


def test_last_window_is_the_end_of_each_history() -> None:
    model = SASRecRecommender(**{**SMALL, "epochs": 1, "max_length": 3}, windows="last").fit(toy())
    users, begins, lengths = model._windows(0)
    np.testing.assert_array_equal(begins + lengths + 1, model.histories.starts[users + 1])
    np.testing.assert_array_equal(lengths, np.minimum(np.diff(model.histories.starts)[users] - 1, 3))
    assert model._n_batches(InteractionDataset(toy()), 1) == len(users)


def test_every_loss_has_an_entry_in_the_tables_of_losses() -> None:
    losses = set(get_args(SASRecRecommender.parameters["loss"].annotation))
    assert losses == set(sasrec._USES_NEGATIVES)
