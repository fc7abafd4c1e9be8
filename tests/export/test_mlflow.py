"""MLflow: each test that begins a database takes seconds, so most share one."""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recctl import Recommender, RunStore, export_model, export_run, verify_export
from recctl.errors import ConfigError, DataError
from recctl.export import mlflow as ours
from recctl.models.registry import model_names
from recctl.version import __version__
from tests.conftest import skip_without
from tests.export.toys import fitted

skip_without("mlflow", "the extra mlflow")

with ours.quiet_mlflow():
    import mlflow
    import mlflow.pyfunc


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A database that is there, with an experiment whose artifacts lie beside it."""
    folder = tmp_path_factory.mktemp("server")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with ours.quiet_mlflow():
        mlflow.MlflowClient(uri).create_experiment("recctl", artifact_location=(folder / "artifacts").as_uri())
    return uri


@pytest.fixture(autouse=True)
def _in_peace() -> Iterator[None]:
    """What MLflow warns of when a test itself calls it is not our matter."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="mlflow")
        yield


def loaded(path: Path) -> Any:
    return mlflow.pyfunc.load_model(str(path / "model"), suppress_warnings=True)


@pytest.mark.parametrize("name", model_names())
def test_mlflow_model_recommends_and_scores_as_the_model(tmp_path: Path, name: str, server: str) -> None:
    model = fitted(name)
    done = export_model(model, "mlflow", tmp_path / "out", tracking_uri=server)
    users, items = model.user_vocabulary.ids, model.item_vocabulary.ids
    _answers(loaded(done.path), model, users, items)
    back = ours._load_pyfunc(str(done.path / "model" / "data" / "model.pkl"))
    pd.testing.assert_frame_equal(back.predict({"user_id": users[:3]}), model.recommend(users[:3]))


def test_text_ids_work_in_mlflow(tmp_path: Path, server: str) -> None:
    model = fitted("als", text=True)
    done = export_model(model, "mlflow", tmp_path / "out", tracking_uri=server)
    _answers(loaded(done.path), model, model.user_vocabulary.ids, model.item_vocabulary.ids)


def test_mlflow_model_serves_histories(tmp_path: Path, server: str) -> None:
    model = fitted("ease", text=True)
    served = loaded(export_model(model, "mlflow", tmp_path / "out", tracking_uri=server).path)
    first, second = model.item_vocabulary.ids[:2].tolist()
    histories = [[first, second], [second]]
    answer = served.predict(pd.DataFrame({"history": histories}), params={"k": 3})
    pd.testing.assert_frame_equal(answer, model.recommend_for_history(histories, k=3))
    named = served.predict(pd.DataFrame({"user_id": ["new", "newer"], "history": histories}))
    by_user = dict(zip(["new", "newer"], histories, strict=True))
    pd.testing.assert_frame_equal(named, model.recommend_for_history(by_user))


def test_invalid_histories_are_refused() -> None:
    predictor = ours.Predictor(fitted("ease"))
    with pytest.raises(DataError, match="history of row 1 is 5"):
        predictor.predict({"history": [[1], 5]})
    with pytest.raises(DataError, match="same user_id"):
        predictor.predict({"user_id": [1, 1], "history": [[1], [2]]})
    with pytest.raises(DataError, match="user_id"):
        predictor.predict({"item_id": [1]})


def test_mlflow_model_names_the_version_of_recctl_that_it_needs(tmp_path: Path, server: str) -> None:
    done = export_model(fitted("ease"), "mlflow", tmp_path / "out", tracking_uri=server)
    assert f"recctl=={__version__}" in (done.path / "model" / "requirements.txt").read_text().split()
    assert loaded(done.path).metadata.metadata["recctl_requires"] == f"recctl=={__version__}"


def _answers(pyfunc: Any, model: Recommender, users: Any, items: Any) -> None:
    asked = pd.DataFrame({"user_id": users})
    pd.testing.assert_frame_equal(pyfunc.predict(asked), model.recommend(users))
    answer = pyfunc.predict(asked, params={"k": 3, "exclude_seen": False})
    pd.testing.assert_frame_equal(answer, model.recommend(users, k=3, exclude_seen=False))
    pairs = pd.DataFrame({"user_id": users[: len(items)], "item_id": items})
    scores = pyfunc.predict(pairs).score.tolist()
    assert scores == pytest.approx(model.predict(pairs.user_id, pairs.item_id).tolist(), abs=1e-5)


@pytest.fixture
def run(recctl: Any) -> Any:
    params = "{epochs: 2, embedding_dim: 4, hidden_layers: [4]}"
    assert recctl("train", "small.yaml", "--set", f"model={{name: ncf, params: {params}}}", "-q").code == 0
    run = RunStore(Path("runs")).resolve("latest")
    (run.path / "figures").mkdir(exist_ok=True)
    (run.path / "figures" / "a.html").write_text("<p>")
    return run


