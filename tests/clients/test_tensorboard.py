"""Event files in TensorBoard: its own reader, and a real server."""

from __future__ import annotations

import json
import logging
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import Request, urlopen

import pytest
import yaml

from recctl import RunStore, experiment
from recctl.runs import Run
from tests.clients.servers import free_port, serving
from tests.conftest import skip_without
from tests.tuning.searches import DATA, load

skip_without("tensorboard", "pip install 'recctl[tensorboard]'")

CONFIG = DATA + "model: {name: svd, params: {n_epochs: 3, n_factors: 4}}\n"
RATES = (0.02, 0.05)


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Event files of two runs with different learning rates."""
    folder = tmp_path_factory.mktemp("tensorboard")
    for rate in RATES:
        settings = (f"model.params.lr={rate}", f"tracking.tensorboard={folder / 'logs'}")
        experiment.train(load(folder, CONFIG, *settings), RunStore(folder / "runs"))
    return folder / "logs"


@pytest.fixture(scope="module")
def runs(logs: Path) -> list[Run]:
    """The runs, in the order of RATES."""
    return sorted(RunStore(logs.parent / "runs").runs(), key=learning_rate)


def learning_rate(run: Run) -> float:
    return float(yaml.safe_load(run.config_text())["model"]["params"]["lr"])


def expected_scalars(run: Run) -> dict[str, list[tuple[int, float]]]:
    """The steps and values of each figure, from the files of the run. Final figures have the step of the best epoch."""
    epochs = [json.loads(line) for line in (run.path / "history.jsonl").read_text().splitlines()]
    scalars = {
        "epoch/loss": [(epoch["epoch"], epoch["loss"]) for epoch in epochs],
        "epoch/rmse": [(epoch["epoch"], epoch["metrics"]["rmse"]) for epoch in epochs],
    }
    for part, metrics in run.metrics().items():
        for metric_key, value in metrics.items():
            scalars[f"{part}/{metric_key}"] = [(0, value)]
    return scalars


def test_own_reader_of_tensorboard_finds_the_figures_of_a_run(logs: Path, runs: list[Run]) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    for run in runs:
        events = EventAccumulator(str(logs / run.id)).Reload()
        for name, points in expected_scalars(run).items():
            read = [(event.step, event.value) for event in events.Scalars(name)]
            assert read == [(step, pytest.approx(value, rel=1e-6)) for step, value in points], name


class Board:
    """The HTTP interface that the pages of TensorBoard use."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, body: Any = None, **query: str) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = Request(f"{self.url}/data/{path}?{urlencode(query)}", data, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())

    def wait_for(self, names: set[str]) -> None:
        """Wait until the server has read all runs."""
        deadline = time.monotonic() + 60
        while set(self.get("runs")) != names:
            assert time.monotonic() < deadline
            time.sleep(0.2)


def test_server_shows_curves_and_hyperparameters(logs: Path, runs: list[Run]) -> None:
    port = free_port()
    command = [Path(sys.executable).with_name("tensorboard"), "--logdir", logs, "--host", "127.0.0.1", "--port", port]
    with serving(command, f"http://127.0.0.1:{port}/data/environment"):
        board = Board(f"http://127.0.0.1:{port}")
        board.wait_for({run.id for run in runs})
        tags = board.get("plugin/scalars/tags")
        for run in runs:
            for name, points in expected_scalars(run).items():
                assert name in tags[run.id]
                shown = board.get("plugin/scalars/scalars", run=run.id, tag=name)
                assert [(step, value) for _, step, value in shown] == [
                    (step, pytest.approx(value, rel=1e-6)) for step, value in points
                ]
        hyperparameters = board.get("plugin/hparams/experiment", {"experimentName": ""})["hparamInfos"]
        assert [info["name"] for info in hyperparameters if info["differs"]] == ["model.params.lr"]
        statuses = ["STATUS_SUCCESS", "STATUS_UNKNOWN", "STATUS_FAILURE", "STATUS_RUNNING"]
        request = {"experimentName": "", "startIndex": 0, "sliceSize": 10, "allowedStatuses": statuses, "colParams": []}
        groups = board.get("plugin/hparams/session_groups", request)["sessionGroups"]
        assert {group["name"]: group["hparams"]["model.params.lr"] for group in groups} == {
            run.id: rate for run, rate in zip(runs, RATES, strict=True)
        }
        for group in groups:
            (session,) = group["sessions"]
            assert session["status"] == "STATUS_SUCCESS"
            assert session["endTimeSecs"] >= session["startTimeSecs"]
