"""Scenarios: the commands into which faults are injected, their working folder, and their results."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from recctl.runs import Run, RunStore, labels
from recctl.runs.index import FILE_NAME as INDEX_NAME
from recctl.training import history
from tests.faults.arena import Arena

# Words of commands that stand for runs of the template.
_RUNS = {"SUBJECT": "subject", "CONTEST": "contest", "KEEPER": "keeper"}

_HEAD = """\
seed: 3
data: {source: data.csv, min_user_interactions: 2}
split: {strategy: random, test_size: 0.2, val_size: 0.2}
evaluation: {metrics: [ndcg, recall], k_values: [5]}
"""
CONFIGS = {
    "ease": _HEAD + "model: {name: ease, params: {l2_reg: 20.0}}\n",
    "popularity": _HEAD + "model: {name: popularity}\n",
    "svd": _HEAD.replace("[ndcg, recall]", "[rmse, ndcg]")
    + """\
model: {name: svd, params: {n_factors: 3, n_epochs: 5, lr: 0.02}}
training: {early_stopping: {monitor: rmse, patience: 4}}
tuning: {monitor: rmse, strategy: random, n_trials: 4, pruner: none, space: {lr: {low: 0.005, high: 0.05, log: true}}}
""",
    "sasrec": _HEAD
    + """\
model: {name: sasrec, params: {embedding_dim: 8, n_blocks: 1, n_heads: 1, max_length: 10, epochs: 3, device: cpu}}
training: {early_stopping: {monitor: ndcg@5, patience: 3}, refit: true}
""",
}


@dataclass(frozen=True)
class Scenario:
    """A command into which faults are injected.

    Attributes:
        name: The name in the names of faults.
        command: Arguments of `recctl`; the words of `_RUNS` are replaced by the ids of these runs.
        run_kind: The kind of run that the command creates; None if it works on existing runs.
        collect_results: Returns the results in a working folder, which must be the same with and without a fault.
        in_suite: Whether the test suite uses the scenario.
    """

    name: str
    command: tuple[str, ...]
    run_kind: str | None
    collect_results: Callable[[Path], Any]
    in_suite: bool = True


def prepare(arena: Arena, scenarios: Sequence[Scenario]) -> None:
    """Make the snapshot "template": data, configs, and three complete runs, `keeper`, `subject` and `contest`.

    No command may change `keeper`; commands that need a run work on `subject`. `contest` compares the two.
    """
    generator = random.Random(5)
    pairs = {(generator.randrange(40), int(30 * generator.random() ** 2)) for _ in range(900)}
    lines = ["user_id,item_id,rating,timestamp"]
    for user, item in sorted(pairs):
        lines.append(f"{user},{item},{generator.randint(1, 5)},{generator.randrange(10**6)}")
    (arena.path / "data.csv").write_text("\n".join(lines) + "\n")
    for name, text in CONFIGS.items():
        (arena.path / f"{name}.yaml").write_text(text)
    _warm_up(arena, scenarios)
    for config, name in (("svd", "keeper"), ("ease", "subject")):
        result = arena.run("train", f"{config}.yaml", "--json", "-q")
        assert result.code == 0, result
        (arena.path / name).write_text(result.json["run_id"])
    keeper = named_run(arena, "keeper").id
    result = arena.run("runs", "promote", keeper, "--as", "production")
    assert result.code == 0, result
    result = arena.run("compare", keeper, named_run(arena, "subject").id, "-m", "ndcg@5", "--json", "-q")
    assert result.code == 0, result
    (arena.path / "contest").write_text(result.json["run_id"])
    arena.save_snapshot("template")


def _warm_up(arena: Arena, scenarios: Sequence[Scenario]) -> None:
    """Let the fork server run every command once, in a folder of its own."""
    folder = arena.folder / "warm"
    folder.mkdir()
    for path in arena.path.iterdir():
        (folder / path.name).write_text(path.read_text())
    commands = [_with_latest(scenario.command) for scenario in scenarios if scenario.run_kind]
    commands.append(("train", "ease.yaml"))
    for scenario in scenarios:
        if not scenario.run_kind and scenario.name not in ("rm", "gc"):
            commands.append(_with_latest(scenario.command))
    commands.append(("runs", "verify"))
    commands.append(("runs", "gc", "--dry-run"))
    commands.append(("runs", "list", "--json"))
    commands.append(("runs", "show", "latest"))
    arena.send_request(do="warm up", cwd=folder, commands=commands)


def _with_latest(command: tuple[str, ...]) -> tuple[str, ...]:
    return tuple("latest" if word in _RUNS else word for word in command)


def command_of(scenario: Scenario, arena: Arena) -> tuple[str, ...]:
    """The arguments of a scenario's command, with the ids of the runs that it works on."""
    return tuple((arena.path / _RUNS[word]).read_text() if word in _RUNS else word for word in scenario.command)


def named_run(arena: Arena, name: str) -> Run:
    """The run `keeper` or `subject`."""
    return _named_run(arena.path, name)


