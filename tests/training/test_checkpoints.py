"""Training that is broken off and gone on with ends as if nothing had happened."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from recctl import EarlyStopping, InteractionDataset, ModelCheckpoint, RunStore, experiment, load_model, make_model
from recctl.errors import ArtifactError, ConfigError, TrainingError
from recctl.models.registry import model_classes
from recctl.training import ResumableTraining, history
from recctl.training.loop import Epoch
from tests import preloaded
from tests.models.suite import toy

MODELS = {
    "svd": {"n_epochs": 12, "lr": 0.02},
    "svdpp": {"n_epochs": 12, "lr": 0.02, "lr_decay": 0.9},
    "ncf": {
        "epochs": 12,
        "embedding_dim": 8,
        "hidden_layers": [16, 8],
        "batch_size": 256,
        "learning_rate": 0.01,
        "warmup_epochs": 2,
        "schedule": "cosine",
        "max_grad_norm": 1.0,
        "accumulation_steps": 2,
    },
    "lightgcn": {"epochs": 12, "embedding_dim": 8, "batch_size": 256, "learning_rate": 0.01, "edge_dropout": 0.1},
    "bpr": {"epochs": 12, "n_factors": 8},
    "mult-vae": {"epochs": 12, "embedding_dim": 8, "hidden_layers": [16], "batch_size": 16, "anneal_epochs": 6},
    "sasrec": {"epochs": 12, "embedding_dim": 8, "batch_size": 16, "learning_rate": 0.01, "loss": "gbce"},
}
CONFIG = """
data: {{source: synthetic, synthetic: {{n_users: 80, n_items: 60, n_interactions: 2000}}}}
split: {{test_size: 0.2, val_size: 0.2}}
model: {{name: {name}, params: {params}}}
training: {{early_stopping: {{patience: 4, monitor: ndcg@10}}, {more}}}
evaluation: {{metrics: [ndcg], k_values: [10]}}
"""


def test_all_epoch_models_are_tested_here():
    assert set(MODELS) == {model.name for model in model_classes() if model.trained_in_epochs}


class CrashError(Exception):
    pass


def load(tmp_path: Path, name: str, more: str = "checkpoint_every: 1"):
    path = tmp_path / f"{name}.yaml"
    path.write_text(CONFIG.format(name=name, params=json.dumps(MODELS[name]), more=more))
    return experiment.load(path)


def lines(run) -> list:
    left_out = ("seconds", "validation_seconds", "memory_bytes")
    return [
        {name: value for name, value in line.items() if name not in left_out}
        for line in history.read(run.path / "history.jsonl")
    ]


def outcome(run) -> tuple:
    """All that must be equal."""
    files = [(run.path / file).read_bytes() for file in ("models/v1.pkl", "checkpoints/best.pkl")]
    return files, lines(run), run.metrics(), run.metadata["training"]


def crash_in_epoch(monkeypatch: pytest.MonkeyPatch, name: str, number: int) -> None:
    """The epoch of this number breaks off after it has changed the weights."""
    cls = type(make_model(name))
    train_epoch = cls.train_epoch

    def crashing(model, interactions):
        loss = train_epoch(model, interactions)
        if model.best_epoch == number:
            raise CrashError
        return loss

    monkeypatch.setattr(cls, "train_epoch", crashing)


# What is restored differs between models, and when it is stored does not: a plain run resumes one model after every
# interruption, and every model after the last one, which repeats two epochs.
INTERRUPTIONS = [(1, "validate_every: 1"), (3, "validate_every: 2"), (5, "checkpoint_every: 3")]


@pytest.mark.parametrize(
    ("name", "number", "more"),
    [
        pytest.param(name, *interruption, marks=[] if name == "svd" or interruption[0] == 5 else pytest.mark.slow)
        for name in MODELS
        for interruption in INTERRUPTIONS
    ],
)
def test_resumed_run_gives_the_same_model_bit_for_bit(tmp_path, monkeypatch, name, number, more):
    loaded = load(tmp_path, name, more)
    whole = experiment.train(loaded, RunStore(tmp_path / "whole"))
    with monkeypatch.context() as patched:
        crash_in_epoch(patched, name, number)
        with pytest.raises(CrashError):
            experiment.train(loaded, RunStore(tmp_path / "broken"))
    broken = RunStore(tmp_path / "broken").runs()[-1]
    assert broken.status == "failed"
    with (broken.path / "history.jsonl").open("a") as file:  # as a crash while a line is written leaves it
        file.write('{"epoch": 99, "lo')
    assert experiment.resume(broken)
    assert outcome(broken) == outcome(whole)
    assert load_model(broken.path / "checkpoints" / "best.pkl").best_epoch == broken.metadata["training"]["best_epoch"]
    before = {path: path.read_bytes() for path in broken.path.rglob("*") if path.is_file()}
    assert not experiment.resume(broken)
    assert {path: path.read_bytes() for path in broken.path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("refused_by", ["checkpoint", "device"])
def test_run_that_cannot_be_resumed_stays_interrupted(tmp_path, monkeypatch, refused_by):
    def interrupted(model, interactions):
        if model.best_epoch == 2:
            raise KeyboardInterrupt
        return train_epoch(model, interactions)

    def no_device(model):
        raise ConfigError("device='cuda': there is none")

    model_type = type(make_model("svdpp"))
    train_epoch = model_type.train_epoch
    with monkeypatch.context() as patched:
        patched.setattr(model_type, "train_epoch", interrupted)
        with pytest.raises(KeyboardInterrupt):
            experiment.train(load(tmp_path, "svdpp", "validate_every: 1"), RunStore(tmp_path / "runs"))
    (run,) = RunStore(tmp_path / "runs").runs()
    assert run.status == "interrupted"
    checkpoint = run.path / "checkpoints" / "last.pkl"
    content = checkpoint.read_bytes()
    if refused_by == "checkpoint":
        checkpoint.write_bytes(content[: len(content) // 2])
    recorded = (run.path / "metadata.json").read_bytes()
    with monkeypatch.context() as patched:
        if refused_by == "device":
            patched.setattr(model_type, "require_device", no_device)
        with pytest.raises((ArtifactError, ConfigError), match=r"last\.pkl|device='cuda'"):
            experiment.resume(run)
    assert (run.path / "metadata.json").read_bytes() == recorded
    checkpoint.write_bytes(content)
    assert experiment.resume(run)
    assert run.status == "complete"


SLOWED = """
import sys, time
from recctl import make_model
from recctl.cli import main
cls = type(make_model(sys.argv[1]))
train_epoch = cls.train_epoch
def slow(self, interactions):
    time.sleep(0.1)
    return train_epoch(self, interactions)
