"""Adaptive search over models at a third of the trials, against the best model of the tuned tables.

`recctl tune` with `allocation: adaptive` gets a third of the trials that all searches of a table had together. Its
winner, refitted and tested, is compared with the best model of the table, fitted again with the point that its search
chose: the figure is the paired difference of NDCG@10 on test with its 95 % interval, which should include 0.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

# This file is run as a script, and the tables are a module of the repository.
sys.path.insert(0, str(Path(__file__).parents[2]))

from recctl import RunStore
from recctl.experiment.comparison.result import ComparisonOptions
from recctl.experiment.comparison.run import compare, comparison_result
from tests.benchmarks.side_by_side import report_value
from tests.benchmarks.tuned import RESULTS, chosen_run, earlier_searches, search_run

TABLES = {"movielens-100k": "MovieLens-100K", "goodbooks": "goodbooks-10k"}
METRIC = "ndcg@10"


def main(*tables: str) -> None:
    """Measure some tables, or all."""
    store = RunStore(Path(os.environ.get("RECCTL_RUNS_DIR") or "runs/choose"))
    for table in tables or TABLES:
        searches = earlier_searches(table)
        n_trials = sum(search["trials"] or 1 for search in searches.values()) // 3
        limits = ["allocation=adaptive", f"n_trials={n_trials}", "timeout_minutes=null"]
        winner = search_run(table, list(searches), store, limits)
        best = str(json.loads(RESULTS.read_text())[table]["best"])
        reference = chosen_run(table, best, searches[best]["point"], store)
        comparison_run = compare([winner, reference], store, ComparisonOptions(metric=METRIC))
        compared = comparison_result(comparison_run)
        store.remove(comparison_run)
        # Of the two, the one that is not the reference of the comparison has the difference.
        other = next(model for model in compared["compared"] if model["label"] != compared["reference"])
        figure = other["metrics"][METRIC]
        sign = 1 if winner.id in other["runs"] else -1
        low, high = sorted(sign * figure[key] for key in ("difference_low", "difference_high"))
        spent = sum(model["seconds"] for model in winner.metadata["tuning"]["models"])
        case = f"{n_trials} trials: {winner.metadata['tuning']['best_model']} against {best} of the table"
        report_value(f"choose, {case}: difference in {METRIC}", TABLES[table], sign * figure["difference"])
        report_value(f"choose, {case}: lower end of its interval", TABLES[table], low)
        report_value(f"choose, {case}: upper end of its interval", TABLES[table], high)
        report_value(f"choose, {case}: the search", TABLES[table], spent, "s")


if __name__ == "__main__":
    main(*sys.argv[1:])
