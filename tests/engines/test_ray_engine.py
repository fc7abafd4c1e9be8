"""Work on a Ray cluster of three nodes, some of which are lost: the results are those of this machine, bit by bit."""

import hashlib
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

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
from recctl.engines.ray_engine import RayEngine, connected
from recctl.errors import ConfigError, DataError, TrainingError
from recctl.models.base import Recommender
from tests.conftest import Nodes, skip_without

skip_without("ray", "pip install 'recctl[ray]'")


@pytest.fixture(scope="module")
def engine(nodes: Nodes) -> Iterator[engines.Engine]:
    with connected(EngineConfig(name="ray", address=nodes.address)) as engine:
        yield engine


class NodeLoss:
    """A progress listener that loses a node, once, while a given piece of work is in progress."""

    def __init__(self, lose: Callable[[], None], title: str) -> None:
        self.lose = lose
        self.title = title
        self.lost_at: float | None = None

    def start(self, title: str, total: float | None, unit: str) -> "_Task":
        return _Task(self, title, total)

    def finish(self, task: "_Task") -> None:
        pass

    def notice(self, message: str) -> None:
        pass


class _Task:
    def __init__(self, node_loss: NodeLoss, title: str, total: float | None) -> None:
        self.node_loss = node_loss
        self.title = title
        self.total = total

    def update(self, done: float, **values: float | str) -> None:
        if self.node_loss.lost_at is None and self.title.startswith(self.node_loss.title):
            self.node_loss.lost_at = done / self.total
            self.node_loss.lose()


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
def test_fit_that_loses_a_node_equals_the_local_fit(
    make: Callable[[], Recommender], title: str, restored_nodes: Nodes, engine: engines.Engine, data, tmp_path: Path
) -> None:
    expected = make().fit(data)
    # ALS reports progress between its phases: the node is lost by a thread while the next phases run.
    thread = Thread(target=restored_nodes.lose_one)
    node_loss = NodeLoss(restored_nodes.lose_one if make is slim else thread.start, title)
    with engines.using(engine), progress.listening(node_loss):
        result = make().fit(data)
    if make is als:
        thread.join()
    assert node_loss.lost_at is not None
    assert node_loss.lost_at < 0.5
    assert digest(result, tmp_path) == digest(expected, tmp_path)


def test_evaluation_that_loses_a_node_equals_the_local_one(
    restored_nodes: Nodes, engine: engines.Engine, data, test_part: InteractionDataset
) -> None:
    model = slim().fit(data)
    evaluator = Evaluator(["ndcg", "auc", "coverage", "diversity"], n_candidates=None)
    expected = evaluator.evaluate_users(model, test_part)
    node_loss = NodeLoss(restored_nodes.lose_one, "Evaluating")
    with engines.using(engine), progress.listening(node_loss):
        result = evaluator.evaluate_users(model, test_part)
    assert node_loss.lost_at < 0.5
    assert result.metrics == expected.metrics
    pd.testing.assert_frame_equal(result.per_user, expected.per_user, check_exact=True)


def test_export_that_loses_a_node_equals_the_local_one(
    restored_nodes: Nodes, engine: engines.Engine, data, tmp_path: Path
) -> None:
    model = slim().fit(data)
    export_model(model, "recommendations", tmp_path / "local")
    node_loss = NodeLoss(restored_nodes.lose_one, "Recommending")
    with engines.using(engine), progress.listening(node_loss):
        export_model(model, "recommendations", tmp_path / "cluster")
    assert node_loss.lost_at < 0.5
    digests = [
        hashlib.sha256((tmp_path / name / "recommendations.parquet").read_bytes()).digest()
        for name in ("local", "cluster")
    ]
    assert digests[0] == digests[1]


SEGMENTS = """
data: {source: events.csv, users: {file: users.csv, id: user_id}}
split: {strategy: temporal, test_size: 0.2, val_size: 0.1}
model: {name: ease}
evaluation: {segments: [activity, popularity, new_users, new_items, {users: country}, {interactions: channel}]}
"""


def test_segments_of_a_run_equal_those_of_a_local_run(
    nodes: Nodes,
    engine: engines.Engine,
    data: InteractionDataset,
    recctl: Any,
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The ids of later rows are larger, so that test has new users and items.
    n = len(data)
    order = np.argsort(data.data["user_id"].to_numpy() + data.data["item_id"].to_numpy(), kind="stable")
    table = data.data[["user_id", "item_id"]].iloc[order]
    table.assign(timestamp=1_600_000_000 + np.arange(n), channel=np.where(np.arange(n) % 3, "web", "app")).to_csv(
        workdir / "events.csv", index=False
    )
    users = np.unique(table["user_id"])
    pd.DataFrame({"user_id": users, "country": np.array(["de", "fr", "pl"])[users % 3]}).to_csv(
        workdir / "users.csv", index=False
    )
    (workdir / "c.yaml").write_text(SEGMENTS)
    local = recctl("train", "c.yaml", "--json")
    assert local.code == 0, local.err
    n_mapped = []
    run_map = RayEngine.map

    def counted_map(self: RayEngine, *arguments: Any, **options: Any) -> Any:
        n_mapped.append(1)
        return run_map(self, *arguments, **options)

    monkeypatch.setattr(RayEngine, "map", counted_map)
    on_ray = recctl("train", "c.yaml", "--set", f"engine={{name: ray, address: '{nodes.address}'}}", "--json")
    assert on_ray.code == 0, on_ray.err
    assert n_mapped, "the cluster must have worked"
    assert on_ray.json["segments"] == local.json["segments"]
    names = " ".join(local.json["segments"]["test"])
    assert all(name in names for name in ("activity", "popularity", "new_users", "new_items", "country", "channel"))


# ---- single tasks that fail


def test_map_returns_results_in_order_and_can_be_closed(engine: engines.Engine) -> None:
    assert list(engine.map(lambda task: task * task, range(500))) == [task * task for task in range(500)]
    results = engine.map(lambda task: task, range(10_000))
    assert next(results) == 0
    results.close()  # running tasks are cancelled
    assert list(engine.map(abs, [])) == []
    assert list(engine.map(abs, [-3])) == [3]


def test_exception_of_a_task_is_raised(engine: engines.Engine) -> None:
    def refuse(task: int) -> int:
        if task == 5:
            raise DataError("task 5: no data")
        return task

    with pytest.raises(DataError, match=r"^task 5: no data$"):
        list(engine.map(refuse, range(20)))


def test_stuck_task_is_run_again_elsewhere(engine: engines.Engine, tmp_path: Path) -> None:
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


def test_task_that_kills_its_worker_is_retried_a_limited_number_of_times(
    engine: engines.Engine, tmp_path: Path
) -> None:
    def die(task: int) -> int:
        if task == 3:
            (tmp_path / str(time.monotonic_ns())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return task

    with pytest.raises(TrainingError, match="the cluster lost a task 3 times"):
        list(engine.map(die, range(6)))
    assert 3 <= len(list(tmp_path.iterdir())) <= 6  # it may have been run twice at the same time


def test_more_resources_than_a_node_has_are_refused(nodes: Nodes, engine: engines.Engine) -> None:
    config = EngineConfig(name="ray", address=nodes.address, cpus_per_task=2)
    with (
        pytest.raises(ConfigError, match=r"engine\.cpus_per_task: 2, but the largest node has 1 CPUs"),
        engines.opened(config),
    ):
        pass
