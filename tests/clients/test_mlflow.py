"""MLflow, driven as its users drive it: what it shows of runs, in an SQLite database and on a server (http)."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import pandas as pd
import pytest

from recctl import Run, RunStore
from recctl.data.synthetic import generate
from recctl.tracking.mlflow_database import create_database
from recctl.tracking.mlflow_store import quiet_mlflow
from tests.clients.servers import free_port, serving
from tests.conftest import skip_without

skip_without("mlflow", "pip install 'recctl[mlflow]'")

with quiet_mlflow():
    import mlflow
    import mlflow.pyfunc
    from mlflow.entities import Run as MlflowRun

pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow's own

# The server has an environment of its own: MLflow allows other versions of packages than recctl is tested with.
_MLFLOW = Path(__file__).parents[2] / ".venv-mlflow" / "bin" / "mlflow"
_SECONDS_TO_START = 120
CONFIG = """
seed: 3
data: {source: shop.csv}
split: {test_size: 0.2, val_size: 0.2}
model: {name: svd, params: {n_epochs: 3}}
evaluation: {metrics: [ndcg, rmse], k_values: [5], segments: [{activity: [10]}]}
tracking: {mlflow: {experiment: books, report: false}}
"""


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with MLflow's tables, which takes seconds to create and is copied for each store."""
    path = tmp_path_factory.mktemp("database") / "mlflow.db"
    with quiet_mlflow():
        create_database(path)
    return path