cls.train_epoch = slow
sys.argv = ["recctl", *sys.argv[2:]]
sys.exit(main())
"""


@pytest.mark.parametrize(
    ("name", "how"),
    [("svd", signal.SIGKILL), ("svdpp", signal.SIGTERM), pytest.param("ncf", signal.SIGKILL, marks=pytest.mark.slow)],
)
def test_killed_process_is_resumed(tmp_path, name, how):
    loaded = load(tmp_path, name)
    whole = experiment.train(loaded, RunStore(tmp_path / "whole"))
    runs = tmp_path / "killed"
    config = str(tmp_path / f"{name}.yaml")
    process = preloaded.Program("-c", SLOWED, name, "train", config, "--runs-dir", str(runs))
    deadline = time.monotonic() + 120
    while process.poll() is None and not (
        list(runs.glob("*/history.jsonl")) and len(lines(RunStore(runs).runs()[-1])) >= 2
    ):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, how)
    process.communicate(60)
    code = process.returncode
    killed = RunStore(runs).runs()[-1]
    assert (code, killed.status) == ((-9, "died") if how == signal.SIGKILL else (130, "interrupted"))
    assert 2 <= len(lines(killed)) < len(lines(whole))
    resume = ["-m", "recctl", "train", "--resume", killed.id, "--runs-dir", str(runs)]
    assert preloaded.run(*resume).returncode == 0
    assert outcome(RunStore(runs).resolve("latest")) == outcome(whole)
    again = preloaded.run(*resume)
    assert (again.returncode, "nothing to do" in again.stderr) == (0, True)


def test_divergence_keeps_the_best_model(tmp_path, monkeypatch):
    cls = type(make_model("ncf"))
    train_epoch = cls.train_epoch
    monkeypatch.setattr(cls, "train_epoch", lambda m, d: train_epoch(m, d) if m.best_epoch < 2 else float("nan"))
    with pytest.raises(TrainingError, match=r"diverged in epoch 3: loss nan; lower learning_rate, .* try"):
        experiment.train(load(tmp_path, "ncf"), RunStore(tmp_path / "runs"))
    run = RunStore(tmp_path / "runs").runs()[-1]
    assert run.status == "failed"
    assert load_model(run.path / "checkpoints" / "best.pkl").best_epoch in (1, 2)


def test_manual_loop_saves_the_best_model(tmp_path):
    told = []

    class Model:
        def save(self, path):
            told.append(path)

    checkpoint = ModelCheckpoint(tmp_path / "best.pkl", monitor="ndcg@10", mode="max")
    assert [checkpoint(Model(), {"ndcg@10": score}) for score in (0.1, 0.3, 0.2, 0.3, float("nan"), 0.4)] == [
        *(True, True, False, False, False, True)
    ]
    assert (len(told), checkpoint.best_score, checkpoint.best_epoch) == (3, 0.4, 6)
    lower = ModelCheckpoint("x", monitor="rmse")
    assert [lower(Model(), {"rmse": score}) for score in (1.0, 2.0, 0.5)] == [True, False, True]
    with pytest.raises(ConfigError, match="monitor='rmse' is not measured; available metrics: mae"):
        lower(Model(), {"mae": 1})
    with pytest.raises(ConfigError, match="ModelCheckpoint: monitor='x': unknown metric"):
        ModelCheckpoint("x", "x")
    with pytest.raises(ConfigError, match=r"ModelCheckpoint: metrics=0.5: must be a dict of metrics"):
        lower(Model(), 0.5)
    with pytest.raises(ConfigError, match="ModelCheckpoint: filepath=None: must be a path"):
        ModelCheckpoint(None)
    with pytest.raises(ConfigError, match="ModelCheckpoint: min_delta=-1: must be a number of at least 0"):
        ModelCheckpoint("x", min_delta=-1)


def test_checkpoint_restores_the_best_model_when_the_loop_ends(tmp_path):
    train = InteractionDataset(toy(), implicit=False)
    model = make_model("svd", **MODELS["svd"])
    checkpoint = ModelCheckpoint(tmp_path / "best.pkl")
    checkpoint.restore(model)  # nothing was saved: no change
    for rmse in (3.0, 1.0, 2.0):
        model.train_epoch(train)
        checkpoint(model, {"mae": 0.0, "rmse": rmse})
    assert model.best_epoch == 3
    checkpoint.restore(model)
    assert (model.best_epoch, checkpoint.monitor, checkpoint.best_score) == (2, "rmse", 1.0)


def test_best_checkpoint_is_the_best_epoch_of_early_stopping(tmp_path):
    loaded = load(tmp_path, "svd", "checkpoint_every: 1")
    loaded.config.training.early_stopping.min_delta = 10.0  # no later epoch can be better than the first
    run = experiment.train(loaded, RunStore(tmp_path))
    assert run.metadata["training"]["best_epoch"] == 1
    assert load_model(run.path / "checkpoints" / "best.pkl").best_epoch == 1


def test_callback_saves_the_best_epoch(tmp_path):
    train = InteractionDataset(toy())
    model = make_model("ncf", **MODELS["ncf"])
    checkpoint, scores = ModelCheckpoint(tmp_path / "a" / "best.pkl"), iter([0.1, 0.4, 0.3] * 4)
    model.fit(train, validation=lambda _: {"ndcg@10": next(scores)}, callbacks=[checkpoint])
    assert load_model(tmp_path / "a" / "best.pkl").best_epoch == checkpoint.best_epoch == 2


def test_patience_counts_validations_and_best_epoch_counts_epochs():
    train = InteractionDataset(toy())

    class Every:
        every = 3
        scores = iter([0.5, 0.7, 0.6, 0.6])

        def __call__(self, model):
            return {"ndcg@10": next(self.scores)}

    stopping = EarlyStopping(patience=2, monitor="ndcg@10")
    model = make_model("ncf", **MODELS["ncf"]).fit(train, validation=Every(), callbacks=[stopping])
    assert (stopping.best_epoch, model.best_epoch) == (6, 6)


def test_checkpoint_of_another_model_is_an_error(tmp_path):
    train = InteractionDataset(toy())
    keep = lambda: ResumableTraining(tmp_path / "last.pkl", tmp_path / "history.jsonl")  # noqa: E731
    make_model("ncf", **MODELS["ncf"]).fit(train, callbacks=[keep()])
    with pytest.raises(ArtifactError, match=r"last.pkl: the checkpoint of another model or of other hyperparameters"):
        make_model("ncf", **{**MODELS["ncf"], "dropout": 0.5}).fit(train, callbacks=[keep()])
    (tmp_path / "last.pkl").write_bytes((tmp_path / "last.pkl").read_bytes()[:-3])
    with pytest.raises(ArtifactError, match="truncated or damaged"):
        make_model("ncf", **MODELS["ncf"]).fit(train, callbacks=[keep()])


def test_history_ignores_a_torn_line_and_is_cut(tmp_path):
    path = tmp_path / "history.jsonl"
    assert history.read(path) == []
    for number in (1, 2, 3):
        history.append(path, Epoch(number, 1 / number, {"rmse": 1.0}, 0.1, 2.0))
    path.write_bytes(path.read_bytes()[:-1])
    assert [line["epoch"] for line in history.read(path)] == [1, 2]
    history.cut(path, 1)
    assert [line["loss"] for line in history.read(path)] == [1.0]
    assert {"memory_bytes", "learning_rate", "seconds", "metrics"} < history.read(path)[0].keys()
