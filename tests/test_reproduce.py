"""Reproductions of published results are resumed, and not repeated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from recctl import cli
from recctl.data.synthetic import generate
from recctl.experiment import load
from recctl.runs import RunStore
from recctl.training import history
from tests.benchmarks import __main__ as benchmarks
from tests.benchmarks import reproduce

CONFIG = """
data: {source: toy/train.txt, format: lightgcn, implicit: true}
split: {strategy: predefined, test: toy/test.txt, val_size: 0.1}
model: {name: lightgcn, params: {embedding_dim: 4, epochs: 3, schedule: cosine}}
training: {early_stopping: {monitor: ndcg@20}, refit: true}
evaluation: {metrics: [recall, ndcg], k_values: [20]}
"""

MARKERS = [benchmarks.BEGIN, benchmarks.END, benchmarks.QUALITY_BEGIN, benchmarks.QUALITY_END]


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunStore:
    """Small versions of all files that the script reads and writes, in a temporary folder."""
    rows = generate(40, 40, 700, seed=1)
    is_test = rows.groupby("user_id").cumcount() % 5 == 0
    for name, part in (("train", rows[~is_test]), ("test", rows[is_test])):
        lists = part.groupby("user_id")["item_id"].agg(lambda items: " ".join(map(str, items)))
        path = tmp_path / "data" / "toy" / f"{name}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{user} {items}\n" for user, items in lists.items()))
    (tmp_path / "toy.yaml").write_text(CONFIG)
    (tmp_path / "results.json").write_text('{"other": [{"bench": "kept", "seconds": 1.0}]}')
    for page in ("README", "ALL"):
        (tmp_path / f"{page}.md").write_text("\n".join(["before", *MARKERS, "after"]))
        monkeypatch.setattr(benchmarks, page, tmp_path / f"{page}.md")
    published = reproduce.Published("Toy", "toys", {"a paper": {"recall@20": 0.5}})
    monkeypatch.setattr(reproduce, "PUBLISHED", {"toy": published})
    monkeypatch.setattr(reproduce, "CONFIGS", tmp_path)
    monkeypatch.setattr(benchmarks, "RESULTS", tmp_path / "results.json")
    monkeypatch.setenv("RECCTL_BENCH_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("RECCTL_RUNS_DIR", str(tmp_path / "runs"))
    return RunStore(tmp_path / "runs")


def test_reproduction_is_resumed_once_and_added_to_table(toy, monkeypatch, capfd):
    monkeypatch.setattr(reproduce, "_run_recctl", lambda command: cli.run(command) == 0)
    reproduce.main(["toy"])
    (run,) = toy.runs()
    test_metrics = run.metrics()["test"]
    (run.path / "metrics.json").unlink()
    run.metadata["models"].pop()  # the one that was evaluated on test
    run.end("interrupted")

    reproduce.main(["toy"])
    (run,) = toy.runs()
    assert run.status == "complete"
    assert run.metrics()["test"] == test_metrics

    commands = []
    monkeypatch.setattr(reproduce, "_run_recctl", lambda command: commands.append(command))
    reproduce.main(["toy"])
    results = json.loads(benchmarks.RESULTS.read_text())
    assert list(results) == ["other", "reproduce toy"]
    recall, seconds = results["reproduce toy"]
    assert recall["value"] == round(test_metrics["recall@20"], 4)
    assert recall["ratio"] == round(test_metrics["recall@20"] / 0.5, 3)
    assert seconds["seconds"] >= 0
    assert f"recall@20 on test | toys | {recall['value']:.3g}" in benchmarks.ALL.read_text()

    assert commands == []
    (reproduce.CONFIGS / "toy.yaml").write_text(CONFIG.replace("epochs: 3", "epochs: 4"))
    with pytest.raises(SystemExit, match="toy: recctl failed"):
        reproduce.main(["toy"])
    assert "--resume" not in commands[0]


def test_overrides_without_refit_measure_the_best_epoch_of_the_fit(toy, monkeypatch, capfd):
    monkeypatch.setattr(reproduce, "_run_recctl", lambda command: cli.run(command) == 0)
    overrides = ("training.refit=false", "model.params.epochs=12", "model.params.learning_rate=0.5")
    published = reproduce.Published("Toy", "toys", {"a paper": {"recall@20": 0.5}}, "toy", overrides)
    monkeypatch.setitem(reproduce.PUBLISHED, "toy-train", published)
    reproduce.main(["toy-train"])
    (run,) = toy.runs()
    assert [entry["fitted_on"] for entry in run.metadata["models"]] == ["train"]
    best_epoch = run.metadata["training"]["best_epoch"]
    epochs = history.read(run.path / "history.jsonl")
    assert best_epoch < len(epochs)
    recall, seconds = json.loads(benchmarks.RESULTS.read_text())["reproduce toy-train"]
    assert recall["bench"].startswith(f"[Toy, {best_epoch} epochs, without refit](")
    assert recall["value"] == round(run.metrics()["test"]["recall@20"], 4)
    assert seconds["seconds"] == round(sum(epoch["seconds"] for epoch in epochs), 1)


@pytest.mark.parametrize(
    ("names", "unset", "message"),
    [
        (["tyo"], "RECCTL_RUNS_DIR", "unknown: tyo; available: toy"),
        (["toy"], "RECCTL_BENCH_DATA", "RECCTL_BENCH_DATA is not set"),
    ],
)
def test_missing_settings_are_reported(toy, monkeypatch, names, unset, message):
    monkeypatch.delenv(unset)
    with pytest.raises(SystemExit, match=message):
        reproduce.main(names)


def test_missing_data_and_failures_are_reported(toy, monkeypatch, tmp_path, capfd):
    (tmp_path / "data" / "toy" / "test.txt").unlink()
    with pytest.raises(SystemExit, match=r"toy: no .*test\.txt"):
        reproduce.main([])
    (tmp_path / "data" / "toy" / "test.txt").write_text("1\n")
    with pytest.raises(SystemExit, match="toy: recctl failed"):
        reproduce.main([])


def test_every_reproduction_has_published_values_and_a_valid_config():
    folder = Path(reproduce.__file__).parent / "reproductions"
    paths = {name: published.config_path(name) for name, published in reproduce.PUBLISHED.items()}
    assert set(folder.glob("*.yaml")) == set(paths.values())
    for name, published in reproduce.PUBLISHED.items():
        assert load(paths[name]).config.training.refit
        config = load(paths[name], list(published.overrides)).config
        measured = {f"{metric}@{k}" for metric in config.evaluation.metrics for k in config.evaluation.k_values}
        assert all(set(metrics) <= measured for metrics in published.metrics.values())
