"""Fits, evaluation and export on a Ray cluster of this machine: against the local engine at the same cores, and two
nodes of one core against one.

The cluster is up, its object stores have been written to, and its workers have computed before: what is measured is a
fit. Every way takes its turn, and what it makes must be the same bytes. Each node has processors of its own for all
that runs there: the workers, Ray's own processes, and on the first node this process. `RECCTL_BENCH_CORES` says how
many cores (2); let the machine do nothing else. Where it does, compare the seconds of processors that are printed
beside: of this process, and of each worker. The object stores lie in `RECCTL_BENCH_PLASMA`, if that is given: a tmpfs
with huge pages, as docs/cluster.md makes one.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from recctl import ALSRecommender, Evaluator, InteractionDataset, Recommender, SLIMRecommender, engines
from recctl.config.schema import EngineConfig
from recctl.data.splitting import make_split
from recctl.data.synthetic import generate
from recctl.engines import set_threads
from recctl.engines.ray_engine import connected, import_ray

CORES = int(os.environ.get("RECCTL_BENCH_CORES", "2"))


@contextmanager
def cluster(nodes: int, cores: int) -> Iterator[str]:
    """A cluster of so many nodes, each with processors of its own; this process is on its head. Its address."""
    import_ray()
    from ray.cluster_utils import Cluster

    store: dict[str, Any] = {"object_store_memory": 3 << 29}
    if "RECCTL_BENCH_PLASMA" in os.environ:
        store["plasma_directory"] = os.environ["RECCTL_BENCH_PLASMA"]
    os.environ["RAY_preallocate_plasma_memory"] = "1"  # noqa: SIM112 - as Ray spells it
    every = sorted(os.sched_getaffinity(0))
    made = Cluster()
    for node in range(nodes):
        os.sched_setaffinity(0, every[node * cores : (node + 1) * cores])  # whom a process starts is where it is
        made.add_node(num_cpus=cores, **({} if node else {"include_dashboard": False}), **store)
    os.sched_setaffinity(0, every[:cores])
    yield made.address
    made.shutdown()
    os.sched_setaffinity(0, every)


Clock = Callable[[Callable[[], object]], tuple[dict[str, float], object]]


@contextmanager
def way(nodes: int, cores: int) -> Iterator[Clock]:
    """A clock for work on so many nodes of so many cores; 0 nodes: on the local engine."""

    def timed(work: Callable[[], object]) -> tuple[dict[str, float], object]:
        set_threads(cores)
        before, here, begin = of_workers(), time.process_time(), time.perf_counter()
        result = work()
        seconds, here = time.perf_counter() - begin, time.process_time() - here
        after = of_workers()
        workers = [after[pid] - before.get(pid, 0) for pid in after]
        return {"wall": seconds, "here": here, "workers": sum(workers), "busiest": max(workers, default=0)}, result

    def of_workers() -> dict[int, float]:
        """Seconds of the processor that each worker has used."""
        return dict(engines.current().map(_usage, range(16 * nodes * cores))) if nodes else {}

    if not nodes:
        yield timed
        return
    with (
        cluster(nodes, cores) as address,
        connected(EngineConfig(name="ray", address=address)) as engine,
        engines.using(engine),
    ):
        SLIMRecommender().fit(InteractionDataset(generate(2000, 1000, 50_000)))  # workers start and load kernels
        yield timed


def _usage(task: int) -> tuple[int, float]:
    time.sleep(0.01)
    return os.getpid(), time.process_time()


def measure(name: str, data: str, work: Callable[[], object], ways: dict[str, tuple[int, int]], rounds: int) -> None:
    """Print the median of each way, and what they are to the first one."""
    found: dict[str, list[dict[str, float]]] = {one: [] for one in ways}
    digests = set()
    for _ in range(rounds):
        for one, (nodes, cores) in ways.items():
            with way(nodes, cores) as timed:
                spent, result = timed(work)
            found[one].append(spent)
            digests.add(str(result))
    assert len(digests) == 1, f"{name}: results differ"
    medians = {one: {key: statistics.median(s[key] for s in all_) for key in all_[0]} for one, all_ in found.items()}
    first, *others = ways
    for one in others:
        ours, theirs = medians[one], medians[first]
        line = {"bench": f"{name}: {one}", "data": data, "seconds": round(ours["wall"], 2), "peer": first}
        line |= {"peer_seconds": round(theirs["wall"], 2), "ratio": round(ours["wall"] / theirs["wall"], 3)}
        line |= {"processor": {key: {k: round(v, 2) for k, v in medians[key].items()} for key in (one, first)}}
        print(json.dumps({**line, "load": round(os.getloadavg()[0], 1)}), flush=True)


def digest(model: Recommender) -> str:
    """What a model's file would be called."""
    import tempfile
    from pathlib import Path

    with tempfile.TemporaryDirectory() as folder:
        return model.save(Path(folder) / "model.pkl")


def main(rounds: int = 3, *names: str) -> None:
    """Print a line for each kind of work, or those named, and each way."""
    dataset = InteractionDataset(generate(120_000, 16_000, 6_000_000))
    split = make_split(dataset, "random", test_size=0.1)
    train, test = split.train(dataset), split.test(dataset)
    many = InteractionDataset(generate(138_000, 27_000, 20_000_000))
    # Fits of a minute, and not of seconds: what is sent once then counts for little.
    slim = SLIMRecommender(l1_reg=0.3)
    als = ALSRecommender(n_factors=64, n_iterations=40, tol=0)
    fitted = ALSRecommender(n_factors=128).fit(train)
    six, twenty = "6M rows, 120k x 16k", "20M rows, 138k x 27k"
    works: dict[str, tuple[str, Callable[[], object]]] = {
        "SLIM fit": (six, lambda: digest(slim.clone().fit(train))),
        "ALS fit": (twenty, lambda: digest(als.clone().fit(many))),
        "evaluation": (six, lambda: Evaluator().evaluate(fitted, test)),
    }
    same_cores = {f"local engine, {CORES} cores": (0, CORES), f"Ray, one node of {CORES} cores": (1, CORES)}
    more_nodes = {"Ray, one node of a core": (1, 1), "Ray, two nodes of a core": (2, 1)}
    for name, (data, work) in works.items():
        if names and name not in names:
            continue
        measure(name, data, work, same_cores, rounds)
        if CORES > 1:
            measure(name, data, work, more_nodes, rounds)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]), *sys.argv[2:])