@pytest.fixture(scope="module")
def server(empty_database: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an MLflow server with a database and a folder of artifacts of its own."""
    skip_without(_MLFLOW if _MLFLOW.exists() else None, f"MLflow in {_MLFLOW.parent.parent}, as .ci/test installs it")
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(empty_database, folder / "mlflow.db")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [_MLFLOW, "server", "--host", "127.0.0.1", "--port", port, "--workers", 1]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}", "--artifacts-destination", folder]
    environment = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with serving(command, f"{url}/api/2.0/mlflow/experiments/search?max_results=1", environment):
        yield url


@pytest.fixture(params=["sqlite", "server"])
def client(
    request: pytest.FixtureRequest,
    empty_database: Path,
    tmp_path: Path,
    workdir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> mlflow.MlflowClient:
    """A client of the store that runs of the working directory are tracked in."""
    if request.param == "server":
        uri = request.getfixturevalue("server")
    else:
        shutil.copy(empty_database, tmp_path / "tracked.db")
        uri = f"sqlite:///{tmp_path / 'tracked.db'}"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    generate(60, 40, 1200, seed=1).to_csv("shop.csv", index=False)
    # The server is shared by the tests: each has an experiment of its own.
    Path("books.yaml").write_text(CONFIG.replace("books", f"'{_experiment(request)}'"))
    return mlflow.MlflowClient(uri)


def _experiment(request: pytest.FixtureRequest) -> str:
    return request.node.name


@pytest.fixture
def tracked(client: mlflow.MlflowClient, request: pytest.FixtureRequest) -> Any:
    """The MLflow runs of the test by name, in the order in which they began."""

    def runs() -> dict[str, MlflowRun]:
        experiment = client.get_experiment_by_name(_experiment(request))
        found = client.search_runs([experiment.experiment_id], order_by=["attributes.start_time ASC"])
        return {run.info.run_name: run for run in found}

    return runs


def newest(kind: str = "train") -> Run:
    return next(run for run in reversed(RunStore("runs").runs()) if run.metadata["kind"] == kind)


def milliseconds(moment: str) -> int:
    return round(1000 * datetime.fromisoformat(moment).timestamp())


def children(runs: dict[str, MlflowRun], parent: MlflowRun) -> list[MlflowRun]:
    return [run for run in runs.values() if run.data.tags.get("mlflow.parentRunId") == parent.info.run_id]


def artifacts(client: mlflow.MlflowClient, run: MlflowRun) -> set[str]:
    return {file.path for file in client.list_artifacts(run.info.run_id)}


def test_training_is_recorded_with_settings_results_data_and_source(
    client: mlflow.MlflowClient, tracked: Any, recctl: Any
) -> None:
    outcome = recctl("train", "books.yaml", "--set", "tracking.mlflow.report=true", "--json")
    assert outcome.code == 0
    assert json.loads(outcome.out)["run_id"] == newest().id, "stdout holds the result alone"
    run = newest()
    (recorded,) = tracked().values()

    info = recorded.info
    assert (info.run_name, info.status) == (run.id, "FINISHED")
    assert info.start_time == milliseconds(run.metadata["created"])
    assert info.start_time < info.end_time <= milliseconds(run.metadata["finished"])

    params = recorded.data.params
    assert params["model.params.n_epochs"] == "3"
    assert params["model.params.seed"] == params["seed"] == "3"
    assert "None" not in params.values()
    assert not [name for name in params if name.startswith("data.synthetic")]

    metrics = recorded.data.metrics
    for part, values in run.metrics().items():
        for key, value in values.items():
            name = f"{part}/{key.replace('@', '_at_')}"
            assert metrics[name] == pytest.approx(value)
            assert metrics[f"{name}_low"] < metrics[name] < metrics[f"{name}_high"]
    assert "test/segments/activity/from 10/ndcg_at_5_low" in metrics
    assert [point.step for point in client.get_metric_history(info.run_id, "epoch/loss")] == [1, 2, 3]

    tags = recorded.data.tags
    assert (tags["recctl.run_id"], tags["recctl.kind"]) == (run.id, "train")
    assert shlex.split(tags["mlflow.source.name"]) == run.metadata["environment"]["command"]
    assert (tags["mlflow.source.type"], bool(tags["mlflow.user"])) == ("LOCAL", True)

    (used,) = recorded.inputs.dataset_inputs
    assert used.dataset.name == "shop.csv"
    assert run.metadata["data"]["hash"].startswith(used.dataset.digest)
    profile = json.loads(used.dataset.profile)
    assert profile["data_hash"] == run.metadata["data"]["hash"]
    assert profile["split_hash"] == run.metadata["split"]["hash"]
    assert json.loads(used.dataset.source) == {"uri": str(Path("shop.csv").resolve())}

    if os.environ["MLFLOW_TRACKING_URI"].startswith("http"):
        page = f"{os.environ['MLFLOW_TRACKING_URI']}/#/experiments/{info.experiment_id}/runs/{info.run_id}"
        assert f"mlflow: {page}" in outcome.err.splitlines()

    assert artifacts(client, recorded) == {"config.yaml", "metrics.json", "history.jsonl", "report.html"}
    config = client.download_artifacts(info.run_id, "config.yaml", str(Path.cwd()))
    assert Path(config).read_text() == run.config_text()


def test_search_is_a_parent_with_a_run_for_each_trial(client: mlflow.MlflowClient, tracked: Any, recctl: Any) -> None:
    search = "tuning={n_trials: 3, space: {lr: {low: 0.001, high: 0.01}}}"
    assert recctl("tune", "books.yaml", "--set", search).code == 0
    run = newest("tune")
    runs = tracked()
    parent = runs[run.id]
    trials = children(runs, parent)
    assert set(runs) == {run.id, "trial 0", "trial 1", "trial 2"}
    assert len(trials) == 3
    assert parent.data.tags["recctl.best_trial"] == str(run.metadata["tuning"]["best_trial"])
    assert parent.data.metrics["test/rmse"] == pytest.approx(run.metrics()["test"]["rmse"])
    assert {"best.yaml", "config.yaml", "figures", "trials.parquet"} <= artifacts(client, parent)
    table = run.trials().set_index("number")
    for trial in trials:
        row = table.loc[int(trial.data.tags["recctl.trial"])]
        assert float(trial.data.params["model.params.lr"]) == row["lr"]
        assert trial.data.metrics["validation/ndcg_at_5"] == pytest.approx(row["ndcg@5"])
        assert trial.info.status == "FINISHED"
        assert parent.info.start_time <= trial.info.start_time <= trial.info.end_time <= parent.info.end_time
        seconds = (trial.info.end_time - trial.info.start_time) / 1000
        assert seconds > trial.data.metrics["seconds/fit"]


def test_comparison_is_a_parent_of_its_models(client: mlflow.MlflowClient, tracked: Any, recctl: Any) -> None:
    config = Path("books.yaml").read_text().replace("ndcg, rmse", "ndcg")
    models = "models: [{name: popularity}, {name: random}]"
    Path("models.yaml").write_text(config.replace("model: {name: svd, params: {n_epochs: 3}}", models))
    assert recctl("compare", "models.yaml", "--seeds", "1,2", "--resamples", "200").code == 0
    run = newest("compare")
    runs = tracked()
    parent = runs[run.id]
    labels = [child.data.tags["recctl.label"] for child in children(runs, parent)]
    seeds = [child.data.params.get("model.params.seed") for child in children(runs, parent)]
    assert (labels, seeds) == (["popularity", "random", "random"], [None, "1", "2"])
    assert parent.data.params["comparison.seeds"] == "[1, 2]"
    assert parent.data.tags["recctl.best_model"] == "popularity"
    means = [child.data.metrics["test/ndcg_at_5"] for child in children(runs, parent)[1:]]
    assert parent.data.metrics["random/test/ndcg_at_5"] == pytest.approx(sum(means) / 2)
    assert {"comparison.json", "config.yaml"} <= artifacts(client, parent)


def test_export_has_the_names_of_live_tracking_and_leaves_its_run_as_it_was(
    client: mlflow.MlflowClient, tracked: Any, recctl: Any, request: pytest.FixtureRequest
) -> None:
    assert recctl("train", "books.yaml").code == 0
    (live,) = tracked().values()
    export = ["--format", "mlflow", "-O", f"experiment={_experiment(request)}"]
    assert recctl("export", "latest", *export, "-o", "a").code == 0
    (extended,) = tracked().values()
    assert vars(extended.info) == vars(live.info)
    assert extended.data.to_dictionary() == live.data.to_dictionary()
    assert artifacts(client, extended) > artifacts(client, live) - {"model"}
    assert "model" in artifacts(client, extended)

    # A run that was not tracked, of the same config: the same names, and figures.
    assert recctl("train", "books.yaml", "--set", "tracking=null").code == 0
    run = newest()
    assert recctl("export", run.id, *export, "-o", "b").code == 0
    other = tracked()[run.id]
    assert other.data.params == live.data.params
    assert set(other.data.metrics) == set(live.data.metrics)
    assert other.data.metrics["test/rmse_low"] == pytest.approx(live.data.metrics["test/rmse_low"])
    assert set(other.data.tags) == set(live.data.tags)
    assert other.info.start_time == milliseconds(run.metadata["created"])
    assert other.info.end_time == milliseconds(run.metadata["finished"])
    history = client.get_metric_history(other.info.run_id, "epoch/loss")
    assert [point.value for point in history] == [
        point.value for point in client.get_metric_history(live.info.run_id, "epoch/loss")
    ]


def test_registered_model_serves_users_and_histories(
    client: mlflow.MlflowClient, recctl: Any, request: pytest.FixtureRequest
) -> None:
    assert recctl("train", "books.yaml", "--set", "model={name: ease}", "--set", "evaluation.metrics=[ndcg]").code == 0
    name = f"ease-{_experiment(request).partition('[')[2].rstrip(']')}"
    assert recctl("export", "latest", "--format", "mlflow", "-o", "a", "-O", f"register_as={name}").code == 0
    (version,) = client.search_model_versions(f"name='{name}'")
    location = client.get_model_version_download_uri(name, version.version)
    with quiet_mlflow():
        mlflow.set_tracking_uri(os.environ["MLFLOW_TRACKING_URI"])
        try:
            served = mlflow.pyfunc.load_model(location, suppress_warnings=True)
        finally:
            mlflow.set_tracking_uri(None)
    user, item = pd.read_csv("shop.csv")[["user_id", "item_id"]].iloc[0].tolist()
    users = served.predict(pd.DataFrame({"user_id": [user]}), params={"k": 4})
    assert users["rank"].tolist() == [1, 2, 3, 4]
    histories = served.predict(pd.DataFrame({"history": [[item], [item, item + 1]]}), params={"k": 2})
    assert histories["user_id"].tolist() == [0, 0, 1, 1]
    assert item not in histories["item_id"].tolist()[:2]


@pytest.mark.parametrize("interruption", [signal.SIGKILL, signal.SIGINT], ids=["kill -9", "Ctrl-C"])
def test_interrupted_first_run_leaves_a_usable_database_or_none(workdir: Path, interruption: signal.Signals) -> None:
    command = [sys.executable, "-m", "recctl", "train", "small.yaml", "--set"]
    command += ["tracking.mlflow={uri: 'sqlite:///store/mlflow.db', report: false}"]
    # The training must still go on when the tables are made.
    command += ["--set", "model={name: svd, params: {n_epochs: 1000000}}"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=workdir)
    store = workdir / "store"
    deadline = monotonic() + _SECONDS_TO_START
    while process.poll() is None and monotonic() < deadline and not _is_migrating(store):
        sleep(0.01)
    assert process.poll() is None, "it was to be interrupted while tables are made"
    process.send_signal(interruption)
    code = process.wait(_SECONDS_TO_START)
    assert code == (130 if interruption == signal.SIGINT else -signal.SIGKILL)
    if interruption == signal.SIGKILL:
        assert not (store / "mlflow.db").exists()
        with quiet_mlflow():
            create_database(store / "mlflow.db")
    if (store / "mlflow.db").exists():
        with quiet_mlflow():
            client = mlflow.MlflowClient(f"sqlite:///{store / 'mlflow.db'}")
            assert client.get_experiment("0").name == "Default"
        assert [path.name for path in store.iterdir() if path.is_file()] == ["mlflow.db"]


def _is_migrating(store: Path) -> bool:
    """Whether some of the tables are made."""
    return any(path.stat().st_size > 0 for path in store.glob(".mlflow.db.*.unfinished"))
