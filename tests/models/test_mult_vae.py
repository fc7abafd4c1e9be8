import numpy as np
import pandas as pd
import pytest
import torch

from recctl import InteractionDataset
from recctl.models.mult_vae import MultVAERecommender
from tests.models.suite import ModelSuite, checkerboard, toy

SMALL = {"embedding_dim": 8, "hidden_layers": [24], "batch_size": 10, "epochs": 30, "learning_rate": 0.01}


class TestMultVAE(ModelSuite):
    name = "mult-vae"
    hyperparameters = SMALL


def histories_of(dataset: InteractionDataset) -> np.ndarray:
    return (dataset.csr.toarray() != 0).astype(np.float64)


def encoded(weights: dict[str, np.ndarray], histories: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and logarithm of the variance for normalized histories, in float64."""
    hidden = np.tanh(histories @ weights["item_in"] + weights["bias_in"])
    number = 0
    while f"encoder.{number}" in weights:
        hidden = np.tanh(hidden @ weights[f"encoder.{number}"].T + weights[f"encoder_biases.{number}"])
        number += 1
    mean = hidden @ weights["mean"].T + weights["mean_bias"]
    return mean, hidden @ weights["log_variance"].T + weights["log_variance_bias"]


def decoded(weights: dict[str, np.ndarray], latent: np.ndarray) -> np.ndarray:
    """Logits of all items, in float64."""
    hidden = latent
    number = 0
    while f"decoder.{number}" in weights:
        hidden = np.tanh(hidden @ weights[f"decoder.{number}"].T + weights[f"decoder_biases.{number}"])
        number += 1
    return hidden @ weights["item_out"].T + weights["bias_out"]


def exact_loss(
    weights: dict[str, np.ndarray], histories: np.ndarray, normalized: np.ndarray, noise: np.ndarray, kl_weight: float
) -> float:
    """The negative of eq. 7 of the paper, summed over users, in float64."""
    mean, log_variance = encoded(weights, normalized)
    logits = decoded(weights, mean + noise * np.exp(log_variance / 2))
    log_softmax = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    divergence = 0.5 * (np.exp(log_variance) + mean**2 - 1 - log_variance).sum()
    return float(kl_weight * divergence - (histories * log_softmax).sum())


def float64_weights(model: MultVAERecommender) -> dict[str, np.ndarray]:
    return {name: array.astype(np.float64) for name, array in model._arrays.items()}


@pytest.mark.parametrize("hidden_layers", [[24], [24, 12], [20, 16, 12]])
def test_scores_equal_the_network_in_float64(hidden_layers: list[int]) -> None:
    dataset = InteractionDataset(toy())
    model = MultVAERecommender(**{**SMALL, "hidden_layers": hidden_layers, "epochs": 2}).fit(dataset)
    histories = histories_of(dataset)
    normalized = histories / np.linalg.norm(histories, axis=1, keepdims=True)
    weights = float64_weights(model)
    mean, _ = encoded(weights, normalized)
    expected = decoded(weights, mean)
    scores = model.score_users(np.arange(dataset.n_users, dtype=np.int32))
    np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-5)
    users, items = model.embeddings()
    np.testing.assert_allclose(users @ items.T, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("hidden_layers", [[24], [24, 12]])
@pytest.mark.parametrize("anneal_epochs", [0, 3])
def test_loss_and_its_gradient_equal_the_paper_in_float64(hidden_layers: list[int], anneal_epochs: int) -> None:
    dataset = InteractionDataset(toy())
    hyperparameters = {**SMALL, "hidden_layers": hidden_layers, "epochs": 1, "dropout": 0.3}
    model = MultVAERecommender(**hyperparameters, anneal_epochs=anneal_epochs).fit(dataset)
    weights = float64_weights(model)
    n_items = dataset.n_items
    for batch in list(model._batches(dataset, epoch=1, batch_size=16))[:2]:
        rows = batch.rows.numpy()
        histories = np.zeros((len(batch.starts), n_items))
        histories[rows, batch.items.numpy()] = 1
        normalized = np.zeros_like(histories)
        normalized[rows, batch.items.numpy()] = batch.weights.numpy()
        kept = normalized != 0
        lengths = np.sqrt(histories.sum(axis=1, keepdims=True))
        np.testing.assert_allclose(normalized[kept], (histories / lengths / 0.7)[kept], rtol=1e-5)
        noise = batch.noise.numpy().astype(np.float64)

        network = model.model
        network.zero_grad()
        loss, count = model._loss(network, batch)
        loss.backward()
        assert count == len(histories)
        assert loss.item() == pytest.approx(exact_loss(weights, histories, normalized, noise, batch.kl_weight), 1e-5)
        for name, parameter in network.named_parameters():
            # The directional derivative by central differences.
            direction = np.random.default_rng(1).normal(size=parameter.shape)
            around = [
                exact_loss(
                    {**weights, name: weights[name] + step * direction}, histories, normalized, noise, batch.kl_weight
                )
                for step in (1e-5, -1e-5)
            ]
            assert parameter.grad is not None
            derivative = float((parameter.grad.double().numpy() * direction).sum())
            assert derivative == pytest.approx((around[0] - around[1]) / 2e-5, rel=1e-3, abs=1e-3), name


def test_weight_of_the_divergence_grows_linearly_and_then_stays() -> None:
    dataset = InteractionDataset(toy())
    model = MultVAERecommender(**{**SMALL, "epochs": 1}, anneal_epochs=4, kl_weight=0.2).fit(dataset)
    # 40 users in steps of 10: four steps an epoch.
    weights = [batch.kl_weight for epoch in range(6) for batch in model._batches(dataset, epoch, 10)]
    np.testing.assert_allclose(weights[:16], np.arange(16) / 16 * 0.2)
    assert weights[16:] == [0.2] * 8
    constant = MultVAERecommender(**{**SMALL, "epochs": 1}, anneal_epochs=0).fit(dataset)
    assert [batch.kl_weight for batch in constant._batches(dataset, 0, 10)] == [0.2] * 4


def test_smaller_batches_hold_the_same_examples_and_draws() -> None:
    dataset = InteractionDataset(toy())
    model = MultVAERecommender(**{**SMALL, "epochs": 1}).fit(dataset)
    whole = list(model._batches(dataset, 3, 10))
    halves = list(model._batches(dataset, 3, 5))
    for name in ("items", "weights", "noise"):
        joined = torch.cat([getattr(batch, name) for batch in halves])
        assert torch.equal(joined, torch.cat([getattr(batch, name) for batch in whole])), name
    assert [batch.kl_weight for batch in halves] == [batch.kl_weight for batch in whole for _ in range(2)]


def test_dropout_hides_its_share_of_the_history_from_the_encoder_only() -> None:
    rows = pd.DataFrame({"user_id": np.repeat(np.arange(100), 50), "item_id": np.tile(np.arange(50), 100)})
    dataset = InteractionDataset(rows)
    model = MultVAERecommender(**{**SMALL, "epochs": 1, "dropout": 0.4}).fit(dataset)
    (batch,) = model._batches(dataset, 0, 100)
    assert len(batch.items) == len(batch.weights) == 5000
    deviation = np.sqrt(0.4 * 0.6 / 5000)
    assert float((batch.weights == 0).float().mean()) == pytest.approx(0.4, abs=4 * deviation)


def test_repeats_and_ratings_change_nothing() -> None:
    rows = toy()
    repeated = pd.concat([rows, rows.iloc[::3]]).assign(rating=1.0)
    model = MultVAERecommender(**SMALL)
    weights = model.fit(rows).weights.copy()
    np.testing.assert_array_equal(model.fit(repeated).weights, weights)


def test_new_user_gets_the_items_of_similar_users() -> None:
    best = MultVAERecommender(**SMALL).fit(checkerboard()).recommend_for_history([[0, 2, 4], [1, 3, 5]], k=5)
    assert (best.item_id % 2).tolist() == [0] * 5 + [1] * 5


def test_estimated_weights_are_those_of_the_file() -> None:
    for hidden_layers in ([24], [40, 20]):
        model = MultVAERecommender(**{**SMALL, "hidden_layers": hidden_layers, "epochs": 1}).fit(toy())
        assert model._sizes(40, 25, 300)["n_weights"] == pytest.approx(len(model.weights), rel=0.2)
