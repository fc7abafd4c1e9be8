"""Diagnosis: each problem is found by its evidence, suggestions are valid, and healthy runs have no findings."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from recctl import RunStore, experiment
from recctl.diagnosis import Diagnosis, diagnose_config, diagnose_run
from recctl.errors import TrainingError
from recctl.experiment import popularity_baseline
from recctl.experiment.data import resolve_config
from recctl.models.registry import model_class, model_names
from recctl.runs import Run
from recctl.runs.evaluations import EvaluationRecord, MeasuredData, MeasuredModel

DATA = "data: {source: synthetic, synthetic: {n_users: 60, n_items: 60, n_interactions: 1500}}\n"
PARTS = {
    "train": {"interactions": 20_000, "users": 900, "items": 1000},
    "validation": {"interactions": 3000, "users": 900, "items": 800},
    "test": {"interactions": 3000, "users": 900, "items": 800},
}
NO_LEAKAGE = {"unseen_users": {"users": 0, "share": 0.0}, "unseen_items": {"items": 0, "share": 0.0}, "duplicates": 0}


def make_run(
    tmp_path: Path,
    model: str = "svd",
    losses: tuple[float, ...] = (),
    scores: tuple[float, ...] = (),
    *,
    config: str = "split: {val_size: 0.1}",
    params: dict[str, Any] | None = None,
    metric: str = "ndcg@10",
    metrics: dict[str, float] | None = None,
    epoch_values: dict[str, Any] | None = None,
    **metadata: Any,
) -> Run:
    """A run with this history and metadata; nothing is trained."""
    path = tmp_path / "config.yaml"
    path.write_text(f"{DATA}model: {{name: {model}}}\n{config}\n")
    loaded = experiment.load(path, [f"model.params.{name}={value}" for name, value in (params or {}).items()])
    run = Run.create(tmp_path / "runs", "example", "train", resolve_config(loaded))
    defaults = {
        "data": {"hash": "d", "interactions": 26_000, "users": 900, "items": 1000},
        "split": {"hash": "s", "leakage": {"parts": PARTS, "validation": NO_LEAKAGE, "test": NO_LEAKAGE}},
        "training": {"monitor": metric},
    }
    run.metadata |= defaults | metadata
    if losses:
        lines = []
        for epoch, loss in enumerate(losses, 1):
            line = {"epoch": epoch, "loss": loss, "metrics": {}, "seconds": 1.0} | (epoch_values or {})
            if scores:
                line["metrics"] = {metric: scores[epoch - 1]}
            lines.append(json.dumps(line) + "\n")
        (run.path / "history.jsonl").write_text("".join(lines))
    if metrics:
        entry = {"version": 1, "file": "models/v1.pkl", "sha256": "m", "fitted_on": "train", "model": model}
        run.metadata["models"] = [entry]
        measured = MeasuredData("validation", "d", "s")
        record = EvaluationRecord(measured, MeasuredModel(1, "m", "train"), {}, "2026-01-01T00:00:00", {}, metrics)
        run.add_evaluation(record, pd.DataFrame({"user_id": [1], "n_relevant": [1]}))
    run.end("failed" if "error" in metadata else "complete", metadata.get("error"))
    return Run.open(run.path)


def keys(diagnosis: Diagnosis) -> list[str]:
    return [finding.key for finding in diagnosis.findings]


def suggested(diagnosis: Diagnosis, key: str) -> list[str]:
    (matching,) = [finding for finding in diagnosis.findings if finding.key == key]
    return [" ".join(shlex.split(line)) for line in matching.suggestions]


FALLING = (1.0, 0.8, 0.72, 0.69, 0.68, 0.677)


@pytest.mark.parametrize(
    ("losses", "scores", "key"),
    [
        ((0.7, 0.7, 0.701, 0.7), (), "loss-flat"),
        ((0.7, 0.6999, 0.6998, 0.6997), (), "rate-low"),
        ((1.0, 0.8, 0.9, 0.7, 0.85, 0.8), (), "rate-high"),
        ((1.0, float("nan")), (), "loss-diverged"),
        (FALLING, (0.10, 0.2, 0.3, 0.28, 0.25, 0.22), "overfitting"),
    ],
)
def test_problem_is_found_from_losses_and_metrics_of_epochs(
    tmp_path: Path, losses: tuple[float, ...], scores: tuple[float, ...], key: str
) -> None:
    diagnosis = diagnose_run(make_run(tmp_path, "ncf", losses, scores))
    assert keys(diagnosis) == [key]
    (finding,) = diagnosis.findings
    assert finding.suggestions
    assert finding.rule
    assert finding.evidence
    assert not diagnosis.healthy


def test_healthy_run_has_no_findings(tmp_path: Path) -> None:
    healthy = diagnose_run(make_run(tmp_path, "ncf", FALLING, (0.1, 0.2, 0.25, 0.26, 0.261, 0.2605)))
    assert (healthy.healthy, keys(healthy)) == (True, [])
    assert healthy.checked[2] == "6 epochs"


def test_suggestions_are_ordered_and_relative_to_present_values(tmp_path: Path) -> None:
    flat = diagnose_run(make_run(tmp_path, "ncf", (0.7, 0.7, 0.701, 0.7)))
    assert suggested(flat, "loss-flat") == [
        "--set data.min_user_interactions=5",
        "--set model.params.learning_rate=0.0001",
        "--set model.params.epochs=50",
    ]
    overfitted = diagnose_run(make_run(tmp_path, "ncf", FALLING, (0.1, 0.2, 0.3, 0.28, 0.25, 0.22)))
    assert suggested(overfitted, "overfitting") == [
        "--set model.params.dropout=0.5",
        "--set model.params.embedding_dim=32",
        "--set model.params.hidden_layers=[64, 32]",
        '--set training.early_stopping={"patience": 5}',
        "--set model.params.n_negatives=10",
    ]


def test_more_epochs_are_suggested_only_after_the_maximum_was_reached(tmp_path: Path) -> None:
    improving = (0.1, 0.2, 0.25, 0.28, 0.30, 0.32)
    ended = make_run(tmp_path, "ncf", FALLING, improving, params={"epochs": 6})
    assert keys(diagnose_run(ended)) == ["still-improving"]
    assert "--set model.params.epochs=15" in suggested(diagnose_run(ended), "still-improving")
    stopped = make_run(tmp_path, "ncf", FALLING, improving, params={"epochs": 20})
    assert keys(diagnose_run(stopped)) == []


def noisy_scores(seed: int, n_epochs: int, trend: float = 0.0) -> tuple[float, ...]:
    """A metric around 0.3 that varies by 5% between epochs, and changes by `trend` from the first to the last."""
    noise = np.random.default_rng(seed).normal(0, 0.05, n_epochs)
    return tuple((0.3 * (1 + np.linspace(0, trend, n_epochs) + noise)).tolist())


def steady_losses(n_epochs: int) -> tuple[float, ...]:
    return tuple(float(epoch) ** -0.5 for epoch in range(1, n_epochs + 1))


def keys_of_scores(tmp_path: Path, scores: tuple[float, ...]) -> list[str]:
    losses = steady_losses(len(scores))
    return keys(diagnose_run(make_run(tmp_path, "ncf", losses, scores, params={"epochs": len(scores)})))


def test_noisy_plateau_is_neither_still_improving_nor_overfitting(tmp_path: Path) -> None:
    # The best epoch is the last but one, and the last one is 12% below it: once both findings.
    scores = (0.10, 0.20, 0.27, 0.30, 0.29, 0.31, 0.28, 0.305, 0.285, 0.30, 0.29, 0.31, 0.28, 0.30, 0.29, 0.305)
    assert keys_of_scores(tmp_path, (*scores, 0.285, 0.295, 0.32, 0.28)) == []
    found = [keys_of_scores(tmp_path, noisy_scores(seed, n_epochs=20)) for seed in range(25)]
    assert not any({"still-improving", "overfitting"} <= set(found_keys) for found_keys in found)
    assert sum(map(bool, found)) <= 1


def test_trend_is_found_in_spite_of_noise(tmp_path: Path) -> None:
    rising = [keys_of_scores(tmp_path, noisy_scores(seed, 40, trend=2.0)) for seed in range(10)]
    assert rising.count(["still-improving"]) >= 7
    falling = [keys_of_scores(tmp_path, noisy_scores(seed, 40, trend=-0.3)) for seed in range(10)]
    assert falling.count(["overfitting"]) >= 9
    assert ["overfitting"] not in rising
    assert ["still-improving"] not in falling


def test_error_ratio_is_no_overfitting_while_validation_improves(tmp_path: Path) -> None:
    losses = (1.0, 0.8, 0.6, 0.5, 0.45, 0.42)
    improving = (1.2, 1.1, 1.05, 1.0, 0.95, 0.9)
    run = make_run(tmp_path, "svd", losses, improving, metric="rmse", params={"n_epochs": 6})
    assert keys(diagnose_run(run)) == ["still-improving"]


def test_with_early_stopping_only_an_early_best_epoch_is_a_finding(tmp_path: Path) -> None:
    config = "split: {val_size: 0.1}\ntraining: {early_stopping: {patience: 4}}"
    early = (0.1, 0.3, 0.28, 0.26, 0.25, 0.24)
    assert keys(diagnose_run(make_run(tmp_path, "ncf", FALLING, early, config=config))) == ["best-epoch-early"]
    later = (0.1, 0.2, 0.3, 0.26, 0.25, 0.24)
    assert keys(diagnose_run(make_run(tmp_path, "ncf", FALLING, later, config=config))) == []


def test_validation_error_far_above_train_error_is_a_finding(tmp_path: Path) -> None:
    errors = (1.2, 1.1, 1.05, 1.04, 1.03, 1.03)
    diagnosis = diagnose_run(make_run(tmp_path, "svd", FALLING, errors, metric="rmse"))
    assert "train-validation-gap" in keys(diagnosis)
    assert suggested(diagnosis, "train-validation-gap")[0] == "--set model.params.reg=0.1"


def test_metrics_no_better_than_random_are_a_problem(tmp_path: Path) -> None:
    assert keys(diagnose_run(make_run(tmp_path, "ease", metrics={"recall@10": 0.012}))) == ["metric-low"]
    assert keys(diagnose_run(make_run(tmp_path, "ease", metrics={"ndcg@10": 0.008}))) == ["metric-low"]
    assert keys(diagnose_run(make_run(tmp_path, "ease", metrics={"recall@10": 0.2, "ndcg@10": 0.1}))) == []
    assert keys(diagnose_run(make_run(tmp_path, "random", metrics={"recall@10": 0.01}))) == []


def baseline(difference: float, margin: float) -> dict[str, Any]:
    return {
        "part": "validation",
        "metric": "ndcg@10",
        "users": 900,
        "model": 0.2 + difference,
        "popularity": 0.2,
        "difference": difference,
        "low": difference - margin,
        "high": difference + margin,
    }


@pytest.mark.parametrize(
    ("model", "difference", "margin", "severity"),
    [
        ("als", 0.05, 0.01, None),
        ("als", 0.005, 0.01, "warning"),
        ("als", -0.05, 0.01, "problem"),
        ("svd", -0.05, 0.01, "warning"),
    ],
)
def test_model_no_better_than_popularity_is_found(
    tmp_path: Path, model: str, difference: float, margin: float, severity: str | None
) -> None:
    diagnosis = diagnose_run(make_run(tmp_path, model, baseline=baseline(difference, margin)))
    if severity is None:
        assert keys(diagnosis) == []
        return
    (finding,) = diagnosis.findings
    assert finding.key == "not-better-than-popularity"
    assert finding.severity == severity
    assert "popularity" in finding.title
    assert finding.evidence["ndcg@10_of_popularity"] == 0.2
    assert "--set model.name=popularity" in finding.suggestions


@pytest.mark.parametrize(
    ("model", "values", "key", "first"),
    [
        ("ncf", {"epoch_values": {"seconds": 700.0}}, "slow", "--set model.params.batch_size=2048"),
        ("slim", {"timings": {"fit": 9000.0}}, "slow", "--set model.params.max_iter=50"),
        ("als", {"timings": {"fit": 9000.0}}, "slow", "--set model.params.n_iterations=10"),
        ("ncf", {"epoch_values": {"validation_seconds": 30.0}}, "validation-slow", "--set training.validate_every=5"),
        (
            "ncf",
            {"epoch_values": {"batch_size": 64}},
            "batches-halved",
            "--set model.params.batch_size=64 --set model.params.accumulation_steps=4",
        ),
        (
            "ncf",
            {"error": "MemoryError: no"},
            "memory-out",
            "--set model.params.batch_size=32",
        ),
        (
            "ease",
            {"error": "ease: ... need 160.0 GB of memory, 20.0 GB are available"},
            "memory-out",
            "--set data.min_item_interactions=5",
        ),
        (
            "lightgcn",
            {"memory": {"peak_bytes": 9 * 10**9, "available_bytes": 10**10}},
            "memory-tight",
            "--set model.params.batch_size=256",
        ),
    ],
)
def test_time_and_memory_are_checked(tmp_path: Path, model: str, values: dict[str, Any], key: str, first: str) -> None:
    losses = () if model in ("slim", "als", "ease") else FALLING
    diagnosis = diagnose_run(make_run(tmp_path, model, losses, **values))
    assert keys(diagnosis) == [key]
    assert suggested(diagnosis, key)[0] == first


@pytest.mark.parametrize("model", [name for name in model_names() if model_class(name).__module__.startswith("recctl")])
def test_every_suggestion_is_valid_for_its_config(tmp_path: Path, model: str) -> None:
    """With everything wrong at once, the config accepts each suggestion."""
    bad = {
        "unseen_users": {"users": 9, "share": 0.5},
        "unseen_items": {"items": 9, "share": 0.5},
        "duplicates": 500,
        "train_later": {"interactions": 5, "share": 0.1},
    }
    run = make_run(
        tmp_path,
        model,
        (1.0, 0.8, 0.9, 0.7, 0.85, 0.8),
        (0.3, 0.2, 0.1, 0.1, 0.1, 0.1),
        metrics={"recall@10": 0.001},
        epoch_values={"seconds": 1000.0, "validation_seconds": 5000.0, "batch_size": 2},
        data={
            "hash": "d",
            "interactions": 900,
            "users": 900,
            "items": 10_000,
            "outline": {
                "per_user": {"median": 1},
                "popularity": {"top_20_percent": 0.9, "gini": 0.9},
                "ratings": {"min": 0, "max": 100},
                "time": None,
            },
        },
        split={"hash": "s", "leakage": {"parts": PARTS, "validation": bad, "test": bad}},
        timings={"fit": 9000.0},
        memory={"peak_bytes": 9 * 10**9, "available_bytes": 10**10},
        error="out of memory",
    )
    diagnosis = diagnose_run(run)
    assert len(diagnosis.findings) > 8
    lines = [line for finding in diagnosis.findings for line in finding.suggestions]
    assert len(lines) > 10
    for line in lines:
        words = shlex.split(line)
        assert words[::2] == ["--set"] * (len(words) // 2)
        experiment.load(run.path / "config.yaml", words[1::2])


def test_another_split_strategy_is_suggested_to_runs(tmp_path: Path) -> None:
    """A run's config names options of its strategy, which the suggested strategies do not have."""
    config = tmp_path / "config.yaml"
    config.write_text(f"{DATA}split: {{within_user: true}}\nmodel: {{name: popularity}}\n")
    run = experiment.train(experiment.load(config), RunStore(tmp_path / "runs"))
    assert suggested(diagnose_run(run), "data-future") == [
        "--set split.strategy=temporal",
        "--set split.strategy=leave_last",
    ]