def test_mlflow_run_is_inside_the_export_with_its_final_path(
    run: Any, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was asked"))
    capsys.readouterr()
    with caplog.at_level(logging.INFO):
        done = export_run(run, "mlflow")
    assert capsys.readouterr() == ("", "")
    assert done.path == run.path / "exports" / "mlflow"
    assert not Path("mlruns").exists()
    descriptors = Path("/proc/self/fd")
    if descriptors.is_dir():
        files = [os.readlink(link) for link in descriptors.iterdir() if link.is_symlink()]
        assert not [file for file in files if file.endswith("mlflow.db") and "/exports/" in file]
    facts = done.manifest["facts"]
    with ours.quiet_mlflow():
        client = mlflow.MlflowClient(f"sqlite:///{done.path / 'mlflow.db'}")
        tracked = client.get_run(facts["mlflow_run_id"])
        assert tracked.info.status == "FINISHED"
        assert tracked.data.params["model.params.embedding_dim"] == "4"
        assert tracked.data.params["split.strategy"] == "random"
        assert tracked.data.tags["recctl.run_id"] == run.id
        metrics = run.metrics()
        assert tracked.data.metrics["validation/ndcg_at_10"] == metrics["validation"]["ndcg@10"]
        assert tracked.data.metrics["test/recall_at_5"] == metrics["test"]["recall@5"]
        assert [each.step for each in client.get_metric_history(facts["mlflow_run_id"], "epoch/loss")] == [1, 2]
        names = {file.path for file in client.list_artifacts(facts["mlflow_run_id"])}
        assert names == {"config.yaml", "metrics.json", "history.jsonl", "figures", "model", "report.html"}
        finished = datetime.fromisoformat(run.metadata["finished"]).timestamp()
        assert tracked.info.end_time == int(1000 * finished), "the export took place later"
        again = mlflow.pyfunc.load_model(f"{tracked.info.artifact_uri}/model", suppress_warnings=True)
        assert len(again.predict(pd.DataFrame({"user_id": [1]}), params={"on_unknown": "popular"})) == 10
    assert verify_export(done.path)["run_id"] == run.id


def test_server_gets_one_run_and_versions_of_a_registered_model(run: Any, tmp_path: Path, server: str) -> None:
    first, second = (
        export_run(run, "mlflow", tmp_path / name, tracking_uri=server, register_as="shop").manifest["facts"]
        for name in "ab"
    )
    assert first["mlflow_run_id"] == second["mlflow_run_id"]
    assert (first["registered"], second["registered"]) == ("shop version 1", "shop version 2")


def test_export_leaves_finished_mlflow_run_as_it_is_and_ends_one_that_never_ended(
    run: Any, tmp_path: Path, server: str
) -> None:
    uses = {"tracking_uri": server, "experiment": "recctl"}
    run_id = export_run(run, "mlflow", tmp_path / "a", **uses).manifest["facts"]["mlflow_run_id"]
    client = mlflow.MlflowClient(server)

    def state() -> Any:
        tracked = client.get_run(run_id)
        return vars(tracked.info), tracked.data.params, tracked.data.tags, tracked.data.metrics

    before = state()
    export_run(run, "mlflow", tmp_path / "b", **uses)
    assert state() == before

    # What a process leaves that was killed, or that lost the server.
    client.update_run(run_id, status="RUNNING")
    export_run(run, "mlflow", tmp_path / "c", **uses)
    assert state() == before


def test_failed_upload_leaves_the_status_of_the_run_and_the_next_export_adds_the_model(
    run: Any, tmp_path: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(mlflow.MlflowClient, "log_artifacts", fail)
        with pytest.raises(ConfigError, match="No space left"):
            export_run(run, "mlflow", tmp_path / "a", tracking_uri=server)
    run_id = export_run(run, "mlflow", tmp_path / "a", tracking_uri=server).manifest["facts"]["mlflow_run_id"]
    client = mlflow.MlflowClient(server)
    (tracked,) = client.search_runs(
        [client.get_experiment_by_name("recctl").experiment_id], f"tags.`recctl.run_id` = '{run.id}'"
    )
    assert (tracked.info.run_id, tracked.info.status) == (run_id, "FINISHED")
    assert "model" in {file.path for file in client.list_artifacts(run_id)}


def test_unreachable_server_is_refused_and_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    uri = "http://somebody:secret@127.0.0.1:9"
    with pytest.raises(ConfigError, match="export format mlflow: tracking_uri: http://") as caught:
        export_model(fitted("ease"), "mlflow", tmp_path / "out", tracking_uri=uri)
    assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="tracking_uri: "):
        export_model(fitted("ease"), "mlflow", tmp_path / "out", tracking_uri="nonsense://x")
    assert not any(tmp_path.glob("out*"))
    assert not any(tmp_path.glob(".*.tmp"))


def test_manifest_has_no_password() -> None:
    chosen = ours.MLflowFormat(tracking_uri="http://somebody:secret@host:5000")
    assert "secret" not in str(chosen.model_dump(mode="json"))
