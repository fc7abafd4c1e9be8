from typing import get_args

import numpy as np
import pandas as pd
import pytest
import torch

from recctl import Evaluator, InteractionDataset
from recctl.data.synthetic import generate
from recctl.errors import ArtifactError
from recctl.kernels import propagation
from recctl.kernels.negative_sampling import hardest
from recctl.models import lightgcn
from recctl.models.lightgcn import LightGCNRecommender
from recctl.models.nn import lightgcn as nn_lightgcn
from recctl.models.nn.lightgcn import _hardest_by_torch, _mean_by_torch, sampled_softmax
from tests.models.suite import ModelSuite, checkerboard, toy

SMALL = {"embedding_dim": 8, "n_layers": 2, "epochs": 30, "batch_size": 256, "learning_rate": 0.03}


class TestLightGCN(ModelSuite):
    name = "lightgcn"
    hyperparameters = SMALL
    history_based = False


def begun(rows=None, **hyperparameters):
    """A model before its first epoch."""
    model = LightGCNRecommender(**{**SMALL, **hyperparameters})
    model._initialize(InteractionDataset(toy() if rows is None else rows))
    return model


def adjacency(seen):
    """D^-1/2 A D^-1/2 of the paper, dense, float64."""
    R = seen.to_scipy().toarray().astype(np.float64)
    A = np.block([[np.zeros((len(R), len(R))), R], [R.T, np.zeros((R.shape[1], R.shape[1]))]])
    D = np.diag(1 / np.sqrt(A.sum(axis=1)))
    return D @ A @ D


def layer_mean(A, E, n_layers):
    return sum(np.linalg.matrix_power(A, k) @ E for k in range(n_layers + 1)) / (n_layers + 1)


@pytest.mark.parametrize("n_layers", [1, 2, 3])
@pytest.mark.parametrize("dim", [1, 8, 13])
def test_propagation_equals_dense_products(n_layers, dim):
    model = begun(n_layers=n_layers, embedding_dim=dim)
    E = layer_mean(adjacency(model.seen), model._vectors.astype(np.float64), n_layers)
    np.testing.assert_allclose(np.concatenate(model._final), E, rtol=1e-4, atol=1e-6)


def test_propagation_does_not_depend_on_threads_or_buffers(monkeypatch):
    monkeypatch.setattr(propagation, "_EDGES_PER_TASK", 50)
    model = begun(n_layers=3)
    results = []
    graph = model._graph
    for threads in ("1", "3"):
        monkeypatch.setenv("RECCTL_THREADS", threads)
        buffers = np.full_like(model._vectors, np.nan), np.full_like(model._vectors, np.nan)
        for buffers_or_none in (None, buffers):
            arguments = graph.starts, graph.columns, graph.values, model._vectors, 3, buffers_or_none
            results.append(propagation.propagate(*arguments))
    monkeypatch.undo()
    results.append(np.concatenate(model._final))
    assert all((result == results[0]).all() for result in results)


def dense_loss(model, batch, E0):
    """The loss of a batch by the formulas of the docstring, on the dense graph, for torch to differentiate."""
    A = torch.from_numpy(adjacency(model.seen))
    E = sum(torch.linalg.matrix_power(A, k) @ E0 for k in range(model.n_layers + 1)) / (model.n_layers + 1)
    n, n_users = batch.n_pairs, model.seen.n_rows
    users, items, others = batch.nodes[:n], batch.nodes[n : 2 * n], batch.nodes[2 * n :]
    if batch.candidates is not None:
        scores = (E[batch.candidates] * E[users][:, None]).sum(2)
        others = batch.candidates[torch.arange(n), scores.argmax(1)]
    if model.loss == "bpr":
        margins = (E[users] * E[items]).sum(1) - (E[users] * E[others]).sum(1)
        return (
            -torch.log(torch.sigmoid(margins)).sum()
            + model.reg / 2 * (E0[torch.cat((users, items, others))] ** 2).sum()
        )
    total = model.reg / 2 * (E0[batch.nodes[: 2 * n]] ** 2).sum()
    if model.loss == "mean_bpr":  # a negative is regularised once a pair, as with bpr
        total = total + model.reg / 2 * n * (E0[others] ** 2).sum(dim=1).mean()
    unit = E / E.norm(dim=1, keepdim=True)
    had = model.seen.to_scipy().toarray() > 0
    for u, i in zip(users.tolist(), items.tolist(), strict=True):
        free = [j for j in others.tolist() if not had[u, j - n_users]]
        if model.loss == "mean_bpr":
            total = total - torch.log(torch.sigmoid((E[i] - E[free]) @ E[u])).mean()
            continue
        negative = torch.exp(unit[free] @ unit[u] / model.temperature).sum() * model.seen.n_columns / len(others)
        positive = torch.exp(unit[i] @ unit[u] / model.temperature)
        total = total - torch.log(positive / (positive + negative))
    return total


