"""The stages of a `train` on data of MovieLens-20M's shape: seconds of each, memory at the peak, and how both grow.

    python tests/benchmarks/bench_scale.py                   # 10^5, 10^6, 10^7 rows, and the 20 million of the shape
    python tests/benchmarks/bench_scale.py 100000000         # so many rows, if there is the memory: 5 GB

Each size is a Parquet file of its own, read by a process of its own. The command itself is measured as it is called.
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

from recctl.data.synthetic import generate

ROWS_OF_SHAPE, USERS_OF_SHAPE, ITEMS = 20_000_000, 138_000, 27_000
AT_ONCE = 20_000_000  # rows generated in one go

CONFIG = """
seed: 42
data: {{source: {path}, implicit: true, min_user_interactions: 5}}
split: {{strategy: random, test_size: 0.2}}
model: {{name: {model}}}
evaluation: {{metrics: [recall, ndcg], k_values: [10, 20]}}
"""
ALS = "als, params: {n_factors: 64, n_iterations: 15, tol: 0.0}"
SLIM = "slim, params: {n_neighbors: 100}"

STAGES = """
import json, sys, time
from recctl import ALSRecommender, Evaluator
from recctl.data.dataset import InteractionDataset
from recctl.data.leakage import leakage_report
from recctl.data.sources import read_source
from recctl.data.splitting import make_split

def status(field):
    return next(int(line.split()[1]) * 1024 for line in open("/proc/self/status") if line.startswith(field))

def stage(name, function):
    open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
    begin, used = time.perf_counter(), time.process_time()
    result = function()
    cpu = time.process_time() - used  # of all threads; what else the machine does hardly shows in it
    print(json.dumps([name, time.perf_counter() - begin, cpu, status("VmHWM")]), flush=True)
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


def write(path: Path, rows: int) -> None:
    """A file of so many rows; more users, not more items, make it longer."""
    writer = None
    for part, begin in enumerate(range(0, rows, AT_ONCE)):
        count = min(AT_ONCE, rows - begin)
        users = max(20, count * USERS_OF_SHAPE // ROWS_OF_SHAPE)
        frame = generate(users, min(ITEMS, count // 10), count, seed=part)
        frame["user_id"] += part * users
        table = pa.Table.from_pandas(frame, preserve_index=False)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table, row_group_size=1 << 20)
    assert writer is not None
    writer.close()


def stages(path: Path, small: Path, rows: int) -> None:
    """Print a line for each stage."""
    done = subprocess.run([sys.executable, "-c", STAGES, path, small], check=True, stdout=subprocess.PIPE, text=True)
    (*_, imports), *found = map(json.loads, done.stdout.splitlines())
    total = sum(cpu for _, _, cpu, _ in found)
    for name, seconds, cpu, peak in found:
        line = {"bench": f"scale: {name}", "data": f"{rows:,} rows", "seconds": round(seconds, 3)}
        more = {"cpu_seconds": round(cpu, 3), "share_of_cpu": round(cpu / total, 3)}
        more["cpu_ns_per_row"] = round(1e9 * cpu / rows, 1)
        print(json.dumps(line | more | {"peak_mb_above_imports": (peak - imports) >> 20}), flush=True)


def command(path: Path, rows: int, model: str) -> None:
    """Print the seconds of a whole `recctl train`, and its peak of memory, with the load of the machine."""
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "train.yaml"
        config.write_text(CONFIG.format(path=path, model=model))
        call = [sys.executable, "-m", "recctl", "train", config, "--runs-dir", Path(folder) / "runs", "-q"]
        load, begin = os.getloadavg()[0], time.perf_counter()
        with subprocess.Popen(call, stdout=subprocess.DEVNULL) as process:
            _, code, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(code)
        seconds = time.perf_counter() - begin
        assert not process.returncode
        (metadata,) = (Path(folder) / "runs").glob("*/metadata.json")
        timings = json.loads(metadata.read_text())["timings"]
    what = {
        "bench": f"scale: recctl train, {model.split(',')[0]}",
        "data": f"{rows:,} rows",
        "seconds": round(seconds, 1),
    }
    cpu = {"cpu_seconds": round(used.ru_utime + used.ru_stime, 1), "load_before": round(load, 1)}
    # The same as two CSR matrices of SciPy, int32 and float32: the interactions, and turned.
    peak = {"peak_mb": used.ru_maxrss >> 10, "csr_and_transpose_mb": 2 * 8 * rows >> 20}
    print(json.dumps(what | cpu | peak | {"stages": timings}), flush=True)


def main(sizes: list[int]) -> None:
    """Print a line for each stage and size."""
    with tempfile.TemporaryDirectory() as folder:
        small = Path(folder) / "small.parquet"
        write(small, 20_000)
        for rows in sizes or [10**5, 10**6, 10**7, ROWS_OF_SHAPE]:
            path = Path(folder) / "rows.parquet"
            write(path, rows)
            stages(path, small, rows)
            if rows >= ROWS_OF_SHAPE:
                for model in ("popularity", ALS, *([SLIM] if rows == ROWS_OF_SHAPE else [])):
                    command(path, rows, model)


if __name__ == "__main__":
    main([int(argument) for argument in sys.argv[1:]])
