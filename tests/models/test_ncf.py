import copy

import numpy as np
import pandas as pd
import pytest
import torch

from recctl import EarlyStopping, InteractionDataset, NCFRecommender
from recctl.errors import DataError
from recctl.kernels.negative_sampling import sample_negatives
from recctl.models.nn.dropout import ReLUAndDropout
from tests.models.suite import ModelSuite, checkerboard, toy

SMALL = {
    "embedding_dim": 8,
    "hidden_layers": [16, 8],
    "epochs": 20,
    "batch_size": 256,
    "learning_rate": 0.03,
    "dropout": 0.0,
}


class TestNCF(ModelSuite):
    name = "ncf"
    hyperparameters = SMALL
    history_based = False


def network_logits(model: NCFRecommender) -> np.ndarray:
    """Every user and item through the whole network."""
    n_users, n_items = model.seen.n_rows, model.seen.n_columns
    users = torch.arange(n_users)
    items = torch.arange(n_items).expand(n_users, -1)
    network = model.model
    with torch.no_grad():
        return (sum(network(users, items)) + network.bias).numpy()


def exact_loss(weights: dict[str, np.ndarray], users: np.ndarray, items: np.ndarray, separate_losses: bool) -> float:
    """The sum of cross-entropies in float64, pair by pair as in the paper (eq. 7 and 12), without dropout."""
    total = 0.0
    for user, row in zip(users, items, strict=True):
        for column, item in enumerate(row):
            parts = []
            if "user_gmf" in weights:
                parts.append(weights["out_gmf"] @ (weights["user_gmf"][user] * weights["item_gmf"][item]))
            if "user_mlp" in weights:
                both = np.concatenate([weights["user_mlp"][user], weights["item_mlp"][item]])
                first = np.concatenate([weights["first_user"], weights["first_item"]], axis=1)
                hidden = np.maximum(first @ both + weights["first_bias"], 0)
                number = 0
                while f"layers.{number}" in weights:
                    hidden = np.maximum(weights[f"layers.{number}"] @ hidden + weights[f"biases.{number}"], 0)
                    number += 1
                parts.append(weights["out_mlp"] @ hidden)
            logits = parts if separate_losses else [sum(parts)]
            sign = -1 if column == 0 else 1  # the first item of a row is the interaction
            losses = [np.log1p(np.exp(sign * (logit + weights["bias"]))) for logit in logits]
            total += sum(losses) / len(losses)
    return float(total)


@pytest.mark.parametrize("variant", ["neumf", "gmf", "mlp"])
@pytest.mark.parametrize("layers", [[16, 8], [12]])
def test_catalog_scores_equal_network_logits(variant: str, layers: list[int]) -> None:
    model = NCFRecommender(**{**SMALL, "variant": variant, "hidden_layers": layers, "epochs": 2}).fit(toy())
    scores = model.score_users(np.arange(40, dtype=np.int32))
    np.testing.assert_allclose(scores, network_logits(model), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["gmf", "mlp"])
def test_each_part_alone_solves_the_checkerboard(variant: str) -> None:
    best = NCFRecommender(**SMALL, variant=variant).fit(checkerboard()).recommend(range(50), k=1)
    assert best.item_id.tolist() == list(range(50))


def test_new_user_gets_the_items_of_similar_users() -> None:
    model = NCFRecommender(**SMALL).fit(checkerboard())
    best = model.recommend_for_history([[0, 2, 4], [1, 3, 5]], k=5)
    assert (best.item_id % 2).tolist() == [0] * 5 + [1] * 5


def test_pretrained_parts_get_half_the_weight_each() -> None:
    separate = NCFRecommender(**{**SMALL, "epochs": 3, "pretrain_epochs": 3}).fit(toy())
    model = NCFRecommender(**{**SMALL, "epochs": 4, "pretrain_epochs": 3, "learning_rate": 1e-9})
    model._initialize(InteractionDataset(toy()))
    model.weights = separate.weights.copy()
    model.best_epoch = 3
    model.train_epoch(toy())
    np.testing.assert_allclose(model._arrays["out_gmf"], separate._arrays["out_gmf"] / 2, atol=1e-6)
    assert NCFRecommender(**SMALL, pretrain_epochs=5).fit(checkerboard()).recommend([0], k=1).item_id[0] == 0


def test_dropout_zeroes_its_share_and_keeps_the_mean() -> None:
    hyperparameters = {"epochs": 1, "variant": "mlp", "hidden_layers": [512], "dropout": 0.25}
    network = NCFRecommender(**{**SMALL, **hyperparameters}).fit(toy()).model
    users = torch.zeros(400, dtype=torch.int32)
    items = torch.zeros(400, 1, dtype=torch.int32)
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        expected = float(network(users[:1], items[:1])[0])
        logits = network.train()(users, items)[0]
    assert logits.std() > 0
    assert float(logits.mean()) == pytest.approx(expected, abs=4 * float(logits.std()) / 20)