@pytest.mark.parametrize(
    "hyperparameters",
    [
        {"loss": "bpr"},
        {"loss": "bpr", "n_layers": 1, "reg": 0.0},
        {"loss": "bpr", "hardest_of": 5},
        {"loss": "mean_bpr", "n_negatives": 30},
        {"loss": "mean_bpr", "n_negatives": 9, "n_layers": 1, "reg": 0.0},
        {"loss": "sampled_softmax"},
        {"loss": "sampled_softmax", "n_negatives": 7, "n_layers": 3, "temperature": 0.05},
        {"loss": "sampled_softmax", "n_negatives": 1},
    ],
)
def test_loss_and_gradient_equal_those_of_the_dense_graph(hyperparameters):
    model = begun(**{"reg": 0.1, **hyperparameters})
    network = model._trainer.network
    for batch in list(model._batches(InteractionDataset(toy()), 0, 100))[-2:]:
        loss, n = model._loss(network, batch)
        assert n == batch.n_pairs
        network.vectors.grad.zero_()
        loss.backward()
        E0 = torch.from_numpy(model._vectors.astype(np.float64)).requires_grad_()
        expected = dense_loss(model, batch, E0)
        expected.backward()
        assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
        scale = float(E0.grad.abs().max())
        np.testing.assert_allclose(network.vectors.grad, E0.grad, rtol=1e-3, atol=1e-4 * scale)


