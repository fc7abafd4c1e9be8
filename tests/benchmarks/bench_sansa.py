"""SANSA against EASE, in quality and in seconds, where both fit; and its seconds and memory as catalogs grow."""

from __future__ import annotations

import json
import subprocess
import sys

from side_by_side import in_turns, parts, report, seconds_of

from recctl import EASERecommender, Evaluator, InteractionDataset, SANSARecommender

L2_REG = {"MovieLens-100K": 500.0, "goodbooks": 200.0}
NEIGHBORS = (50, 100)

GROWTH = """
import sys, time
from recctl import InteractionDataset, SANSARecommender
from recctl.data.synthetic import generate

def status(field):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(field))

n_items = int(sys.argv[1])
data = InteractionDataset(generate(n_items // 2, n_items, 10 * n_items, seed=1))
data.matrix
SANSARecommender().fit(InteractionDataset(generate(100, 100, 1000)))
before = status("VmRSS")
open("/proc/self/clear_refs", "w").write("5")
begin = time.perf_counter()
model = SANSARecommender().fit(data)
print(time.perf_counter() - begin, status("VmHWM") - before, model.estimate_memory(n_items // 2, n_items, len(data)))
"""


def quality() -> None:
    """Print NDCG@10 and recall@10 on a fifth of the interactions, as parts of EASE's."""
    evaluator = Evaluator(["ndcg", "recall"], [10])
    for data, train, test in parts():
        l2_reg = L2_REG[data]
        ease = evaluator.evaluate(EASERecommender(l2_reg=l2_reg).fit(train), InteractionDataset(test))
        for n in NEIGHBORS:
            found = evaluator.evaluate(
                SANSARecommender(l2_reg=l2_reg, n_neighbors=n).fit(train), InteractionDataset(test)
            )
            for metric, theirs in ease.items():
                line = {"bench": f"SANSA, {n} neighbours: {metric}", "data": data, "value": round(found[metric], 4)}
                line |= {"unit": "", "peer": "EASE", "peer_value": round(theirs, 4)}
                print(json.dumps(line | {"ratio": round(found[metric] / theirs, 3)}), flush=True)
        fits = {
            "recctl": lambda train=train: seconds_of(lambda: SANSARecommender().fit(train)),
            "EASE": lambda train=train: seconds_of(lambda: EASERecommender().fit(train)),
        }
        report("SANSA: fit", data, in_turns(fits, repeats=5))


def growth() -> None:
    """Print seconds and memory of a fit on catalogs of which each is twice as large; ten interactions an item."""
    for n_items in (25_000, 50_000, 100_000, 200_000, 400_000):
        done = subprocess.run(
            [sys.executable, "-c", GROWTH, str(n_items)], check=True, stdout=subprocess.PIPE, text=True
        )
        seconds, peak, estimated = map(float, done.stdout.split())
        line = {"bench": "SANSA: fit", "data": f"{n_items:,} items", "seconds": round(seconds, 2)}
        memory = {"peak_mb": round(peak / 2**20), "estimated_mb": round(estimated / 2**20)}
        print(json.dumps(line | memory | {"ease_mb": 4 * n_items**2 >> 20}), flush=True)


if __name__ == "__main__":
    quality()
    growth()
