"""Compare models that are tuned in the same way: `python -m tests.benchmarks.tuned [--chosen] [TABLE] [MODEL ...]`.

Each `tables/TABLE.yaml` defines the data, the split and the search of a table. `recctl tune` searches each model (its
own ranges, its defaults as the first trial), chooses on validation, refits on train + validation, and evaluates once on
test. `recctl compare` then gives confidence intervals, and tests the differences from the model that is best on
validation. This takes hours; interrupted runs are resumed. Runs are stored in `$RECCTL_RUNS_DIR` or `runs/tuned`, and
the results in `tuned.json`, from which the README's tables are generated.

With `--chosen`, models are fitted and measured again with the hyperparameters in `tuned.json`, without a search.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recctl import RunStore
from recctl.experiment.comparison.run import compare, comparison_result
from recctl.models.registry import model_class
from recctl.runs import Run
from tests.benchmarks.__main__ import README, replace_section
from tests.benchmarks.reproduce import CONFIGS as REPRODUCTIONS
from tests.benchmarks.reproduce import complete_run, path_overrides

TABLES = REPRODUCTIONS.with_name("tables")
RESULTS = REPRODUCTIONS.with_name("tuned.json")
BEGIN = "<!-- tuned: begin -->"
END = "<!-- tuned: end -->"

CLASSICAL_MODELS = ["popularity", "item-knn", "user-knn", "rp3beta", "ease", "sansa", "slim", "als", "svdpp"]
# Title and models of each table.
CONTENTS = {
    "movielens-100k": ("MovieLens-100K, random 8:1:1", [*CLASSICAL_MODELS, "ncf", "lightgcn"]),
    "movielens-100k-last": (
        "MovieLens-100K, last item of each user",
        [*CLASSICAL_MODELS, "ncf", "lightgcn", "sasrec"],
    ),
    "goodbooks": ("goodbooks-10k, random 8:1:1", CLASSICAL_MODELS),
}
WITHOUT_HYPERPARAMETERS = ("popularity",)
# What `tuned.json` says about the search of a model.
SEARCH_KEYS = ("trials", "minutes", "threads", "point")


def tuned_run(table: str, model: str, store: RunStore, chosen: dict[str, Any] | None = None) -> Run:
    """Return the complete run of a model; start or resume it if there is none.

    Args:
        table: Name of the table.
        model: Name of the model.
        store: Where runs are stored.
        chosen: Hyperparameters that an earlier search chose; None: search.

    Raises:
        SystemExit: Data is missing, or recctl failed.
    """
    config = TABLES / f"{table}.yaml"
    overrides = [f"model.name={model}", *path_overrides(config)]
    if model_class(model).trained_in_epochs:
        overrides.append("training.early_stopping={monitor: ndcg@10, patience: 5}")
    if chosen:
        overrides.append(f"model.params={json.dumps(chosen)}")
    kind = "train" if model in WITHOUT_HYPERPARAMETERS or chosen else "tune"
    return complete_run(kind, config, overrides, store)


def earlier_searches(table: str) -> dict[str, dict[str, Any]]:
    """The searches in `tuned.json`, by model: the number of trials, the minutes, the threads and the best point."""
    models = json.loads(RESULTS.read_text())[table]["models"]
    return {model["model"]: {key: model[key] for key in SEARCH_KEYS} for model in models}


def compare_runs(runs: list[Run], store: RunStore) -> dict[str, Any]:
    """Compare the runs of a table; returns the table as it is stored in `tuned.json`."""
    comparison_run = compare(list(runs), store)
    comparison = comparison_result(comparison_run)
    store.remove(comparison_run)
    run_by_id = {run.id: run for run in runs}
    models = []
    for model in comparison["compared"]:
        metadata = run_by_id[model["runs"][0]].metadata
        tuning = metadata.get("tuning", {})
        models.append(
            {
                "model": model["model"],
                "trials": tuning.get("n_trials"),
                "minutes": round(sum(metadata["timings"].values()) / 60, 1),
                "threads": metadata["environment"]["hardware"]["threads"],
                "validation": model["validation"],
                "metrics": model["metrics"],
                "point": tuning.get("best_point", {}),
            }
        )
    table = {key: comparison[key] for key in ("metric", "best", "n_users", "words")}
    table["models"] = models
    return table


def format_table(title: str, table: dict[str, Any]) -> str:
    """Format a table in Markdown."""
    metric = table["metric"]
    other_metrics = [key for key in table["models"][0]["metrics"] if key != metric]
    headings = [
        "model",
        "trials",
        f"{metric} on validation",
        f"{metric} on test",
        "95 % interval",
        f"difference from {table['best']}",
        "p",
        *other_metrics,
    ]
    lines = [f"**{title}** ({table['n_users']:,} users)", ""]
    lines.append(f"| {' | '.join(headings)} |")
    lines.append("|---|" + "---:|" * (len(headings) - 1))
    for model in table["models"]:
        test = model["metrics"][metric]
        is_compared = test["difference"] is not None
        cells = [
            model["model"],
            str(model["trials"] or ""),
            f"{model['validation']:.4f}",
            f"{test['value']:.4f}",
            f"{test['low']:.4f} to {test['high']:.4f}",
            f"{test['difference']:+.4f}" if is_compared else "",
            f"{test['p_holm']:.2g}" if is_compared else "",
        ]
        cells += [f"{model['metrics'][key]['value']:.4f}" for key in other_metrics]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_readme() -> None:
    """Generate the README's tables from `tuned.json`."""
    results = json.loads(RESULTS.read_text())
    tables = [format_table(title, results[name]) for name, (title, _) in CONTENTS.items() if name in results]
    replace_section(README, "\n\n".join(tables), BEGIN, END)


def measure_again(table: str, models: Sequence[str], store: RunStore) -> dict[str, Any]:
    """Fit and compare the models of a table with the hyperparameters that their searches chose."""
    searches = earlier_searches(table)
    runs = [tuned_run(table, model, store, searches[model]["point"]) for model in models or searches]
    result = compare_runs(runs, store)
    for model in result["models"]:
        model |= searches[model["model"]]
    return result


def main(*arguments: str) -> None:
    """Tune and compare the models of one table, or of all, and update the README."""
    is_chosen = "--chosen" in arguments
    names = [argument for argument in arguments if argument != "--chosen"]
    table = names[0] if names else None
    models = names[1:]
    if table is not None and table not in CONTENTS:
        sys.exit(f"unknown: {table}; available: {', '.join(CONTENTS)}")
    store = RunStore(Path(os.environ.get("RECCTL_RUNS_DIR") or "runs/tuned"))
    for name in [table] if table else CONTENTS:
        if is_chosen:
            result = measure_again(name, models, store)
        else:
            result = compare_runs([tuned_run(name, model, store) for model in models or CONTENTS[name][1]], store)
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        results[name] = result
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        write_readme()


if __name__ == "__main__":
    main(*sys.argv[1:])