def test_softmax_in_blocks_equals_that_of_torch():
    generator = torch.Generator().manual_seed(0)
    users, items, others = (torch.randn(n, 5, generator=generator) for n in (1100, 1100, 40))
    inputs = [part.requires_grad_() for part in (users, items, others)]
    drawn = torch.rand(1100, 40, generator=generator) < 0.1
    had = torch.cat((torch.zeros(1, dtype=torch.int64), drawn.sum(1).cumsum(0))), drawn.nonzero()[:, 1]
    loss = sampled_softmax(*inputs, had, 3.0)
    negative = (users @ others.T).masked_fill(drawn, -torch.inf) + np.log(3.0)
    logits = torch.cat(((users * items).sum(1)[:, None], negative), dim=1)
    expected = torch.nn.functional.cross_entropy(logits, torch.zeros(1100, dtype=torch.int64), reduction="sum")
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    for ours, theirs in zip(
        torch.autograd.grad(2 * loss, inputs), torch.autograd.grad(2 * expected, inputs), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("loss", ["bpr", "sampled_softmax"])
def test_epoch_has_every_interaction_once_and_only_unseen_negatives(loss):
    model = begun(loss=loss, n_negatives=11)
    seen, pairs = model.seen.to_scipy().toarray() > 0, []
    for batch in model._batches(InteractionDataset(toy()), 3, 64):
        n = batch.n_pairs
        users, items, others = batch.nodes[:n], batch.nodes[n : 2 * n] - 40, batch.nodes[2 * n :] - 40
        pairs += zip(users.tolist(), items.tolist(), strict=True)
        if loss == "bpr":
            assert not seen[users, others].any()
        else:
            assert len(set(others.tolist())) == 11
            starts, had = batch.seen
            rows = np.repeat(np.arange(n), np.diff(starts))
            marked = np.zeros((n, 11), bool)
            marked[rows, had] = True
            np.testing.assert_array_equal(marked, seen[users][:, others])
    assert sorted(pairs) == list(zip(*map(np.ndarray.tolist, np.nonzero(seen)), strict=True))


@pytest.mark.parametrize("dim", [1, 8, 13])
def test_hardest_negative_has_the_highest_score_for_any_threads(dim, monkeypatch):
    draws = np.random.default_rng(0)
    vectors = draws.normal(size=(90, dim)).astype(np.float32)
    users, candidates = draws.integers(0, 40, 2500), draws.integers(40, 90, (2500, 7))
    candidates[:, 5] = candidates[:, 2]  # of equals, the first
    scores = (vectors[candidates].astype(np.float64) * vectors[users][:, None]).sum(axis=2)
    expected = candidates[np.arange(2500), scores.argmax(axis=1)]
    for threads in ("1", "3"):
        monkeypatch.setenv("RECCTL_THREADS", threads)
        np.testing.assert_array_equal(hardest(vectors, users, candidates), expected)
    given = (torch.from_numpy(part) for part in (vectors, users, candidates))
    np.testing.assert_array_equal(_hardest_by_torch(*given).numpy(), expected)


def test_candidates_are_unseen_items():
    model = begun(loss="bpr", hardest_of=6)
    seen = model.seen.to_scipy().toarray() > 0
    drawn = []
    for batch_size in (64, 100):
        batches = list(model._batches(InteractionDataset(toy()), 3, batch_size))
        for batch in batches:
            assert batch.candidates.shape == (batch.n_pairs, 6)
            assert batch.nodes.shape == (2 * batch.n_pairs,)
            assert not seen[batch.nodes[: batch.n_pairs, None], batch.candidates - 40].any()
        drawn.append(torch.cat([batch.candidates for batch in batches]))
    torch.testing.assert_close(*drawn)  # the same ones, however they are divided into batches


def test_hardest_negatives_rank_better_after_the_same_epochs():
    rows = generate(300, 200, 6000, seed=3)
    train, validation = InteractionDataset(rows).split(0.2, seed=0)[:2]
    found = {}
    for hardest_of in (1, 16):
        model = LightGCNRecommender(**{**SMALL, "epochs": 4}, loss="bpr", hardest_of=hardest_of).fit(train)
        found[hardest_of] = Evaluator(["ndcg"], [10]).evaluate(model, validation)["ndcg@10"]
    assert found[16] > found[1]


def test_sampling_users_is_uniform_over_users_and_their_items():
    rows = toy()
    rows = pd.concat([rows, rows[rows.user_id == rows.user_id.iloc[0]].assign(item_id=lambda r: r.item_id + 1000)])
    model = begun(rows, sampling="users")
    seen = model.seen
    drawn = np.concatenate([model._order(np.random.default_rng(i)) for i in range(400)])
    assert len(drawn) == 400 * seen.nnz
    counts = np.bincount(drawn, minlength=seen.nnz)
    lengths = np.diff(seen.starts)
    expected = len(drawn) / np.count_nonzero(lengths) / np.repeat(lengths, lengths)
    # Pearson's statistic has as many degrees of freedom; this seed's draws are not far out.
    statistic = ((counts - expected) ** 2 / expected).sum()
    assert abs(statistic - seen.nnz) < 5 * np.sqrt(2 * seen.nnz)


def test_bpr_of_the_paper_solves_the_checkerboard():
    best = LightGCNRecommender(**SMALL, loss="bpr").fit(checkerboard()).recommend(range(50), k=1)
    assert best.item_id.tolist() == list(range(50))


def test_dropped_edges_are_symmetric_and_the_others_scaled_up():
    model = begun(edge_dropout=0.25)
    (batch, *_) = model._batches(InteractionDataset(toy()), 0, 64)
    graph = model._graph
    whole, kept = (
        np.asarray(type(graph)(graph.starts, graph.columns, values, graph.n_columns).to_scipy().toarray())
        for values in (graph.values, batch.values.numpy())
    )
    np.testing.assert_array_equal(kept, kept.T)
    factors = kept[whole > 0] / whole[whole > 0]
    assert set(np.round(factors, 5)) == {0.0, np.float32(1.33333)}
    assert 0.15 < (factors == 0).mean() < 0.35
    fitted = LightGCNRecommender(**SMALL, edge_dropout=0.2).fit(checkerboard())
    assert fitted.recommend([0], k=1).item_id[0] == 0


@pytest.mark.parametrize("loss", ["bpr", "sampled_softmax"])
@pytest.mark.parametrize("n_layers", [1, 3])
def test_new_user_is_propagated_from_items(loss, n_layers):
    model = LightGCNRecommender(**{**SMALL, "loss": loss, "n_layers": n_layers, "epochs": 3}).fit(toy())
    A, E0 = adjacency(model.seen), model._vectors.astype(np.float64)
    history = np.array([2, 5, 11])
    # The stranger's row of the graph, and a row of zeros for its own vector; its items keep their degrees.
    degrees = model.seen.column_counts()[history]
    row = np.zeros(len(A))
    row[model.seen.n_rows + history] = 1 / np.sqrt(3 * degrees)
    stranger = sum(row @ np.linalg.matrix_power(A, k) @ E0 for k in range(n_layers)) / (n_layers + 1)
    items = layer_mean(A, E0, n_layers)[model.seen.n_rows :]
    if loss == "sampled_softmax":
        stranger, items = stranger / np.linalg.norm(stranger), items / np.linalg.norm(items, axis=1, keepdims=True)
    ids = model.item_vocabulary.ids
    best = model.recommend_for_history([ids[history]], k=25, exclude_seen=False).sort_values("item_id")
    np.testing.assert_allclose(best.score, items @ stranger, rtol=1e-3, atol=1e-5)


def test_weights_of_another_size_are_an_error():
    model = begun()
    model.weights = model.weights[:-8]
    with pytest.raises(ArtifactError, match=r"lightgcn: 512 weights, not 65 x 8"):
        model.recommend([100])


@pytest.mark.parametrize("hyperparameters", [{"loss": "bpr"}, {"n_negatives": 7, "edge_dropout": 0.2}])
def test_training_from_a_state_gives_the_same_weights(hyperparameters):
    data = InteractionDataset(toy())
    whole, first = begun(**hyperparameters), begun(**hyperparameters)
    for _ in range(4):
        whole.train_epoch(data)
    for _ in range(2):
        first.train_epoch(data)
    second = begun(**hyperparameters)
    second.set_training_state(first.training_state())
    for _ in range(2):
        second.train_epoch(data)
    np.testing.assert_array_equal(second.weights, whole.weights)


def test_accumulated_batches_equal_one_large_batch():
    large = begun(loss="bpr", batch_size=256)
    small = begun(loss="bpr", batch_size=64, accumulation_steps=4)
    for model in (large, small):
        model.train_epoch(InteractionDataset(toy()))
    np.testing.assert_allclose(small.weights, large.weights, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("has_sparse_matrices", [True, False])
def test_torch_propagation_equals_the_kernel(has_sparse_matrices, monkeypatch):
    if not has_sparse_matrices:  # as on the GPUs of Macs
        monkeypatch.setattr(nn_lightgcn, "_has_sparse_matrices", lambda device: False)
    model = begun(n_layers=3)
    graph = model._graph
    parts = (torch.from_numpy(part) for part in (graph.starts, graph.columns, graph.values, model._vectors))
    mean = _mean_by_torch(*parts, 3)
    np.testing.assert_allclose(mean, np.concatenate(model._final), rtol=1e-4, atol=1e-6)


def test_trains_in_bfloat16():
    best = LightGCNRecommender(**SMALL, precision="bfloat16").fit(checkerboard()).recommend(range(50), k=1)
    assert best.item_id.tolist() == list(range(50))


def test_every_loss_has_an_entry_in_the_tables_of_losses() -> None:
    losses = set(get_args(LightGCNRecommender.parameters["loss"].annotation))
    assert losses == set(lightgcn._SHARES_NEGATIVES)
    assert losses == set(lightgcn._RANKS_BY_COSINE)
