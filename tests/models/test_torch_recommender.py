"""Training of models with a torch network, tested with NCF."""

import copy
import os
import socket
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recctl import LightGCNRecommender, MultVAERecommender, NCFRecommender, SASRecRecommender, artifacts, progress
from recctl.data.dataset import InteractionDataset
from recctl.errors import ArtifactError, TrainingError
from recctl.models.nn import devices, flat_weights
from recctl.models.nn.torch_recommender import TorchRecommender
from recctl.training import EarlyStopping
from tests import preloaded
from tests.models.suite import toy

SMALL = {
    "embedding_dim": 8,
    "hidden_layers": [16],
    "epochs": 3,
    "batch_size": 64,
    "learning_rate": 0.01,
    "dropout": 0.0,
}


def test_accumulated_batches_equal_one_large_batch() -> None:
    large = NCFRecommender(**SMALL).fit(toy())
    small = NCFRecommender(**{**SMALL, "batch_size": 16, "accumulation_steps": 4}).fit(toy())
    np.testing.assert_allclose(small.weights, large.weights, rtol=1e-3, atol=1e-5)


def test_torch_reports_a_lack_of_cpu_memory_as_expected() -> None:
    """Torch has no class of its own for this error: its text is what training recognizes."""
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    assert devices.is_out_of_memory(caught.value)


def test_out_of_memory_halves_the_batch_and_gives_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = NCFRecommender(**SMALL).fit(toy())
    notices: list[str] = []
    loss = NCFRecommender._loss

    def limited_loss(model, network, batch):
        if len(batch[0]) > 16:
            raise torch.OutOfMemoryError("out of memory")
        return loss(model, network, batch)

    monkeypatch.setattr(NCFRecommender, "_loss", limited_loss)
    monkeypatch.setattr(progress, "notice", notices.append)
    halved = NCFRecommender(**SMALL).fit(toy())
    np.testing.assert_allclose(halved.weights, whole.weights, rtol=1e-3, atol=1e-5)
    assert notices[-1] == "ncf: out of memory; continuing with batches of 16, 4 per step"
    monkeypatch.setattr(NCFRecommender, "_loss", lambda *_: (_ for _ in ()).throw(MemoryError))
    with pytest.raises(TrainingError, match="out of memory with one example at a time; lower embedding_dim"):
        NCFRecommender(**SMALL).fit(toy())


def test_other_runtime_errors_propagate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NCFRecommender, "_loss", lambda *_: (_ for _ in ()).throw(RuntimeError("a shape")))
    with pytest.raises(RuntimeError, match="a shape"):
        NCFRecommender(**SMALL).fit(toy())


def test_learning_rate_warms_up_and_decays() -> None:
    model = NCFRecommender(learning_rate=0.1, epochs=10, warmup_epochs=2, schedule="linear")
    rates = [model.learning_rate_at(epoch) for epoch in (0, 1, 2, 6, 10, 12)]
    np.testing.assert_allclose(rates, [0, 0.05, 0.1, 0.05, 0, 0], atol=1e-12)
    cosine = NCFRecommender(learning_rate=0.1, epochs=10, schedule="cosine")
    np.testing.assert_allclose([cosine.learning_rate_at(e) for e in (0, 5, 10)], [0.1, 0.05, 0], atol=1e-12)
    assert NCFRecommender(learning_rate=0.1).learning_rate_at(19.5) == 0.1


def test_gradients_are_clipped() -> None:
    assert NCFRecommender(**SMALL, max_grad_norm=1e-12).fit(toy()).weights == pytest.approx(
        NCFRecommender(**{**SMALL, "learning_rate": 1e-12}).fit(toy()).weights, abs=1e-3
    )


def test_bfloat16_learns_similar_weights() -> None:
    model = NCFRecommender(**SMALL, precision="bfloat16", device="cpu").fit(toy())
    np.testing.assert_allclose(model.weights, NCFRecommender(**SMALL).fit(toy()).weights, atol=0.1)


# A small network of each model, with everything that draws in training.
NETWORKS: list[TorchRecommender] = [
    NCFRecommender(**{**SMALL, "dropout": 0.5}),
    NCFRecommender(**{**SMALL, "dropout": 0.5, "precision": "bfloat16"}),
    LightGCNRecommender(embedding_dim=8, epochs=2, edge_dropout=0.2),
    LightGCNRecommender(embedding_dim=8, epochs=2, loss="bpr", hardest_of=4),
    SASRecRecommender(embedding_dim=8, epochs=2, dropout=0.5, batch_size=8),
    SASRecRecommender(embedding_dim=8, epochs=2, dropout=0.5, loss="gbce"),
]