def _named_run(path: Path, name: str) -> Run:
    return Run.open(path / "runs" / (path / name).read_text())


def new_runs(arena: Arena, kind: str | None = None) -> list[Run]:
    """Runs of a kind, or all, except those of the template; oldest first."""
    return _new_runs(arena.path, kind)


def _new_runs(path: Path, kind: str | None) -> list[Run]:
    prepared = {(path / name).read_text() for name in ("keeper", "subject", "contest")}
    runs = RunStore(path / "runs").runs()
    return [run for run in runs if run.id not in prepared and kind in (None, run.metadata["kind"])]


# ---- results


def newest_run_results(kind: str) -> Callable[[Path], Any]:
    """A function that returns the results of the newest run of a kind in a working folder."""

    def collect_results(path: Path) -> Any:
        return run_results(_new_runs(path, kind)[-1])

    return collect_results


def run_results(run: Run) -> dict[str, Any]:
    """All results of a run, without times, ids and the number of test evaluations."""
    results: dict[str, Any] = {
        "status": run.status,
        "models": [[model["version"], model["fitted_on"], model["sha256"]] for model in run.metadata["models"]],
        "metrics": run.metrics(),
        "split": hashlib.sha256(run.split_parts().tobytes()).hexdigest(),
        "data": run.metadata["data"]["hash"],
        "training": run.metadata.get("training"),
        "monitor": run.metadata.get("monitor"),
        "history": [
            {key: epoch[key] for key in ("epoch", "loss", "metrics") if key in epoch}
            for epoch in history.read(run.path / "history.jsonl")
        ],
    }
    if (run.path / "per_user.parquet").exists():
        results["per user"] = pd.read_parquet(run.path / "per_user.parquet").to_csv()
    if run.metadata["kind"] == "tune":
        trials = pd.read_parquet(run.path / "trials.parquet").drop(columns=["fit_seconds", "evaluate_seconds"])
        results["trials"] = trials.sort_values("number").to_csv(index=False)
        # The first line holds the id of the run.
        results["best config"] = (run.path / "best.yaml").read_text().partition("\n")[2]
        results["figures"] = sorted(path.name for path in (run.path / "figures").glob("[!.]*"))
        results["best point"] = run.metadata["tuning"]["best_point"]
    if run.metadata["kind"] == "compare":
        comparison = json.loads((run.path / "comparison.json").read_text())
        results["comparison"] = (comparison["best"], [model["metrics"] for model in comparison["compared"]])
    return results


def _evaluation_results(path: Path) -> Any:
    return run_results(_named_run(path, "subject"))


def _exported_files(path: Path) -> Any:
    folder = _named_run(path, "subject").path / "exports" / "recommendations"
    return json.loads((folder / "manifest.json").read_text())["files"]


def _alias_histories(path: Path) -> Any:
    aliases = RunStore(path / "runs").aliases
    return {name: [(move.number, move.run, move.previous) for move in aliases.history(name)] for name in aliases.all()}


def _run_labels(path: Path) -> Any:
    return labels.read(_named_run(path, "subject"))


def _remaining_runs(path: Path) -> Any:
    run_ids = [run.id for run in RunStore(path / "runs").runs()]
    # The index is a cache: whether a command got as far as writing it says nothing about the runs.
    file_names = sorted(entry.name for entry in (path / "runs").iterdir() if entry.name != INDEX_NAME)
    return run_ids, file_names


_COMPARE = ("compare", "ease.yaml", "popularity.yaml", "--resamples", "100")
SCENARIOS = [
    Scenario("train-ease", ("train", "ease.yaml"), "train", newest_run_results("train")),
    Scenario("train-svd", ("train", "svd.yaml"), "train", newest_run_results("train")),
    Scenario("train-sasrec", ("train", "sasrec.yaml"), "train", newest_run_results("train"), in_suite=False),
    Scenario("tune", ("tune", "svd.yaml"), "tune", newest_run_results("tune")),
    Scenario("fit-all-ease", ("fit", "ease.yaml", "--all-data"), "fit", newest_run_results("fit")),
    # For as many epochs as the training of the run chose.
    Scenario("fit-all-svd", ("fit", "KEEPER", "--all-data"), "fit", newest_run_results("fit")),
    Scenario("compare", _COMPARE, "compare", newest_run_results("compare")),
    Scenario("evaluate", ("evaluate", "SUBJECT", "--on", "test", "--metric", "precision"), None, _evaluation_results),
    Scenario("export", ("export", "SUBJECT", "--format", "recommendations", "-k", "3"), None, _exported_files),
    Scenario("promote", ("runs", "promote", "SUBJECT", "--as", "production"), None, _alias_histories),
    Scenario("promote-winner", ("runs", "promote", "CONTEST", "--as", "winner"), None, _alias_histories),
    Scenario("tag", ("runs", "tag", "SUBJECT", "good"), None, _run_labels),
    Scenario("rm", ("runs", "rm", "SUBJECT", "--yes"), None, _remaining_runs),
    Scenario("gc", ("runs", "gc", "--keep", "1"), None, _remaining_runs, in_suite=False),
]
