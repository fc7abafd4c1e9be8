"""Full-ranking evaluation of EASE on goodbooks, against the score products it needs and against peers' evaluators.

All evaluate the same scores: peers get the weights. Metrics are precision, recall, NDCG, hit rate, MAP and MRR at 5, 10
and 20; of them irspack's evaluator has all but MRR.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from side_by_side import Measure, in_turns, report, seconds_of

from recctl import EASERecommender, Evaluator, InteractionDataset
from recctl.ranking import map_blocks

RUNNER = Path(__file__).parent / "peers" / "evaluation.py"
K_VALUES = [5, 10, 20]


@contextmanager
def peer(name: str, world: str, ours: Mapping[str, float]) -> Iterator[Measure | None]:
    """A peer's process, as a function that makes it evaluate once and gives the seconds; None where it is not there.

    What it measured must be what recctl did.
    """
    python = Path(os.environ.get("RECCTL_BENCH_PEERS", "")) / "classical" / "bin" / "python"
    if not python.exists() or subprocess.run([python, "-c", f"import {name}"], capture_output=True).returncode:
        print(f"{name} is left out: it is not in $RECCTL_BENCH_PEERS/classical", flush=True)
        yield None
        return
    command = [python, RUNNER, name, world]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None
        assert stdout is not None

        def once() -> float:
            print(file=stdin, flush=True)
            answer = json.loads(stdout.readline())
            for key in (f"{metric}@{k}" for metric in ("ndcg", "recall", "precision") for k in K_VALUES):
                assert math.isclose(ours[key], answer["metrics"][key], rel_tol=1e-4), (name, key)
            return float(answer["seconds"])

        yield once
        stdin.close()


def prepare(path: Path, world: str) -> tuple[EASERecommender, InteractionDataset]:
    """A model fitted on four fifths, and the rest of the users it knows; both written for the peers too."""
    rows = pd.read_csv(path).rename(columns={"book_id": "item_id"}).drop_duplicates(["user_id", "item_id"])
    held_out = np.random.default_rng(42).random(len(rows)) < 0.2
    train = InteractionDataset(rows[~held_out])
    model = EASERecommender(l2_reg=500.0).fit(train)
    known = rows["user_id"].isin(train.user_vocabulary.ids) & rows["item_id"].isin(train.item_vocabulary.ids)
    test = InteractionDataset(rows[held_out & known])
    users = train.user_vocabulary.codes(test.user_vocabulary.ids)
    items = train.item_vocabulary.codes(test.item_vocabulary.ids)[test.items]
    relevant = sp.csr_matrix((np.ones(len(test), np.float32), (test.users, items)), (test.n_users, train.n_items))
    sp.save_npz(f"{world}/train.npz", sp.csr_matrix(train.csr[users]), compressed=False)
    sp.save_npz(f"{world}/test.npz", relevant, compressed=False)
    np.save(f"{world}/weights.npy", model.weights)
    return model, test


def main() -> None:
    """Print a line for each comparison."""
    path = Path(os.environ.get("RECCTL_BENCH_DATA", "")) / "goodbooks" / "ratings.csv.zip"
    if not path.exists():
        print(f"goodbooks is left out: no {path}; see $RECCTL_BENCH_DATA in the README of the benchmarks", flush=True)
        return
    with tempfile.TemporaryDirectory() as world, ExitStack() as stack:
        model, test = prepare(path, world)
        users = model.user_vocabulary.codes(test.user_vocabulary.ids)
        evaluator = Evaluator(["precision", "recall", "ndcg", "hit_rate", "map", "mrr"], K_VALUES)
        ours = evaluator.evaluate(model, test)

        def products() -> None:
            n_items = len(model.item_vocabulary)
            for _ in map_blocks(lambda rows: model.score_users(users[rows]) is None, len(users), n_items):
                pass

        measures = {
            "recctl": lambda: seconds_of(lambda: evaluator.evaluate(model, test)),
            "its score products alone": lambda: seconds_of(products),
            **{name: stack.enter_context(peer(name, world, ours)) for name in ("skrecsys", "irspack")},
        }
        data = f"goodbooks, {len(users):,} users, {len(model.item_vocabulary):,} items"
        report("evaluate: full ranking, 6 metrics at 3 cutoffs", data, in_turns(measures, repeats=5))


if __name__ == "__main__":
    main()
