"""Fits, evaluation and export on a Ray cluster of this machine, compared with the local engine.

The same number of cores is compared on the local engine and on one node, and two nodes of one core with one node.
Before a measurement the cluster is started, its object stores have been written to, and its workers have computed.
Configurations alternate, and their results must be equal to the byte. Each node has its own processors, on which its
workers and Ray's processes run; this process runs on the first node.

`RECCTL_BENCH_CORES` is the number of cores (2). Run nothing else on the machine; otherwise, compare the processor times
in the output, which are given for this process and for the workers. `RECCTL_BENCH_PLASMA` is a folder for the object
stores, such as a tmpfs with huge pages (see docs/guides/clusters.md).
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from side_by_side import print_json

from recctl import ALSRecommender, Evaluator, InteractionDataset, Recommender, SLIMRecommender, engines
from recctl.config.schema import EngineConfig
from recctl.data.splitting import make_split
from recctl.data.synthetic import generate
from recctl.engines import set_threads
from recctl.engines.ray_engine import connected, import_ray

CORES = int(os.environ.get("RECCTL_BENCH_CORES", "2"))


class Configuration(NamedTuple):
    """Number of nodes, and cores of each; 0 nodes are the local engine."""

    nodes: int
    cores: int


# Runs a function; returns wall and processor seconds, and the result of the function.
Timer = Callable[[Callable[[], object]], tuple[dict[str, float], object]]


@contextmanager
def start_cluster(configuration: Configuration) -> Iterator[str]:
    """Start a cluster whose nodes have their own processors, with this process on the head node; yields its address."""
    import_ray()
    from ray.cluster_utils import Cluster

    options: dict[str, Any] = {"object_store_memory": 3 << 29}
    if "RECCTL_BENCH_PLASMA" in os.environ:
        options["plasma_directory"] = os.environ["RECCTL_BENCH_PLASMA"]
    os.environ["RAY_preallocate_plasma_memory"] = "1"  # noqa: SIM112 - Ray's spelling
    processors = sorted(os.sched_getaffinity(0))
    cores = configuration.cores
    cluster = Cluster()
    for node in range(configuration.nodes):
        # Processes inherit the affinity of the process that starts them.
        os.sched_setaffinity(0, processors[node * cores : (node + 1) * cores])
        head_options = {} if node else {"include_dashboard": False}
        cluster.add_node(num_cpus=cores, **head_options, **options)
    os.sched_setaffinity(0, processors[:cores])
    yield cluster.address
    cluster.shutdown()
    os.sched_setaffinity(0, processors)


@contextmanager
def start(configuration: Configuration) -> Iterator[Timer]:
    """Start the engine of a configuration; yields a timer for work on it."""

    def run_timed(work: Callable[[], object]) -> tuple[dict[str, float], object]:
        set_threads(configuration.cores)
        workers_before = worker_seconds()
        process_begin = time.process_time()
        begin = time.perf_counter()
        result = work()
        wall = time.perf_counter() - begin
        process = time.process_time() - process_begin
        workers_after = worker_seconds()
        workers = [seconds - workers_before.get(pid, 0) for pid, seconds in workers_after.items()]
        return {"wall": wall, "here": process, "workers": sum(workers), "busiest": max(workers, default=0)}, result

    def worker_seconds() -> dict[int, float]:
        """Processor seconds of each worker since its start, by process id."""
        if not configuration.nodes:
            return {}
        # Many tasks, so that every worker gets some.
        n_tasks = 16 * configuration.nodes * configuration.cores
        return dict(engines.current().map(_processor_seconds, range(n_tasks)))

    if not configuration.nodes:
        yield run_timed
        return
    with (
        start_cluster(configuration) as address,
        connected(EngineConfig(name="ray", address=address)) as engine,
        engines.using(engine),
    ):
        # Starts the workers and loads kernels.
        SLIMRecommender().fit(InteractionDataset(generate(2000, 1000, 50_000)))
        yield run_timed


def _processor_seconds(task: int) -> tuple[int, float]:
    time.sleep(0.01)
    return os.getpid(), time.process_time()


def measure(
    name: str, data: str, work: Callable[[], object], configurations: dict[str, Configuration], rounds: int
) -> None:
    """Print the median times of each configuration, compared with the first one."""
    times: dict[str, list[dict[str, float]]] = {title: [] for title in configurations}
    digests = set()
    for _ in range(rounds):
        for title, configuration in configurations.items():
            with start(configuration) as run_timed:
                seconds, result = run_timed(work)
            times[title].append(seconds)
            digests.add(str(result))
    assert len(digests) == 1, f"{name}: results differ"
    medians = {title: _medians(rows) for title, rows in times.items()}
    reference, *others = configurations
    for title in others:
        wall = medians[title]["wall"]
        reference_wall = medians[reference]["wall"]
        processor = {key: {part: round(value, 2) for part, value in medians[key].items()} for key in (title, reference)}
        print_json(
            {
                "bench": f"{name}: {title}",
                "data": data,
                "seconds": round(wall, 2),
                "peer": reference,
                "peer_seconds": round(reference_wall, 2),
                "ratio": round(wall / reference_wall, 3),
                "processor": processor,
                "load": round(os.getloadavg()[0], 1),
            }
        )


def _medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(row[key] for row in rows) for key in rows[0]}


def model_digest(model: Recommender) -> str:
    """The hash of a model's file."""
    with tempfile.TemporaryDirectory() as folder:
        return model.save(Path(folder) / "model.pkl")


def main(rounds: int = 3, *names: str) -> None:
    """Print a line for each kind of work, or those named, and each configuration."""
    dataset = InteractionDataset(generate(120_000, 16_000, 6_000_000))
    split = make_split(dataset, "random", test_size=0.1)
    train = split.train(dataset)
    test = split.test(dataset)
    large_dataset = InteractionDataset(generate(138_000, 27_000, 20_000_000))
    # Fits take about a minute, so that data that is sent once hardly matters.
    slim = SLIMRecommender(l1_reg=0.3)
    als = ALSRecommender(n_factors=64, n_iterations=40, tol=0)
    fitted = ALSRecommender(n_factors=128).fit(train)
    data = "6M rows, 120k x 16k"
    large_data = "20M rows, 138k x 27k"
    works: dict[str, tuple[str, Callable[[], object]]] = {
        "SLIM fit": (data, lambda: model_digest(slim.clone().fit(train))),
        "ALS fit": (large_data, lambda: model_digest(als.clone().fit(large_dataset))),
        "evaluation": (data, lambda: Evaluator().evaluate(fitted, test)),
    }
    same_cores = {
        f"local engine, {CORES} cores": Configuration(0, CORES),
        f"Ray, one node of {CORES} cores": Configuration(1, CORES),
    }
    more_nodes = {
        "Ray, one node of a core": Configuration(1, 1),
        "Ray, two nodes of a core": Configuration(2, 1),
    }
    for name, (data, work) in works.items():
        if names and name not in names:
            continue
        measure(name, data, work, same_cores, rounds)
        if CORES > 1:
            measure(name, data, work, more_nodes, rounds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:])
