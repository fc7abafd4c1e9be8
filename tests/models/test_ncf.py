import copy

import numpy as np
import pandas as pd
import pytest
import torch

from recctl import InteractionDataset, NCFRecommender
from recctl.engines import local
from recctl.errors import ConfigError, DataError
from recctl.kernels.negative_sampling import sample_negatives
from recctl.models._ncf_gradients import Gradients
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


def logits(model: NCFRecommender) -> np.ndarray:
    """Every pair through the whole network, as the paper has it."""
    n_users, n_items = model.seen.n_rows, model.seen.n_columns
    users, items = torch.arange(n_users), torch.arange(n_items).expand(n_users, -1)
    with torch.no_grad():
        network = model.model
        return (sum(network(users, items)) + network.bias).numpy()


@pytest.mark.parametrize("variant", ["neumf", "gmf", "mlp"])
@pytest.mark.parametrize("layers", [[16, 8], [12]])
def test_scores_of_the_catalogue_are_those_of_the_network(variant: str, layers: list[int]) -> None:
    model = NCFRecommender(**{**SMALL, "variant": variant, "hidden_layers": layers, "epochs": 2}).fit(toy())
    scores = model.score_users(np.arange(40, dtype=np.int32))
    np.testing.assert_allclose(scores, logits(model), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", ["gmf", "mlp"])
def test_each_part_alone_solves_the_checkerboard(variant: str) -> None:
    best = NCFRecommender(**SMALL, variant=variant).fit(checkerboard()).recommend(range(50), k=1)
    assert best.item_id.tolist() == list(range(50))


def test_a_stranger_gets_what_people_like_him_get() -> None:
    model = NCFRecommender(**SMALL).fit(checkerboard())
    best = model.recommend_for_history([[0, 2, 4], [1, 3, 5]], k=5)
    assert (best.item_id % 2).tolist() == [0] * 5 + [1] * 5


def test_pretrained_parts_weigh_half_each() -> None:
    apart = NCFRecommender(**{**SMALL, "epochs": 3, "pretrain_epochs": 3}).fit(toy())
    model = NCFRecommender(**{**SMALL, "epochs": 4, "pretrain_epochs": 3, "learning_rate": 1e-9})
    model._initialize(InteractionDataset(toy()))
    model.weights, model.chosen_epoch = apart.weights.copy(), 3
    model.train_epoch(toy())
    np.testing.assert_allclose(model._arrays["out_gmf"], apart._arrays["out_gmf"] / 2, atol=1e-6)
    assert NCFRecommender(**SMALL, pretrain_epochs=5).fit(checkerboard()).recommend([0], k=1).item_id[0] == 0


@pytest.mark.parametrize("by_hand", [False, True])
def test_dropout_drops_its_share_and_keeps_the_mean(by_hand: bool) -> None:
    model = NCFRecommender(**{**SMALL, "epochs": 1, "variant": "mlp", "hidden_layers": [512]})
    network = model.fit(toy()).model
    users, items = torch.zeros(400, dtype=torch.int32), torch.zeros(400, 1, dtype=torch.int32)
    with torch.no_grad():
        expected = float(network(users[:1], items[:1])[0])
    if by_hand:  # the derivative by the last layer's weights is the sum of their inputs, of which a share is 0
        gradients = Gradients(network, model._live().optimizer, model._widths, 400)
        sums = []
        with gradients.working():
            for dropout in (0.0, 0.25):
                network.out_mlp.grad.zero_()
                gradients(users.numpy(), items.numpy(), 12345, dropout, False).backward()
                sums.append(network.out_mlp.grad.numpy().copy())
        alive = sums[0] != 0
        assert alive.sum() > 100
        ratios = sums[1][alive] / sums[0][alive]
        assert abs(ratios.mean() - 1) < 0.01
        assert ratios.std() == pytest.approx(np.sqrt(0.25 / 0.75 / 400), rel=0.2)
        return
    network._dropped_in_256 = 64
    network.train()
    with torch.no_grad(), torch.random.fork_rng():
        torch.manual_seed(0)
        drawn = network(users, items)[0]
    assert drawn.std() > 0
    assert float(drawn.mean()) == pytest.approx(expected, abs=4 * float(drawn.std()) / 20)


@pytest.mark.parametrize(
    ("variant", "layers", "apart"),
    [("neumf", [16, 8, 4], False), ("neumf", [16, 8], True), ("gmf", [8], False), ("mlp", [12], False)],
)
@pytest.mark.parametrize("n", [5, 40, 900])  # in one part, in several blocks, in several parts
def test_gradients_by_hand_are_those_of_autograd_in_float64(variant: str, layers: list[int], apart: bool, n: int):
    hyperparameters = {"variant": variant, "hidden_layers": layers, "dropout": 0.0, "pretrain_epochs": int(apart)}
    model = NCFRecommender(**{**SMALL, **hyperparameters})
    model._initialize(InteractionDataset(toy()))
    network, random = model._live().network.train(), np.random.default_rng(0)
    model.weights[:] = random.normal(0, 0.3, len(model.weights))
    batch = [torch.from_numpy(random.integers(0, high, size)) for high, size in ((40, n), (25, (n, 3)))]
    exact = copy.deepcopy(network).double()
    exact.zero_grad()
    loss, count = model._loss(exact, batch)
    (loss / 7).backward()
    by_hand = Gradients(network, model._live().optimizer, model._widths, 3 * n)
    with by_hand.working():
        found = by_hand(*(part.numpy().astype(np.int32) for part in batch), 0, 0.0, apart)
        (found / 7).backward()
    assert count == 3 * n
    assert found.item() == pytest.approx(loss.item(), rel=1e-5)
    for (name, parameter), expected in zip(network.named_parameters(), exact.parameters(), strict=True):
        size = float(expected.grad.abs().max())
        np.testing.assert_allclose(parameter.grad, expected.grad, rtol=1e-4, atol=1e-5 * size, err_msg=name)


@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_threads_change_nothing(dropout: float, monkeypatch: pytest.MonkeyPatch) -> None:
    learnt = []
    for count in (1, 2, 3):
        monkeypatch.setattr(local, "_threads", count)
        learnt.append(NCFRecommender(**{**SMALL, "dropout": dropout, "epochs": 2, "batch_size": 700}).fit(toy()))
    for model in learnt[1:]:
        np.testing.assert_array_equal(model.weights, learnt[0].weights)


@pytest.mark.parametrize("weights", [None, "popularity"])
def test_negatives_are_what_the_user_had_not(weights: str | None) -> None:
    matrix = InteractionDataset(toy()).matrix
    users = np.repeat(np.arange(40, dtype=np.int32), 500)
    counts = matrix.column_counts().astype(np.float64)
    drawn = sample_negatives(1, matrix.starts, matrix.columns, users, 25, 3, counts if weights else None)
    had = matrix.to_scipy().toarray() > 0
    assert not had[users[:, None], drawn].any()
    for user in range(40):  # chi square of what was drawn for a user against what is likely
        free = np.flatnonzero(~had[user])
        expected = counts[free] if weights else np.ones(len(free))
        expected = 1500 * expected / expected.sum()
        found = np.bincount(drawn[users == user].ravel(), minlength=25)[free]
        assert ((found - expected) ** 2 / expected).sum() < len(free) + 6 * np.sqrt(2 * len(free))


def test_who_had_everything_is_given_anything() -> None:
    starts, columns = np.array([0, 3]), np.arange(3, dtype=np.int32)
    drawn = sample_negatives(1, starts, columns, np.zeros(9, np.int32), 3, 4)
    assert set(drawn.ravel()) == {0, 1, 2}


def test_the_chapters_loop() -> None:
    from recctl import EarlyStopping

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


def test_a_device_that_is_not_there() -> None:
    if not torch.cuda.is_available():
        with pytest.raises(ConfigError, match=r"device='cuda'.*device='auto'"):
            NCFRecommender(device="cuda").fit(toy())
    with pytest.raises(ConfigError, match="precision='float16' needs a GPU"):
        NCFRecommender(device="cpu", precision="float16").fit(toy())
