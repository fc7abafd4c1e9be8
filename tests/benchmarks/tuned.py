"""Compare models that are tuned in the same way: `python -m tests.benchmarks.tuned [--chosen] [TABLE] [MODEL ...]`.

Each `tables/TABLE.yaml` defines the data, the split and the search of a table. One `recctl tune` with
`allocation: equal` searches all models (their own ranges, their defaults as first trials), chooses on validation,
refits on train + validation, and evaluates once on test. It compares the models with confidence intervals, and tests
the differences from the model that is best on validation. This takes hours; interrupted runs are resumed. Runs are
stored in `$RECCTL_RUNS_DIR` or `runs/tuned`, and the results in `tuned.json`, from which the README's tables are
generated.

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
from tests.benchmarks.__main__ import ALL, replace_section
from tests.benchmarks.reproduce import CONFIGS as REPRODUCTIONS
from tests.benchmarks.reproduce import complete_run, path_overrides

TABLES = REPRODUCTIONS.with_name("tables")
RESULTS = REPRODUCTIONS.with_name("tuned.json")
PAGE = ALL.with_name("quality.md")
BEGIN = "<!-- tuned: begin -->"
END = "<!-- tuned: end -->"

# All models that learn from interactions alone: svd and svdpp learn from ratings.
CLASSICAL_MODELS = ["popularity", "item-knn", "user-knn", "rp3beta", "ease", "sansa", "slim", "als", "bpr"]
ALL_MODELS = [*CLASSICAL_MODELS, "mult-vae", "ncf", "lightgcn", "sasrec"]
# Title and models of each table.
CONTENTS = {
    "movielens-100k": ("MovieLens-100K, random 8:1:1", ALL_MODELS),
    "movielens-100k-last": ("MovieLens-100K, last item of each user", ALL_MODELS),
    "goodbooks": ("goodbooks-10k, random 8:1:1", CLASSICAL_MODELS),
}
EARLY_STOPPING = "training.early_stopping={monitor: ndcg@10, patience: 5}"
# What `tuned.json` says about the search of a model.
SEARCH_KEYS = ("trials", "minutes", "threads", "point")


def search_run(table: str, models: Sequence[str], store: RunStore, tuning: Sequence[str] = ()) -> Run:
    """Return the complete search of the models of a table; start or resume it if there is none.

    Args:
        table: Name of the table.
        models: Names of the models.
        store: Where runs are stored.
        tuning: Settings of the section `tuning`, such as `n_trials=10`.

    Raises:
        SystemExit: Data is missing, or recctl failed.
    """
    config = TABLES / f"{table}.yaml"
    overrides = [f"models={json.dumps([{'name': model} for model in models])}", *path_overrides(config)]
    overrides += [f"tuning.{setting}" for setting in tuning]
    if any(model_class(model).trained_in_epochs for model in models):
        overrides.append(EARLY_STOPPING)
    return complete_run("tune", config, overrides, store)


def chosen_run(table: str, model: str, point: dict[str, Any], store: RunStore) -> Run:
    """Return the complete run of a model with hyperparameters that a search chose; start or resume it if needed."""
    config = TABLES / f"{table}.yaml"
    overrides = [f"model.name={model}", *path_overrides(config)]
    if model_class(model).trained_in_epochs:
        overrides.append(EARLY_STOPPING)
    if point:
        overrides.append(f"model.params={json.dumps(point)}")
    return complete_run("train", config, overrides, store)


def earlier_searches(table: str) -> dict[str, dict[str, Any]]:
    """The searches in `tuned.json`, by model: the number of trials, the minutes, the threads and the best point."""
    models = json.loads(RESULTS.read_text())[table]["models"]
    return {model["model"]: {key: model[key] for key in SEARCH_KEYS} for model in models}


def searched_table(run: Run, store: RunStore) -> dict[str, Any]:
    """The table of a search, as it is stored in `tuned.json`."""
    tuning = run.metadata["tuning"]
    searches = {model["label"]: model for model in tuning["models"]}
    table = table_of(comparison_result(store.resolve(tuning["comparison"])))
    for model in table["models"]:
        search = searches[model["model"]]
        model["trials"] = search["trials"] if search["best_point"] else None
        model["minutes"] = round(search["seconds"] / 60, 1)
        model["threads"] = run.metadata["environment"]["hardware"]["threads"]
        model["point"] = search["best_point"]
    return table


def table_of(comparison: dict[str, Any]) -> dict[str, Any]:
    """What `tuned.json` stores of a comparison."""
    table = {key: comparison[key] for key in ("metric", "best", "n_users", "words")}
    table["models"] = [
        {key: model[key] for key in ("model", "validation", "metrics")} for model in comparison["compared"]
    ]
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


def write_page() -> None:
    """Generate the tables of docs/explanation/quality.md from `tuned.json`."""
    results = json.loads(RESULTS.read_text())
    tables = [format_table(title, results[name]) for name, (title, _) in CONTENTS.items() if name in results]
    replace_section(PAGE, "\n\n".join(tables), BEGIN, END)


def measure_again(table: str, models: Sequence[str], store: RunStore) -> dict[str, Any]:
    """Fit and compare the models of a table with the hyperparameters that their searches chose."""
    searches = earlier_searches(table)
    runs = [chosen_run(table, model, searches[model]["point"], store) for model in models or searches]
    comparison_run = compare(list(runs), store)
    result = table_of(comparison_result(comparison_run))
    store.remove(comparison_run)
    for model in result["models"]:
        model |= searches[model["model"]]
    return result


def main(*arguments: str) -> None:
    """Tune and compare the models of one table, or of all, and update the page."""
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
            result = searched_table(search_run(name, models or CONTENTS[name][1], store), store)
        results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
        results[name] = result
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
        write_page()


if __name__ == "__main__":
    main(*sys.argv[1:])