@pytest.mark.parametrize("dropout", [0.01, 0.25, 0.9])
def test_relu_and_dropout_zeroes_independent_positions(dropout: float) -> None:
    inputs = torch.ones(1000, 200, requires_grad=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        outputs = ReLUAndDropout(dropout)(inputs)
    dropped = outputs.detach().numpy() == 0
    deviation = np.sqrt(dropout * (1 - dropout))
    assert dropped.mean() == pytest.approx(dropout, abs=4 * deviation / np.sqrt(dropped.size))
    # Counts of independent positions are binomial, in every row and column.
    assert dropped.sum(axis=1).std() == pytest.approx(deviation * np.sqrt(200), rel=0.1)
    assert dropped.sum(axis=0).std() == pytest.approx(deviation * np.sqrt(1000), rel=0.2)
    outputs.sum().backward()
    np.testing.assert_array_equal(inputs.grad.numpy(), ~dropped)


@pytest.mark.parametrize(
    ("variant", "layers", "separate_losses"),
    [("neumf", [16, 8, 4], False), ("neumf", [16, 8], True), ("gmf", [8], False), ("mlp", [12], False)],
)
def test_gradients_equal_finite_differences(variant: str, layers: list[int], separate_losses: bool) -> None:
    hyperparameters = {"variant": variant, "hidden_layers": layers, "pretrain_epochs": int(separate_losses)}
    model = NCFRecommender(**{**SMALL, **hyperparameters})
    model._initialize(InteractionDataset(toy()))
    random = np.random.default_rng(0)
    model.weights[:] = random.normal(0, 0.5, len(model.weights))
    users = random.integers(0, 5, 8)  # with repeated users and items
    items = random.integers(0, 6, (8, 3))
    network = copy.deepcopy(model.model).double().train()
    network.zero_grad()
    loss, count = model._loss(network, [torch.from_numpy(users), torch.from_numpy(items)])
    (loss / 7).backward()
    weights = {name: parameter.detach().numpy().copy() for name, parameter in network.named_parameters()}
    assert count == 24
    assert loss.item() == pytest.approx(exact_loss(weights, users, items, separate_losses), rel=1e-5)
    step = 1e-5
    for name, parameter in network.named_parameters():
        flat = weights[name].reshape(-1)
        gradient = parameter.grad.reshape(-1)
        for index in random.choice(flat.size, min(flat.size, 15), replace=False):
            before = flat[index]
            flat[index] = before + step
            above = exact_loss(weights, users, items, separate_losses)
            flat[index] = before - step
            below = exact_loss(weights, users, items, separate_losses)
            flat[index] = before
            expected = (above - below) / (2 * step) / 7
            assert float(gradient[index]) == pytest.approx(expected, rel=1e-4, abs=1e-6), (name, index)


def test_batches_accumulate_the_gradients_of_table_rows() -> None:
    model = NCFRecommender(**SMALL)
    model._initialize(InteractionDataset(toy()))
    network = model.model
    users = torch.tensor([3, 3, 1])
    items = torch.tensor([[2, 5], [2, 2], [5, 0]])
    gradients = []
    for n_batches in (1, 2):
        network.zero_grad(set_to_none=False)
        for _ in range(n_batches):
            model._loss(network, [users, items])[0].backward()
        gradients.append(network.item_mlp.grad.clone())
    np.testing.assert_allclose(gradients[1], 2 * gradients[0], rtol=1e-6)
    assert not gradients[0][[1, 3, 4]].any()


def test_same_threads_give_the_same_weights() -> None:
    hyperparameters = {**SMALL, "dropout": 0.4, "epochs": 2, "batch_size": 2048}
    first = NCFRecommender(**hyperparameters).fit(toy())
    second = NCFRecommender(**hyperparameters).fit(toy())
    np.testing.assert_array_equal(first.weights, second.weights)


@pytest.mark.parametrize("weights", [None, "popularity"])
def test_negatives_are_unseen_items(weights: str | None) -> None:
    matrix = InteractionDataset(toy()).matrix
    users = np.repeat(np.arange(40, dtype=np.int32), 500)
    counts = matrix.column_counts().astype(np.float64)
    drawn = sample_negatives(1, matrix.starts, matrix.columns, users, 25, 3, counts if weights else None)
    seen = matrix.to_scipy().toarray() > 0
    assert not seen[users[:, None], drawn].any()
    for user in range(40):  # chi-square test of the sampled frequencies of a user
        unseen = np.flatnonzero(~seen[user])
        expected = counts[unseen] if weights else np.ones(len(unseen))
        expected = 1500 * expected / expected.sum()
        sampled = np.bincount(drawn[users == user].ravel(), minlength=25)[unseen]
        assert ((sampled - expected) ** 2 / expected).sum() < len(unseen) + 6 * np.sqrt(2 * len(unseen))


def test_user_with_all_items_gets_any_item_as_negative() -> None:
    starts, columns = np.array([0, 3]), np.arange(3, dtype=np.int32)
    drawn = sample_negatives(1, starts, columns, np.zeros(9, np.int32), 3, 4)
    assert set(drawn.ravel()) == {0, 1, 2}


def test_manual_loop_with_early_stopping_restores_the_best_epoch() -> None:
    rows = pd.DataFrame(toy())
    model = NCFRecommender(**{**SMALL, "epochs": 6})
    stopping = EarlyStopping(patience=10, monitor="ndcg@10")
    losses = []
    for epoch in range(6):
        losses.append(model.train_epoch(rows))
        assert not stopping(1 - epoch / 10, model.model)
    assert losses[-1] < losses[0]
    stopping.restore(model.model)
    once = NCFRecommender(**{**SMALL, "epochs": 1}).fit(rows)
    np.testing.assert_array_equal(model.weights, once.weights)
    with pytest.raises(DataError, match="these are others"):
        model.train_epoch(toy(1))
