"""Work on a Ray cluster of three nodes, which are lost on the way: it comes to the same bytes as on this machine."""

import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread

import numpy as np
import pandas as pd
import pytest

from recctl import (
    ALSRecommender,
    Evaluator,
    InteractionDataset,
    SLIMRecommender,
    engines,
    export_model,
    progress,
)
from recctl.config.schema import EngineConfig
from recctl.engines.ray_engine import connected
from recctl.errors import ConfigError, DataError, TrainingError
from recctl.models.base import Recommender
from tests.conftest import skip_without

skip_without("ray", "pip install 'recctl[ray]'")

CLUSTER = Path(__file__).parents[1] / "tuning" / "cluster.py"


class Nodes:
    """The cluster, and what befalls it."""

    def __init__(self, process: subprocess.Popen) -> None:
        self.process = process
        self.address = process.stdout.readline().strip()

    def say(self, what: str, answer: str) -> None:
        print(what, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == answer + "\n"

    def lose_one(self) -> None:
        self.say("lose", "lost one")


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    command = [sys.executable, str(CLUSTER)]
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    yield Nodes(process)
    process.stdin.close()
    process.wait(60)
    process.stdout.close()


@pytest.fixture(scope="module")
def engine(nodes: Nodes) -> Iterator[engines.Engine]:
    with connected(EngineConfig(name="ray", address=nodes.address)) as engine:
        yield engine


@pytest.fixture
def whole(nodes: Nodes) -> Iterator[Nodes]:
    """The cluster, which has as many nodes as before when the test is over."""
    yield nodes
    nodes.say("add", "added one")


class Losing:
    """A listener in whose hearing a node is lost, once, when a piece of work is on its way."""

    def __init__(self, lose: Callable[[], None], title: str) -> None:
        self.lose, self.title = lose, title
        self.lost_at: float | None = None

    def start(self, title: str, total: float | None, unit: str) -> "_Heard":
        return _Heard(self, title, total)

    def finish(self, task: "_Heard") -> None:
        pass

    def notice(self, message: str) -> None:
        pass


class _Heard:
    def __init__(self, losing: Losing, title: str, total: float | None) -> None:
        self.losing, self.title, self.total = losing, title, total

    def update(self, done: float, **values: float | str) -> None:
        if self.losing.lost_at is None and self.title.startswith(self.losing.title):
            self.losing.lost_at = done / self.total
            self.losing.lose()


@pytest.fixture(scope="module")
def data() -> InteractionDataset:
    random = np.random.default_rng(5)
    n = 20_000
    table = pd.DataFrame(
        {"user_id": (random.random(n) ** 2 * 1500).astype(int), "item_id": (random.random(n) ** 2 * 700).astype(int)}
    )
    return InteractionDataset(table.drop_duplicates())


@pytest.fixture(scope="module")
def test_part(data: InteractionDataset) -> InteractionDataset:
    table = data.data[["user_id", "item_id"]].iloc[::4]
    return InteractionDataset(table.assign(item_id=table["item_id"].to_numpy()[::-1]).drop_duplicates())


def digest(model: Recommender, tmp_path: Path) -> str:
    return model.save(tmp_path / "model.pkl")


def slim() -> Recommender:
    return SLIMRecommender(l1_reg=0.5, l2_reg=10.0)


def als() -> Recommender:
    return ALSRecommender(n_factors=24, n_iterations=25, tol=0, solver="ials++", block_size=8)


@pytest.mark.parametrize(("make", "title"), [(slim, "SLIM: weights"), (als, "ALS")])
def test_a_fit_that_loses_a_node_is_the_fit_on_this_machine(
    make: Callable[[], Recommender], title: str, whole: Nodes, engine: engines.Engine, data, tmp_path: Path
) -> None:
    here = make().fit(data)
    # ALS tells between its phases: there the node is lost while the next ones go on.
    thread = Thread(target=whole.lose_one)
    losing = Losing(whole.lose_one if make is slim else thread.start, title)
    with engines.using(engine), progress.listening(losing):
        far = make().fit(data)
    if make is als:
        thread.join()
    assert losing.lost_at is not None
    assert losing.lost_at < 0.5
    assert digest(far, tmp_path) == digest(here, tmp_path)


def test_an_evaluation_that_loses_a_node_is_the_one_on_this_machine(
    whole: Nodes, engine: engines.Engine, data, test_part: InteractionDataset
) -> None:
    model = slim().fit(data)
    evaluator = Evaluator(["ndcg", "auc", "coverage", "diversity"], n_candidates=None)
    here = evaluator.evaluate_users(model, test_part)
    losing = Losing(whole.lose_one, "Evaluating")
    with engines.using(engine), progress.listening(losing):
        far = evaluator.evaluate_users(model, test_part)
    assert losing.lost_at < 0.5
    assert far.metrics == here.metrics
    pd.testing.assert_frame_equal(far.per_user, here.per_user, check_exact=True)


def test_an_export_that_loses_a_node_is_the_one_on_this_machine(
    whole: Nodes, engine: engines.Engine, data, tmp_path: Path
) -> None:
    model = slim().fit(data)
    export_model(model, "recommendations", tmp_path / "here")
    losing = Losing(whole.lose_one, "Recommending")
    with engines.using(engine), progress.listening(losing):
        export_model(model, "recommendations", tmp_path / "far")
    assert losing.lost_at < 0.5
    here, far = (tmp_path / name / "recommendations.parquet" for name in ("here", "far"))
    assert hashlib.sha256(far.read_bytes()).digest() == hashlib.sha256(here.read_bytes()).digest()


# ---- one task's misfortune


def test_results_come_in_order_and_few_are_asked_for_ahead(engine: engines.Engine) -> None:
    assert list(engine.map(lambda task: task * task, range(500))) == [task * task for task in range(500)]
    results = engine.map(lambda task: task, range(10_000))
    assert next(results) == 0
    results.close()  # what is under way is given up
    assert list(engine.map(abs, [])) == []
    assert list(engine.map(abs, [-3])) == [3]


def test_an_error_of_a_task_is_the_error(engine: engines.Engine) -> None:
    def refuse(task: int) -> int:
        if task == 5:
            raise DataError("task 5: no data")
        return task

    with pytest.raises(DataError, match=r"^task 5: no data$"):
        list(engine.map(refuse, range(20)))


def test_a_task_that_is_stuck_is_begun_elsewhere(engine: engines.Engine, tmp_path: Path) -> None:
    def stuck_once(task: int) -> int:
        if task == 7:
            try:
                (tmp_path / "first").touch(exist_ok=False)
                time.sleep(60)
            except FileExistsError:
                pass
        return task

    begin = time.monotonic()
    assert list(engine.map(stuck_once, range(30))) == list(range(30))
    assert time.monotonic() - begin < 30


def test_a_task_that_kills_its_worker_is_begun_again_but_not_for_ever(engine: engines.Engine, tmp_path: Path) -> None:
    def die(task: int) -> int:
        if task == 3:
            (tmp_path / str(time.monotonic_ns())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    with pytest.raises(TrainingError, match="the cluster lost a task 3 times"):
        list(engine.map(die, range(6)))
    assert 3 <= len(list(tmp_path.iterdir())) <= 6  # it may have had a twin


def test_more_than_a_node_has_is_refused(nodes: Nodes, engine: engines.Engine) -> None:
    config = EngineConfig(name="ray", address=nodes.address, cpus_per_task=2)
    with (
        pytest.raises(ConfigError, match=r"engine\.cpus_per_task: 2, but the largest node has 1 CPUs"),
        engines.opened(config),
    ):
        pass