@pytest.mark.parametrize("model", NETWORKS[::2])
def test_draws_of_other_threads_do_not_change_the_weights(
    model: TorchRecommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECCTL_THREADS", "1")
    alone = model.clone().fit(toy())
    loss = type(model)._loss

    def loss_while_others_draw(*arguments):
        torch.rand(1)
        return loss(*arguments)

    monkeypatch.setattr(type(model), "_loss", loss_while_others_draw)
    np.testing.assert_array_equal(model.clone().fit(toy()).weights, alone.weights)


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextmanager
def default_device(device: str) -> Iterator[None]:
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@pytest.mark.parametrize("model", NETWORKS)
def test_settings_of_torch_around_a_fit_do_not_change_the_weights(
    model: TorchRecommender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECCTL_THREADS", "1")
    expected = model.clone().fit(toy()).weights
    settings = {
        "float64": default_dtype(torch.float64),
        "no_grad": torch.no_grad(),
        "inference_mode": torch.inference_mode(),
        "autocast": torch.autocast("cpu", torch.bfloat16),
        # Tensors on "meta" have no values: everything that is made there is missed.
        "default device": default_device("meta"),
        "device": torch.device("meta"),
    }
    for name, setting in settings.items():
        with setting:
            found = model.clone().fit(toy())
            recommended = found.recommend([100], k=3)
        np.testing.assert_array_equal(found.weights, expected, err_msg=name)
        assert len(recommended) == 3


def test_copy_trains_on_in_inference_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECCTL_THREADS", "1")
    model = NCFRecommender(**SMALL)
    model.train_epoch(toy())
    with torch.inference_mode():
        twin = copy.deepcopy(model)
        twin.train_epoch(toy())
    model.train_epoch(toy())
    np.testing.assert_array_equal(twin.weights, model.weights)


def test_best_weights_of_an_earlier_epoch_train_on_with_a_new_optimizer(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    notices: list[str] = []
    monkeypatch.setattr(progress, "notice", notices.append)
    data = InteractionDataset(toy())
    best = NCFRecommender(**{**SMALL, "epochs": 2}).fit(data)
    scores = iter([0.1, 0.5, 0.2])
    model = NCFRecommender(**SMALL).fit(
        data,
        validation=lambda _: {"score": next(scores)},
        callbacks=[EarlyStopping(monitor="score", mode="max", patience=9)],
    )
    np.testing.assert_array_equal(model.weights, best.weights)
    notices.clear()
    model.save(tmp_path / "model.pkl", training_state=True)
    assert "saved without training state" in notices[0]
    # What training from these weights with an Adam without steps gives.
    best.drop_training_state()
    best.train_epoch(data)
    notices.clear()
    model.train_epoch(data)
    np.testing.assert_array_equal(model.weights, best.weights)
    assert len(notices) == 1
    assert "continues after epoch 2 with a new optimizer" in notices[0]
    notices.clear()
    model.train_epoch(data)
    NCFRecommender(**SMALL).fit(data).train_epoch(data)
    assert notices == []


def test_best_weights_of_the_last_epoch_keep_the_optimizer() -> None:
    data = InteractionDataset(toy())
    scores = iter([0.1, 0.2, 0.5])
    model = NCFRecommender(**SMALL).fit(
        data,
        validation=lambda _: {"score": next(scores)},
        callbacks=[EarlyStopping(monitor="score", mode="max", patience=9)],
    )
    model.train_epoch(data)
    np.testing.assert_array_equal(model.weights, NCFRecommender(**{**SMALL, "epochs": 4}).fit(data).weights)


@pytest.mark.parametrize(
    "damage",
    [
        lambda state: state.pop("optimizer"),
        lambda state: state.update(batch_size=0),
        lambda state: state.update(loss_scale="1"),
        lambda state: state.update(optimizer=[]),
        lambda state: state["optimizer"].update(exp_avg=np.zeros(10**5, np.float32)),
        lambda state: state["optimizer"].update(exp_avg=np.zeros(3, np.int64)),
    ],
)
def test_invalid_training_state_in_a_file_is_refused(damage: Callable[[Any], Any], tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    NCFRecommender(**SMALL).fit(toy()).save(path, training_state=True)
    content = artifacts.load(path, "model")
    damage(content["training_state"])
    artifacts.save(path, "model", content)
    with pytest.raises(ArtifactError, match=r"model.pkl: not a valid ncf model: the (training state|optimizer's)"):
        NCFRecommender.load(path)


def test_moments_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    NCFRecommender(**SMALL).fit(toy()).save(path, training_state=True)
    content = artifacts.load(path, "model")
    content["training_state"]["optimizer"]["exp_avg"] = np.zeros(3, np.float32)
    artifacts.save(path, "model", content)
    with pytest.raises(ArtifactError, match=r"ncf: the training state has 3 values of exp_avg, .* weights"):
        NCFRecommender.load(path).train_epoch(toy())


class PluginRecommender(TorchRecommender):
    """A network of torch's own layers, as someone else may write it."""

    def _network(self) -> torch.nn.Module:
        network = torch.nn.Sequential(
            torch.nn.Linear(self.seen.n_columns, 8), torch.nn.Dropout(0.5), torch.nn.Linear(8, self.seen.n_columns)
        )
        for number, parameter in enumerate(network.parameters()):
            with torch.no_grad():
                parameter.normal_(generator=self._generator("init", number))
        return network

    def _batches(self, interactions, epoch, batch_size):
        yield torch.from_numpy(interactions.matrix.to_scipy().toarray())

    def _loss(self, network, batch):
        return (network(batch) - batch).square().sum(), len(batch)


def test_dropout_of_torch_in_a_network_draws_from_the_seed_of_the_model() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        first = PluginRecommender(epochs=3).fit(toy())
        torch.manual_seed(2)
        np.testing.assert_array_equal(PluginRecommender(epochs=3).fit(toy()).weights, first.weights)

    class WithoutDropout(PluginRecommender):
        def _network(self) -> torch.nn.Module:
            network = super()._network()
            network[1] = torch.nn.Identity()
            return network

    assert not np.array_equal(WithoutDropout(epochs=3).fit(toy()).weights, first.weights)


def test_network_of_default_format_fits_where_the_default_is_float64() -> None:
    with default_dtype(torch.float64):
        model = PluginRecommender(epochs=2).fit(toy())
    assert model.weights.dtype == np.float32
    assert np.isfinite(model.weights).all()


def test_training_leaves_the_random_state_of_torch_unchanged() -> None:
    before = torch.get_rng_state()
    NCFRecommender(**{**SMALL, "dropout": 0.5}).fit(toy())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    "model",
    [
        NCFRecommender(embedding_dim=8, hidden_layers=[16, 12, 4]),
        NCFRecommender(embedding_dim=8, hidden_layers=[16], variant="mlp"),
        NCFRecommender(embedding_dim=8, variant="gmf"),
        LightGCNRecommender(embedding_dim=8),
        MultVAERecommender(embedding_dim=8, hidden_layers=[16, 12, 4]),
        MultVAERecommender(embedding_dim=8, hidden_layers=[16]),
        SASRecRecommender(embedding_dim=8, n_blocks=3, n_heads=2),
    ],
)
def test_declared_shapes_are_those_of_the_network(model: TorchRecommender) -> None:
    model._initialize(InteractionDataset(toy()))
    declared = model._weight_shapes()
    assert list(declared.items()) == list(flat_weights.shapes(model._new_network()).items())


def test_loaded_networks_recommend_without_importing_torch(tmp_path: Path) -> None:
    settings = {"embedding_dim": 8, "epochs": 1, "device": "cpu"}
    for kind in (NCFRecommender, LightGCNRecommender, MultVAERecommender, SASRecRecommender):
        kind(**settings).fit(toy()).save(tmp_path / f"{kind.name}.pkl")
    code = """
    import sys
    from pathlib import Path
    from recctl import load_model
    for path in sorted(Path(sys.argv[1]).iterdir()):
        model = load_model(path)
        model.recommend([100, 101])
        model.recommend_for_history([[3, 10]])
        model.similar_items([3])
    print(*({"torch"} & set(sys.modules)))
    """
    process = [sys.executable, "-c", textwrap.dedent(code), str(tmp_path)]
    assert subprocess.run(process, check=True, capture_output=True, text=True).stdout == "\n"


def test_weights_of_another_network_are_an_error(tmp_path: Path) -> None:
    model = NCFRecommender(**SMALL).fit(toy())
    model.weights = model.weights[:-1]
    model.save(tmp_path / "model.pkl")
    with pytest.raises(ArtifactError, match="weights, but the network of these hyperparameters has"):
        NCFRecommender().load(tmp_path / "model.pkl").recommend([100])


def test_aligned_weights_begin_at_a_cache_line() -> None:
    for size in (1, 7, 1000):
        assert flat_weights.is_aligned(flat_weights.align(np.ones(size, np.float32)))


PROCESS = """
import sys
import numpy as np
from recctl import NCFRecommender
from tests.models.suite import toy
from tests.models.test_torch_recommender import SMALL
from torch import distributed
model = NCFRecommender(**SMALL).fit(toy())
np.save(sys.argv[1] + str(distributed.get_rank()) + ".npy", model.weights)
distributed.destroy_process_group()
"""


def test_two_processes_learn_the_weights_of_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    # What torchrun sets; test_torchrun.py starts processes by torchrun itself.
    shared = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    root = Path(__file__).parents[2]
    environment = {**os.environ, **shared, "PYTHONPATH": str(root), "RECCTL_THREADS": "1"}
    processes = [
        preloaded.Program("-c", PROCESS, f"{tmp_path}/", env={**environment, "RANK": rank, "LOCAL_RANK": rank})
        for rank in ("0", "1")
    ]
    for process in processes:
        _, err = process.communicate(timeout=100)
        assert process.returncode == 0, err
    first, second = (np.load(tmp_path / f"{rank}.npy") for rank in (0, 1))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_allclose(first, NCFRecommender(**SMALL).fit(toy()).weights, rtol=1e-3, atol=1e-5)
