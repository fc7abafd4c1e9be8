"""Full-ranking evaluation of EASE on goodbooks, compared with its score products alone and with peers' evaluators.

All evaluate the same scores: peers get recctl's weights. The metrics are precision, recall, NDCG, hit rate, MAP and MRR
at 5, 10 and 20; irspack's evaluator lacks MRR.
"""

from __future__ import annotations

import json
import math
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from side_by_side import PEER_FOLDER, Measure, alternate, goodbooks_path, peer_python, report, seconds_of

from recctl import EASERecommender, Evaluator, InteractionDataset
from recctl.ranking import map_blocks

K_VALUES = [5, 10, 20]


@contextmanager
def start_peer(name: str, folder: str, metrics: Mapping[str, float]) -> Iterator[Measure | None]:
    """Start the process of a peer.

    Args:
        name: Name of the peer.
        folder: Folder with the files of `prepare`.
        metrics: recctl's metrics, to which the peer's must be equal.

    Yields:
        A function that evaluates once and returns the seconds; None if the peer is not installed.
    """
    python = peer_python("classical")
    if python is None or subprocess.run([python, "-c", f"import {name}"], capture_output=True).returncode:
        print(f"{name} is skipped", flush=True)
        yield None
        return
    command = [python, PEER_FOLDER / "evaluation.py", name, folder]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        stdin = process.stdin
        stdout = process.stdout
        assert stdin is not None
        assert stdout is not None

        def evaluate() -> float:
            print(file=stdin, flush=True)
            answer = json.loads(stdout.readline())
            for metric in ("ndcg", "recall", "precision"):
                for k in K_VALUES:
                    key = f"{metric}@{k}"
                    assert math.isclose(metrics[key], answer["metrics"][key], rel_tol=1e-4), (name, key)
            return float(answer["seconds"])

        yield evaluate
        stdin.close()


def prepare(path: Path, folder: str) -> tuple[EASERecommender, InteractionDataset]:
    """Fit a model on 80 % of the interactions, and write its weights, train and test to files for the peers.

    Returns:
        The model, and the test interactions of known users and items.
    """
    rows = pd.read_csv(path).rename(columns={"book_id": "item_id"}).drop_duplicates(["user_id", "item_id"])
    is_test = np.random.default_rng(42).random(len(rows)) < 0.2
    train = InteractionDataset(rows[~is_test])
    model = EASERecommender(l2_reg=500.0).fit(train)
    is_known = rows["user_id"].isin(train.user_vocabulary.ids) & rows["item_id"].isin(train.item_vocabulary.ids)
    test = InteractionDataset(rows[is_test & is_known])
    users = train.user_vocabulary.codes(test.user_vocabulary.ids)
    items = train.item_vocabulary.codes(test.item_vocabulary.ids)[test.items]
    relevant = sp.csr_matrix((np.ones(len(test), np.float32), (test.users, items)), (test.n_users, train.n_items))
    sp.save_npz(f"{folder}/train.npz", sp.csr_matrix(train.csr[users]), compressed=False)
    sp.save_npz(f"{folder}/test.npz", relevant, compressed=False)
    np.save(f"{folder}/weights.npy", model.weights)
    return model, test


def main() -> None:
    """Print a line for each comparison."""
    path = goodbooks_path()
    if path is None:
        return
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        model, test = prepare(path, folder)
        users = model.user_vocabulary.codes(test.user_vocabulary.ids)
        n_items = len(model.item_vocabulary)
        evaluator = Evaluator(["precision", "recall", "ndcg", "hit_rate", "map", "mrr"], K_VALUES)
        metrics = evaluator.evaluate(model, test)

        def compute_scores() -> None:
            for _ in map_blocks(lambda rows: model.score_users(users[rows]) is None, len(users), n_items):
                pass

        measures: dict[str, Measure | None] = {
            "recctl": lambda: seconds_of(lambda: evaluator.evaluate(model, test)),
            "its score products alone": lambda: seconds_of(compute_scores),
        }
        for name in ("skrecsys", "irspack"):
            measures[name] = stack.enter_context(start_peer(name, folder, metrics))
        data = f"goodbooks, {len(users):,} users, {n_items:,} items"
        report("evaluate: full ranking, 6 metrics at 3 cutoffs", data, alternate(measures, repeats=5))


if __name__ == "__main__":
    main()
