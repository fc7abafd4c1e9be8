"""Which model is best: all of them tuned alike, with intervals: `python -m tests.benchmarks.tuned [TABLE] [MODEL ...]`.

Each `tables/TABLE.yaml` says the data, the split and the search; each model is searched by `recctl tune` (its own
ranges, its defaults as the first trial), chosen on validation, fitted anew on train and validation, and reads test
once. `recctl compare` then gives intervals, and whether a difference from the best on validation is more than chance.
It takes hours, and goes on where it stopped: runs are kept in `$RECCTL_RUNS_DIR`, else in `runs/tuned`. What was
measured goes into `tuned.json`, and from there into the README: of the models that are named, else of all.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from recctl import RunStore
from recctl.experiment.comparison.run import compare, comparison_result
from recctl.models.registry import model_class
from recctl.runs import Run
from tests.benchmarks.__main__ import README, write
from tests.benchmarks.reproduce import CONFIGS as REPRODUCTIONS
from tests.benchmarks.reproduce import completed, located

TABLES = REPRODUCTIONS.with_name("tables")
KEPT = REPRODUCTIONS.with_name("tuned.json")
BEGIN, END = "<!-- tuned: begin -->", "<!-- tuned: end -->"

CLASSICAL = ["popularity", "item-knn", "ease", "sansa", "slim", "als", "svdpp"]
# Its title, and its models.
CONTENTS = {
    "movielens-100k": ("MovieLens-100K, random 8:1:1", [*CLASSICAL, "ncf", "lightgcn"]),
    "movielens-100k-last": ("MovieLens-100K, everybody's last item", [*CLASSICAL, "ncf", "lightgcn", "sasrec"]),
    "goodbooks": ("goodbooks-10k, random 8:1:1", CLASSICAL),
}
# They have nothing to search.
AS_THEY_ARE = ("popularity",)


def tuned(table: str, model: str, store: RunStore) -> Run:
    """The complete run of a model: found, gone on with, or made.

    Raises:
        SystemExit: Data are missing, or recctl failed.
    """
    config = TABLES / f"{table}.yaml"
    overrides = [f"model.name={model}", *located(config)]
    if model_class(model).trained_in_epochs:
        overrides.append("training.early_stopping={monitor: ndcg@10, patience: 5}")
    return completed("train" if model in AS_THEY_ARE else "tune", config, overrides, store)


def rows(runs: list[Run], store: RunStore) -> dict[str, Any]:
    """What a table holds."""
    compared = compare(list(runs), store)
    found = comparison_result(compared)
    store.remove(compared)
    by_id = {run.id: run for run in runs}
    models = []
    for model in found["compared"]:
        run = by_id[model["runs"][0]]
        metadata = run.metadata
        models.append(
            {
                "model": model["model"],
                "trials": metadata.get("tuning", {}).get("n_trials"),
                "minutes": round(sum(metadata["timings"].values()) / 60, 1),
                "threads": metadata["environment"]["hardware"]["threads"],
                "validation": model["validation"],
                "metrics": model["metrics"],
                "point": metadata.get("tuning", {}).get("best_point", {}),
            }
        )
    return {key: found[key] for key in ("metric", "best", "n_users", "words")} | {"models": models}


def markdown(title: str, held: dict[str, Any]) -> str:
    """The table of one data set."""
    metric = held["metric"]
    others = [key for key in held["models"][0]["metrics"] if key != metric]
    head = ["model", "trials", f"{metric} on validation", f"{metric} on test", "95 %", f"from {held['best']}", "p"]
    head += others
    lines = [f"**{title}** ({held['n_users']:,} users)", ""]
    lines += [f"| {' | '.join(head)} |", "|---|" + "---:|" * (len(head) - 1)]
    for model in held["models"]:
        figure = model["metrics"][metric]
        apart = figure["difference"] is not None
        cells = [
            model["model"],
            str(model["trials"] or ""),
            f"{model['validation']:.4f}",
            f"{figure['value']:.4f}",
            f"{figure['low']:.4f} to {figure['high']:.4f}",
            f"{figure['difference']:+.4f}" if apart else "",
            f"{figure['p_holm']:.2g}" if apart else "",
            *(f"{model['metrics'][key]['value']:.4f}" for key in others),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_readme() -> None:
    """Make the README's tables anew from what is kept."""
    kept = json.loads(KEPT.read_text())
    tables = [markdown(title, kept[name]) for name, (title, _) in CONTENTS.items() if name in kept]
    write(README, "\n\n".join(tables), BEGIN, END)


def main(table: str | None = None, *models: str) -> None:
    """Search, compare, and renew the README."""
    if table is not None and table not in CONTENTS:
        sys.exit(f"unknown: {table}; there is: {', '.join(CONTENTS)}")
    store = RunStore(Path(os.environ.get("RECCTL_RUNS_DIR") or "runs/tuned"))
    for name in [table] if table else CONTENTS:
        runs = [tuned(name, model, store) for model in models or CONTENTS[name][1]]
        kept = json.loads(KEPT.read_text()) if KEPT.exists() else {}
        kept[name] = rows(runs, store)
        KEPT.write_text(json.dumps(kept, indent=1) + "\n")
        write_readme()


if __name__ == "__main__":
    main(*sys.argv[1:])
