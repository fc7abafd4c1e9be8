"""Backtests: cutting the windows of 20 million rows, and six windows beside six trainings of the same splits."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from side_by_side import alternate, print_json, report, seconds_of

from recctl import experiment
from recctl.data.dataset import InteractionDataset
from recctl.data.splitting import split_windows
from recctl.data.synthetic import generate
from recctl.experiment.comparison.run import compare
from recctl.runs import RunStore

N_WINDOWS = 6
MODELS = {"ease": "{name: ease}", "als": "{name: als, params: {n_factors: 64, n_iterations: 15}}"}
CONFIG = """\
data: {{source: events.parquet}}
split: {split}
{models}
evaluation: {{metrics: [ndcg], k_values: [10]}}
"""


def days_of(frame: Any) -> int:
    """The length of a window, so that the windows are the newer half of the data."""
    days = (frame["timestamp"].max() - frame["timestamp"].min()) / 86_400
    return max(1, int(days / (2 * N_WINDOWS)))


def cut_windows(n_rows: int) -> None:
    """Time cutting the windows."""
    frame = generate(n_rows // 144, n_rows // 740, n_rows)
    test_days = days_of(frame)
    dataset = InteractionDataset(frame)
    seconds = seconds_of(lambda: split_windows(dataset, n_windows=N_WINDOWS, test_days=test_days))
    print_json({"bench": "six windows: cut", "data": f"{n_rows / 1e6:.0f}M rows", "seconds": round(seconds, 3)})


def compare_with_trainings(n_rows: int) -> None:
    """Time a backtest of EASE and ALS, and a training for each model and window, in turns."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame = generate(n_rows // 20, n_rows // 500, n_rows)
        test_days = days_of(frame)
        frame.to_parquet(folder / "events.parquet")
        rolling = f"{{strategy: rolling, n_windows: {N_WINDOWS}, test_days: {test_days}}}"
        models = "\n".join(["models:", *(f"  - {model}" for model in MODELS.values())])
        (folder / "backtest.yaml").write_text(CONFIG.format(split=rolling, models=models))
        starts: list[str] = []

        def backtest() -> None:
            store = RunStore(Path(tempfile.mkdtemp(dir=folder)))
            compare([folder / "backtest.yaml"], store)
            (comparison,) = (run for run in store.runs() if run.metadata["kind"] == "compare")
            starts[:] = [window["test_start"] for window in comparison.metadata["windows"]]

        def train_all() -> None:
            store = RunStore(Path(tempfile.mkdtemp(dir=folder)))
            for start in starts:
                for model in MODELS.values():
                    split = f"{{strategy: temporal, test_start: {start}, test_days: {test_days}}}"
                    (folder / "one.yaml").write_text(CONFIG.format(split=split, models=f"model: {model}"))
                    experiment.train(experiment.load(folder / "one.yaml"), store)

        measures = {"recctl": lambda: seconds_of(backtest), "a training for each": lambda: seconds_of(train_all)}
        report("six windows of EASE and ALS: compare", f"{n_rows / 1e6:g}M rows", alternate(measures, repeats=3))


if __name__ == "__main__":
    cut_windows(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000_000)
    compare_with_trainings(int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000)
