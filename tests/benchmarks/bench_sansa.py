"""SANSA compared with EASE in ranking quality and time; time and memory of a fit as catalogs grow."""

from __future__ import annotations

import subprocess
import sys

from side_by_side import alternate, print_json, report, report_value, seconds_of, train_test_splits

from recctl import EASERecommender, Evaluator, InteractionDataset, SANSARecommender

L2_REG = {"MovieLens-100K": 500.0, "goodbooks": 200.0}
NEIGHBORS = (50, 100)

GROWTH_PROGRAM = """
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


def measure_quality() -> None:
    """Print NDCG@10 and recall@10 on test, and the seconds of fits, compared with EASE."""
    evaluator = Evaluator(["ndcg", "recall"], [10])
    for data, train, test_rows in train_test_splits():
        test = InteractionDataset(test_rows)
        l2_reg = L2_REG[data]
        ease_values = evaluator.evaluate(EASERecommender(l2_reg=l2_reg).fit(train), test)
        for n_neighbors in NEIGHBORS:
            model = SANSARecommender(l2_reg=l2_reg, n_neighbors=n_neighbors).fit(train)
            values = evaluator.evaluate(model, test)
            for metric, ease_value in ease_values.items():
                title = f"SANSA, {n_neighbors} neighbours: {metric}"
                report_value(title, data, values[metric], peer="EASE", peer_value=ease_value)
        measures = {
            "recctl": lambda train=train: seconds_of(lambda: SANSARecommender().fit(train)),
            "EASE": lambda train=train: seconds_of(lambda: EASERecommender().fit(train)),
        }
        report("SANSA: fit", data, alternate(measures, repeats=5))


def measure_growth() -> None:
    """Print seconds and memory of fits on catalogs of growing size, with ten interactions per item."""
    for n_items in (25_000, 50_000, 100_000, 200_000, 400_000):
        command = [sys.executable, "-c", GROWTH_PROGRAM, str(n_items)]
        result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        seconds, peak_bytes, estimated_bytes = map(float, result.stdout.split())
        print_json(
            {
                "bench": "SANSA: fit",
                "data": f"{n_items:,} items",
                "seconds": round(seconds, 2),
                "peak_mb": round(peak_bytes / 2**20),
                "estimated_mb": round(estimated_bytes / 2**20),
                "ease_mb": 4 * n_items**2 >> 20,
            }
        )


if __name__ == "__main__":
    measure_quality()
    measure_growth()
