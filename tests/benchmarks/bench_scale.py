"""The stages of `recctl train` on data of MovieLens-20M's shape: time and peak memory of each, and how they grow.

    python tests/benchmarks/bench_scale.py                   # 10^5, 10^6, 10^7 and 20 million rows
    python tests/benchmarks/bench_scale.py 100000000         # this number of rows; takes 5 GB of memory

Each size is a Parquet file, which is read by a new process. The whole command is measured as well.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from side_by_side import print_json

from recctl.data.synthetic import generate

# The shape of MovieLens-20M.
N_ROWS = 20_000_000
N_USERS = 138_000
N_ITEMS = 27_000
MAX_ROWS_PER_PART = 20_000_000

CONFIG = """
seed: 42
data: {{source: {path}, implicit: true, min_user_interactions: 5}}
split: {{strategy: random, test_size: 0.2}}
model: {{name: {model}}}
evaluation: {{metrics: [recall, ndcg], k_values: [10, 20]}}
"""
ALS = "als, params: {n_factors: 64, n_iterations: 15, tol: 0.0}"
SLIM = "slim, params: {n_neighbors: 100}"

STAGES_PROGRAM = """
import json, sys, time
from recctl import ALSRecommender, Evaluator
from recctl.data.dataset import InteractionDataset
from recctl.data.leakage import leakage_report
from recctl.data.sources import read_source
from recctl.data.splitting import make_split

def status(field):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(field))

def stage(name, function):
    open("/proc/self/clear_refs", "w").write("5")  # resets the peak
    cpu_begin = time.process_time()
    begin = time.perf_counter()
    result = function()
    seconds = time.perf_counter() - begin
    cpu_seconds = time.process_time() - cpu_begin  # of all threads; hardly affected by other load
    print(json.dumps([name, seconds, cpu_seconds, status("VmHWM")]), flush=True)
    return result

ALSRecommender(n_iterations=1).fit(InteractionDataset.from_columns(read_source(sys.argv[2]).columns))
print(json.dumps(["imports", 0, 0, status("VmRSS")]))
table = stage("read", lambda: read_source(sys.argv[1]))
data = stage("encode and filter", lambda: InteractionDataset.from_columns(table.columns, True, 5))
split = stage("split", lambda: make_split(data, "random", test_size=0.2, seed=42))
stage("hash", data.content_hash)
stage("leakage report", lambda: leakage_report(split, data))
train, test = stage("take the parts", lambda: (split.train(data), split.test(data)))
stage("matrix", lambda: train.matrix)
model = ALSRecommender(n_factors=64, n_iterations=15, tol=0.0)
stage("ALS, 64 factors, 15 iterations", lambda: model.fit(train))
stage("evaluation of all users", lambda: Evaluator(["recall", "ndcg"], [10, 20]).evaluate(model, test))
"""


def write_interactions(path: Path, n_rows: int) -> None:
    """Write a file with this number of rows; larger files have more users, not more items."""
    writer = None
    for part, begin in enumerate(range(0, n_rows, MAX_ROWS_PER_PART)):
        n_part_rows = min(MAX_ROWS_PER_PART, n_rows - begin)
        n_part_users = max(20, n_part_rows * N_USERS // N_ROWS)
        frame = generate(n_part_users, min(N_ITEMS, n_part_rows // 10), n_part_rows, seed=part)
        frame["user_id"] += part * n_part_users
        table = pa.Table.from_pandas(frame, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=1 << 20)
    assert writer is not None
    writer.close()


def measure_stages(path: Path, warmup_path: Path, n_rows: int) -> None:
    """Print a line for each stage."""
    command = [sys.executable, "-c", STAGES_PROGRAM, path, warmup_path]
    result = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    (*_, imports_bytes), *stages = map(json.loads, result.stdout.splitlines())
    total_cpu_seconds = sum(cpu_seconds for _, _, cpu_seconds, _ in stages)
    for name, seconds, cpu_seconds, peak_bytes in stages:
        print_json(
            {
                "bench": f"scale: {name}",
                "data": f"{n_rows:,} rows",
                "seconds": round(seconds, 3),
                "cpu_seconds": round(cpu_seconds, 3),
                "share_of_cpu": round(cpu_seconds / total_cpu_seconds, 3),
                "cpu_ns_per_row": round(1e9 * cpu_seconds / n_rows, 1),
                "peak_mb_above_imports": (peak_bytes - imports_bytes) >> 20,
            }
        )


def measure_command(path: Path, n_rows: int, model: str) -> None:
    """Print the seconds and the peak memory of `recctl train`, with the load of the machine before it."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "train.yaml"
        config.write_text(CONFIG.format(path=path, model=model))
        command = [sys.executable, "-m", "recctl", "train", config, "--runs-dir", Path(folder) / "runs", "-q"]
        load = os.getloadavg()[0]
        begin = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - begin
        assert not process.returncode
        (metadata,) = (Path(folder) / "runs").glob("*/metadata.json")
        timings = json.loads(metadata.read_text())["timings"]
    print_json(
        {
            "bench": f"scale: recctl train, {model.split(',')[0]}",
            "data": f"{n_rows:,} rows",
            "seconds": round(seconds, 1),
            "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 1),
            "load_before": round(load, 1),
            "peak_mb": usage.ru_maxrss >> 10,
            # For comparison: the interactions and their transpose as SciPy matrices, int32 and float32.
            "csr_and_transpose_mb": 2 * 8 * n_rows >> 20,
            "stages": timings,
        }
    )


def main(sizes: list[int]) -> None:
    """Print a line for each stage and size."""
    with tempfile.TemporaryDirectory() as folder:
        warmup_path = Path(folder) / "small.parquet"
        write_interactions(warmup_path, 20_000)
        for n_rows in sizes or [10**5, 10**6, 10**7, N_ROWS]:
            path = Path(folder) / "rows.parquet"
            write_interactions(path, n_rows)
            measure_stages(path, warmup_path, n_rows)
            if n_rows >= N_ROWS:
                measure_command(path, n_rows, "popularity")
                measure_command(path, n_rows, ALS)
            if n_rows == N_ROWS:
                measure_command(path, n_rows, SLIM)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
