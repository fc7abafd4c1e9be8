"""Commands to hurt, the folder they run in, and what they must come to whatever was done to them."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from recctl.runs import Run, RunStore, labels
from recctl.training import history
from tests.faults.arena import Arena

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
class Scene:
    """A command that is hurt.

    Attributes:
        name: What faults call it.
        command: Its arguments.
        makes: The kind of run it makes; None if it works on the run that is there.
        told: What of the folder must be the same whether it was hurt and gone on with, or not.
        in_suite: Whether the test suite hurts it.
    """

    name: str
    command: tuple[str, ...]
    makes: str | None
    told: Callable[[Path], Any]
    in_suite: bool = True


def prepare(arena: Arena) -> None:
    """Data, configs, and a complete run that nothing may touch, `keeper`; a second one to work on, `subject`."""
    draw = random.Random(5)
    rows = {(draw.randrange(40), int(30 * draw.random() ** 2)) for _ in range(900)}
    lines = [f"{user},{item},{draw.randint(1, 5)},{draw.randrange(10**6)}" for user, item in sorted(rows)]
    (arena.path / "data.csv").write_text("user_id,item_id,rating,timestamp\n" + "\n".join(lines) + "\n")
    for name, text in CONFIGS.items():
        (arena.path / f"{name}.yaml").write_text(text)
    warm = arena.folder / "warm"
    warm.mkdir()
    for name in ("data.csv", *(f"{name}.yaml" for name in CONFIGS)):
        (warm / name).write_text((arena.path / name).read_text())
    makers = [list(scene.command) for scene in SCENES if scene.makes]
    others = [
        [_named(word, {"SUBJECT": "latest"}) for word in scene.command]
        for scene in SCENES
        if not scene.makes and scene.name != "rm"
    ]
    looks = [["runs", "verify"], ["runs", "gc", "--dry-run"], ["runs", "list", "--json"], ["runs", "show", "latest"]]
    arena.ask(do="warm up", cwd=warm, commands=[*makers, ["train", "ease.yaml"], *others, *looks])
    for name, made in (("svd", "keeper"), ("ease", "subject")):
        done = arena.run("train", f"{name}.yaml", "--json", "-q")
        assert done.code == 0, done
        (arena.path / made).write_text(done.document["run_id"])
    done = arena.run("runs", "promote", run_named(arena, "keeper").id, "--as", "production")
    assert done.code == 0, done
    arena.keep("template")


def _named(word: str, names: dict[str, str]) -> str:
    return names.get(word, word)


def command_of(scene: Scene, arena: Arena) -> tuple[str, ...]:
    """A scene's command, with the run it works on."""
    subject = {"SUBJECT": (arena.path / "subject").read_text()}
    return tuple(_named(word, subject) for word in scene.command)


def run_named(arena: Arena, name: str) -> Run:
    """The run that was there before: `keeper` or `subject`."""
    return Run.open(arena.path / "runs" / (arena.path / name).read_text())


def new_runs(arena: Arena, kind: str | None = None) -> list[Run]:
    """Runs that were not there before, oldest first."""
    return _new_runs(arena.path, kind)


def _new_runs(path: Path, kind: str | None) -> list[Run]:
    there = {(path / name).read_text() for name in ("keeper", "subject")}
    runs = RunStore(path / "runs").runs()
    return [run for run in runs if run.id not in there and kind in (None, run.metadata["kind"])]


# ---- what is told


def made(kind: str) -> Callable[[Path], Any]:
    """What the newest run of a kind came to."""

    def told(path: Path) -> Any:
        return told_of(_new_runs(path, kind)[-1])

    return told


def told_of(run: Run) -> dict[str, Any]:
    """All that a run came to, but for times, ids, and how often test was read."""
    told: dict[str, Any] = {
        "status": run.status,
        "models": [[m["version"], m["fitted_on"], m["sha256"]] for m in run.metadata["models"]],
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
        told["per user"] = pd.read_parquet(run.path / "per_user.parquet").to_csv()
    if run.metadata["kind"] == "tune":
        table = pd.read_parquet(run.path / "trials.parquet").drop(columns=["fit_seconds", "evaluate_seconds"])
        told["trials"] = table.sort_values("number").to_csv(index=False)
        told["best"] = (run.path / "best.yaml").read_text().partition("\n")[2]
        told["figures"] = sorted(path.name for path in (run.path / "figures").glob("[!.]*"))
        told["point"] = run.metadata["tuning"]["best_point"]
    if run.metadata["kind"] == "compare":
        document = json.loads((run.path / "comparison.json").read_text())
        told["words"] = document["best"], [model["metrics"] for model in document["compared"]]
    return told


def _evaluated(path: Path) -> Any:
    return told_of(Run.open(path / "runs" / (path / "subject").read_text()))


def _exported(path: Path) -> Any:
    folder = path / "runs" / (path / "subject").read_text() / "exports" / "recommendations"
    return json.loads((folder / "manifest.json").read_text())["files"]


def _promoted(path: Path) -> Any:
    names = RunStore(path / "runs").aliases
    return [(move.number, move.run, move.previous) for move in names.history("production")]


def _tagged(path: Path) -> Any:
    return labels.read(Run.open(path / "runs" / (path / "subject").read_text()))


def _removed(path: Path) -> Any:
    return [run.id for run in RunStore(path / "runs").runs()], sorted(p.name for p in (path / "runs").iterdir())


SCENES = [
    Scene("train-ease", ("train", "ease.yaml"), "train", made("train")),
    Scene("train-svd", ("train", "svd.yaml"), "train", made("train")),
    Scene("train-sasrec", ("train", "sasrec.yaml"), "train", made("train"), in_suite=False),
    Scene("tune", ("tune", "svd.yaml"), "tune", made("tune")),
    Scene("compare", ("compare", "ease.yaml", "popularity.yaml", "--resamples", "100"), "compare", made("compare")),
    Scene("evaluate", ("evaluate", "SUBJECT", "--on", "test", "--metric", "precision"), None, _evaluated),
    Scene("export", ("export", "SUBJECT", "--format", "recommendations", "-k", "3"), None, _exported),
    Scene("promote", ("runs", "promote", "SUBJECT", "--as", "production"), None, _promoted),
    Scene("tag", ("runs", "tag", "SUBJECT", "good"), None, _tagged),
    Scene("rm", ("runs", "rm", "SUBJECT", "--yes"), None, _removed),
]