# ---- data


def write_config(tmp_path: Path, name: str = "data.csv", **columns: Any) -> Path:
    pd.DataFrame(columns).to_csv(tmp_path / name, index=False)
    (tmp_path / "data.yaml").write_text(f"data: {{source: {name}}}\nmodel: {{name: sasrec}}\n")
    return tmp_path / "data.yaml"


def test_data_are_checked_without_training(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    n = 3000
    config = write_config(
        tmp_path,
        user_id=random.integers(0, 1000, n),
        item_id=np.where(random.random(n) < 0.9, random.integers(0, 10, n), random.integers(10, 2000, n)),
    )
    found_keys = keys(diagnose_config(experiment.load(config)))
    assert {"data-small", "data-sparse", "data-long-tail", "data-duplicates", "data-no-timestamps"} <= set(found_keys)
    assert {"data-cold-items-test", "data-cold-users-test", "data-seen-test"} <= set(found_keys)
    assert found_keys.index("data-sparse") < found_keys.index("data-small")  # most severe first


def test_data_of_a_run_are_read_again_only_on_request(tmp_path: Path) -> None:
    n = 1200
    items = np.random.default_rng(1).integers(0, 200, n)
    config = write_config(tmp_path, user_id=np.arange(n) % 60, item_id=items, timestamp=np.arange(n))
    config.write_text("data: {source: data.csv}\nmodel: {name: popularity}\n")
    run = experiment.train(experiment.load(config), RunStore(tmp_path / "runs"))
    assert "data-duplicates" not in keys(diagnose_run(run))
    assert "data-duplicates" in keys(diagnose_run(run, reread=True))
    assert "data-future" in keys(diagnose_run(run))


# ---- real runs, and the command line


@pytest.mark.parametrize(
    ("model", "params", "key", "first"),
    [
        (
            "slim",
            "{max_iter: 1, tol: 1.0e-9, l1_reg: 0.01, l2_reg: 0.1}",
            "not-solved",
            "--set model.params.max_iter=4",
        ),
        ("als", "{n_iterations: 2}", "still-improving", "--set model.params.n_iterations=4"),
    ],
)
def test_solver_that_did_not_converge_is_found(tmp_path: Path, model: str, params: str, key: str, first: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"{DATA}model: {{name: {model}, params: {params}}}\n")
    diagnosis = diagnose_run(experiment.train(experiment.load(path), RunStore(tmp_path / "runs")))
    assert suggested(diagnosis, key)[0] == first
    path.write_text(f"{DATA}model: {{name: {model}}}\n")
    converged = diagnose_run(experiment.train(experiment.load(path), RunStore(tmp_path / "runs")))
    assert key not in keys(converged)


@pytest.mark.parametrize(
    ("model", "convergence", "key", "first"),
    [
        ("als", {"last_fall": -0.3, "at_limit": False}, "objective-rose", "--set model.params.reg=5"),
        ("ease", {"relative_error": 0.2}, "inexact-solution", "--set model.params.l2_reg=50000"),
    ],
)
def test_solution_dominated_by_rounding_is_a_problem(
    tmp_path: Path, model: str, convergence: dict[str, float], key: str, first: str
) -> None:
    diagnosis = diagnose_run(make_run(tmp_path, model, convergence=convergence))
    assert suggested(diagnosis, key)[0] == first
    assert not diagnosis.healthy


@pytest.mark.parametrize(
    ("model", "convergence"),
    [("als", {"last_fall": -1e-7, "at_limit": False}), ("ease", {"relative_error": 1e-6})],
)
def test_rounding_of_a_converged_solution_is_no_finding(
    tmp_path: Path, model: str, convergence: dict[str, float]
) -> None:
    assert keys(diagnose_run(make_run(tmp_path, model, convergence=convergence))) == []


SKEWED = "data: {source: synthetic, synthetic: {n_users: 300, n_items: 80, n_interactions: 6000}}\n"


@pytest.mark.parametrize(
    "split", ["{strategy: random, val_size: 0.2}", "{strategy: random}", "{strategy: user, val_size: 0.3}"]
)
def test_runs_record_popularity_of_the_same_users_and_protocol(tmp_path: Path, split: str) -> None:
    """The recorded figures are those of a popularity run, user by user."""
    store = RunStore(tmp_path / "runs")
    path = tmp_path / "config.yaml"
    runs = {}
    for model in ("als", "popularity"):
        path.write_text(f"{SKEWED}split: {split}\nmodel: {{name: {model}}}\n")
        runs[model] = experiment.train(experiment.load(path), store)
    assert runs["popularity"].metadata["baseline"] is None
    recorded = runs["als"].metadata["baseline"]
    part = "validation" if "val_size" in split else "test"
    assert (recorded["part"], recorded["metric"]) == (part, "ndcg@10")
    tables = {model: run.per_user(part).set_index("user_id")["ndcg@10"] for model, run in runs.items()}
    differences = (tables["als"] - tables["popularity"]).to_numpy()
    assert recorded["users"] == len(differences)
    assert recorded["model"] == pytest.approx(tables["als"].mean())
    assert recorded["popularity"] == pytest.approx(tables["popularity"].mean())
    assert recorded["difference"] == pytest.approx(differences.mean())
    standard_error = np.sqrt(
        ((differences - differences.mean()) ** 2).sum() / (len(differences) - 1) / len(differences)
    )
    assert recorded["high"] - recorded["low"] == pytest.approx(2 * 1.96 * standard_error)
    assert runs["als"].metadata["test_looks"] == 1, "the baseline is no look at test"


def test_large_validation_parts_are_sampled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(popularity_baseline, "_MAX_USERS", 50)
    path = tmp_path / "config.yaml"
    path.write_text(f"{SKEWED}split: {{val_size: 0.2}}\nmodel: {{name: als}}\n")
    recorded = experiment.train(experiment.load(path), RunStore(tmp_path / "runs")).metadata["baseline"]
    assert recorded["users"] == 50


def test_train_warns_of_a_model_that_ranks_worse_than_popularity(recctl: Any, workdir: Path) -> None:
    (workdir / "skewed.yaml").write_text(
        f"{SKEWED}split: {{val_size: 0.2}}\nmodel: {{name: svd}}\nevaluation: {{metrics: [ndcg, rmse]}}\n"
    )
    done = recctl("train", "skewed.yaml")
    assert "than popularity" in done.err
    run_id = recctl("runs", "list", "--json").json["runs"][0]["run_id"]
    # Runs of earlier versions have no record of it; their data are read again on request.
    metadata_path = workdir / "runs" / run_id / "metadata.json"
    metadata = json.loads(metadata_path.read_text())
    expected = metadata.pop("baseline")
    metadata_path.write_text(json.dumps(metadata))
    assert "than popularity" not in recctl("diagnose", run_id).out
    findings = recctl("diagnose", run_id, "--data", "--json").json["findings"]
    (found,) = [finding for finding in findings if finding["key"] == "not-better-than-popularity"]
    assert found["evidence"]["ndcg@10_of_popularity"] == pytest.approx(expected["popularity"])


def test_diverged_run_is_found(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"{DATA}model: {{name: svd, params: {{lr: 1000000.0}}}}\n")
    with pytest.raises(TrainingError):
        experiment.train(experiment.load(path), RunStore(tmp_path / "runs"))
    diagnosis = diagnose_run(RunStore(tmp_path / "runs").runs()[-1])
    assert diagnosis.findings[0].key == "loss-diverged"
    assert suggested(diagnosis, "loss-diverged")[0] == "--set model.params.lr=250000"


def test_command_diagnoses_configs_and_runs(recctl: Any) -> None:
    assert recctl("train", "small.yaml", "-q").code == 0
    done = recctl("diagnose", "latest")
    assert done.code == 0
    assert done.out.startswith("hint")
    assert "healthy" in done.out
    answer = recctl("diagnose", "small.yaml", "--json").json
    assert {"healthy", "findings", "looked_at", "source"} <= answer.keys()
    assert answer["findings"][0]["key"] == "data-small"
    assert recctl("diagnose", "latest", "--set", "seed=1").code == 2
    assert recctl("diagnose", "nosuchrun").code == 4


def test_train_reports_problems_of_the_run(recctl: Any) -> None:
    flat = ("--set", "model.name=svd", "--set", "model.params.lr=1e-7", "--set", "evaluation.metrics=[rmse]")
    done = recctl("train", "small.yaml", *flat)
    assert done.code == 0
    assert "problem: the loss decreases steadily but very slowly: the learning rate is too low" in done.err
    assert "--set model.params.lr=1e-06" in done.err
    assert "recctl diagnose " in done.err
    assert "problem:" not in done.out
    assert "problem:" not in recctl("train", "small.yaml").err
