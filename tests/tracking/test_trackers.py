"""Trackers record what they receive, and their failures do not affect training."""

from __future__ import annotations

import logging
import socket
import threading
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from time import monotonic, sleep, time
from typing import Any

import numpy as np
import pytest

from recctl import MLflowLogger, RunStore, SVDRecommender, TensorBoardLogger, experiment
from recctl.data.synthetic import generate
from recctl.errors import ConfigError, TrainingError
from recctl.evaluation.paired_comparison import compare_paired
from recctl.experiment.comparison.entries import collect_entries
from recctl.experiment.comparison.new_data import NewData
from recctl.experiment.comparison.result import ComparisonOptions
from recctl.experiment.comparison.run import Repeats, compare, compare_on_new_data
from recctl.experiment.tracked_run import _source, _window_values
from recctl.tracking import Record, Tracker
from recctl.tracking.mlflow import metric_name
from recctl.tuning import resume as resume_search
from recctl.tuning import tune
from tests.conftest import RecordingListener, skip_without

EPOCHS = """
data: {source: synthetic, synthetic: {n_users: 60, n_items: 60, n_interactions: 1500}}
split: {test_size: 0.2, val_size: 0.2}
model: {name: svd, params: {n_epochs: 4}}
evaluation: {metrics: [rmse, ndcg], k_values: [10]}
"""
CLOSED_FORM = """
data: {source: synthetic, synthetic: {n_users: 60, n_items: 60, n_interactions: 1500}}
model: {name: ease, params: {l2_reg: 50}}
evaluation: {metrics: [ndcg], k_values: [10]}
"""


class Recorder(Tracker):
    """Records its calls, and fails in the methods that the test names."""

    name = "recorder"

    def __init__(self, fails_at: str = "") -> None:
        super().__init__()
        self.fails_at = fails_at
        self.calls: list[Any] = []
        self.files: list[tuple[str, str]] = []
        self.properties: dict[str, str] = {}
        self.parts: list[tuple[Record, Any, str, float]] = []

    def _do_it(self, what: str, *told: Any) -> None:
        self.calls.append((what, *told))
        if what == self.fails_at:
            raise OSError(28, "No space left on device")

    def _open(self, record: Record, resumed: bool) -> None:
        self.record = record
        self._do_it("open", record.title, record.params, record.tags, resumed)

    def _write(self, values: Any, step: int, moment: float) -> None:
        self._do_it("write", values, step)

    def _close(self, status: str, moment: float) -> None:
        self._do_it("close", status)

    def _write_file(self, path: Path, folder: str) -> None:
        self.files.append((folder, path.name))

    def _add_properties(self, properties: Any) -> None:
        self.properties |= properties

    def _nest(self, record: Record, values: Any, status: str, moment: float) -> None:
        self.parts.append((record, values, status, moment))


def fit(tracker: Tracker, **params: Any) -> SVDRecommender:
    return SVDRecommender(n_epochs=3, **params).fit(generate(40, 30, 600, seed=1), callbacks=[tracker])


def train(tmp_path: Path, text: str, *overrides: str):
    (tmp_path / "config.yaml").write_text(text)
    loaded = experiment.load(tmp_path / "config.yaml", overrides)
    return experiment.train(loaded, RunStore(tmp_path / "runs"))


# ---- any tracker


def test_callback_receives_every_epoch() -> None:
    recorder = Recorder()
    model = fit(recorder)
    (_, title, params, _, resumed), *writes, close = recorder.calls
    assert (title, resumed, close) == ("svd", False, ("close", "complete"))
    assert params == model.hyperparameters()
    assert [step for _, _, step in writes] == [1, 2, 3]
    assert set(writes[0][1]) == {"epoch/loss", "epoch/learning_rate", "epoch/seconds"}


def test_failed_training_is_recorded_as_failed() -> None:
    recorder = Recorder()
    with pytest.raises(TrainingError), recorder as tracker:
        fit(tracker, lr=1e6)
    assert recorder.calls[-1] == ("close", "failed")
    with recorder as tracker:
        fit(tracker)
        fit(tracker)
    assert [call[0] for call in recorder.calls].count("close") == 2


@pytest.mark.parametrize("at", ["open", "write", "close"])
def test_tracker_error_becomes_one_notice(at: str, listener: RecordingListener) -> None:
    assert fit(Recorder(at)).best_epoch == 3
    assert listener.notices == ["recorder: [Errno 28] No space left on device; training continues without it"]


def test_failure_of_tracking_is_in_the_log_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listener: RecordingListener
) -> None:
    monkeypatch.setattr("recctl.experiment.trackers._make_trackers", lambda config, folder: [Recorder("open")])
    run = train(tmp_path, CLOSED_FORM)
    assert "tracking failed: recorder: [Errno 28] No space left on device" in (run.path / "log.txt").read_text()
    assert run.status == "complete"


def test_password_of_a_server_is_neither_in_the_notice_nor_in_the_log(listener: RecordingListener) -> None:
    class Unreachable(Recorder):
        def _open(self, record: Record, resumed: bool) -> None:
            raise OSError("no answer from http://ada:secret@host:5000/api")

    logged: list[str] = []
    recorder = Unreachable()
    recorder.begin_record(Record("x", {}), on_failure=logged.append)
    recorder.end()
    assert "host:5000" in logged[0]
    assert "host:5000" in listener.notices[0]
    assert "secret" not in logged[0] + listener.notices[0]


def test_preparation_has_no_deadline(listener: RecordingListener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recctl.tracking.tracker._QUIET_SECONDS", 0.05)
    for limit in ("_STALL_SECONDS", "_MAX_FLUSH_SECONDS"):
        monkeypatch.setattr(f"recctl.tracking.tracker.{limit}", 0.3)

    class Slow(Recorder):
        def _prepare(self) -> None:
            sleep(0.8)

    recorder = Slow()
    recorder.begin("x", {})
    recorder.end()
    assert [call[0] for call in recorder.calls] == ["open", "close"]
    assert listener.notices == []


def test_times_are_those_of_events_not_of_writing() -> None:
    moments = []
    prepared = []

    class Slow(Recorder):
        def _prepare(self) -> None:
            # Until everything below has happened: the values, the end, and the mark behind it are queued.
            while self._jobs.qsize() < 3:
                sleep(0.01)
            prepared.append(time())

        def _write(self, values: Any, step: int, moment: float) -> None:
            moments.append(moment)

        def _close(self, status: str, moment: float) -> None:
            moments.append(moment)

    recorder = Slow()
    recorder.begin("x", {})
    recorder.log({"a": 1.0}, 1)
    recorder.end()
    assert recorder.record.started <= moments[0] <= moments[1] <= prepared[0]


def test_part_waits_for_the_record_of_its_parent() -> None:
    class Slow(Recorder):
        def _prepare(self) -> None:
            sleep(0.3)

        def _open(self, record: Record, resumed: bool) -> None:
            opened.append(record.title)

    opened: list[str] = []
    parent, part = Slow(), Recorder()
    part._open = lambda record, resumed: opened.append(record.title)  # type: ignore[method-assign]
    parent.begin("parent", {})
    part.begin_record(Record("part", {}, parent=parent))
    part.end()
    parent.end()
    assert opened == ["parent", "part"]


def test_hanging_tracker_is_disabled(listener: RecordingListener, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recctl.tracking.tracker._STALL_SECONDS", 0.3)
    never = threading.Event()

    class Hanging(Recorder):
        def _write(self, values: Any, step: int, moment: float) -> None:
            never.wait(60)

    begin = monotonic()
    assert fit(Hanging()).best_epoch == 3
    assert monotonic() - begin < 30
    assert listener.notices == ["recorder: it is too slow, or does not answer; training continues without it"]
    never.set()


def test_values_that_are_not_finite_are_skipped() -> None:
    with Recorder() as recorder:
        recorder.begin("x", {})
        recorder.log({"a": float("nan"), "b": float("inf"), "c": None, "d": 1}, 1)
    assert recorder.calls[1] == ("write", {"d": 1.0}, 1)


def test_missing_package_is_refused_before_reading_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module, name in (("mlflow", "mlflow={}"), ("tensorboard", "tensorboard=true")):
        monkeypatch.setattr(f"recctl.tracking.{module}.find_spec", lambda name: None)
        with pytest.raises(ConfigError, match=rf"pip install 'recctl\[{module}\]'"):
            train(tmp_path, EPOCHS, f"tracking.{name}", "data.source=./missing.csv")
    assert not (tmp_path / "runs").exists()


def test_password_in_tracking_uri_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tracking.mlflow.uri: .*MLFLOW_TRACKING_PASSWORD"):
        train(tmp_path, EPOCHS, "tracking.mlflow.uri=http://me:secret@host/")


def test_tracking_is_off_by_default(tmp_path: Path) -> None:
    run = train(tmp_path, EPOCHS)
    assert "tracking" not in run.config_text()
    assert not any(thread.name.startswith("recctl-") for thread in threading.enumerate())


# ---- runs and comparisons


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """A recorder for each run that is tracked, in the order in which they begin."""
    made: list[Recorder] = []

    def make(config: Any, folder: Path) -> list[Recorder]:
        made.append(Recorder())
        return made[-1:]

    monkeypatch.setattr("recctl.experiment.trackers._make_trackers", make)
    return made


def written(recorder: Recorder) -> dict[str, float]:
    values: dict[str, float] = {}
    for call in recorder.calls:
        if call[0] == "write":
            values |= call[1]
    return values


def test_run_reports_intervals_and_segments(tmp_path: Path, recorders: list[Recorder]) -> None:
    run = train(tmp_path, CLOSED_FORM, "evaluation.segments=[{activity: [15]}]", "evaluation.metrics=[ndcg, coverage]")
    values = written(recorders[-1])
    figure = compare_paired({"m": run.per_user("test")}, "m", seed=42).estimates["ndcg@10"]["m"]
    assert (values["test/ndcg@10_low"], values["test/ndcg@10_high"]) == (figure.low, figure.high)
    assert "test/coverage@10_low" not in values
    for key, path in (("activity=<15", "activity/<15"), ("activity=>=15", "activity/>=15")):
        stored = run.segments()["test"][key]["metrics"]["ndcg@10"]
        name = f"test/segments/{path}/ndcg@10"
        assert [values[name], values[f"{name}_low"], values[f"{name}_high"]] == list(stored.values())


def test_comparison_reports_mean_and_spread_over_seeds(tmp_path: Path, recorders: list[Recorder]) -> None:
    text = CLOSED_FORM.replace("model: {name: ease, params: {l2_reg: 50}}", "models: [{name: ease}, {name: random}]")
    (tmp_path / "config.yaml").write_text(text)
    options = ComparisonOptions(n_resamples=200)
    compared = compare([tmp_path / "config.yaml"], RunStore(tmp_path / "runs"), options, Repeats(seeds=(1, 2, 3)))
    values = next(written(recorder) for recorder in recorders if recorder.calls and recorder.calls[0][1] == compared.id)
    figures = []
    for run in RunStore(tmp_path / "runs").runs():
        if run.metadata["kind"] == "train" and run.model_entry()["model"] == "random":
            figures.append(run.metrics()["test"]["ndcg@10"])
    assert len(figures) == 3
    assert values["random/test/ndcg@10"] == pytest.approx(np.mean(figures))
    assert values["random/test/ndcg@10_spread"] == pytest.approx(np.std(figures, ddof=1))
    assert values["random/test/ndcg@10_low"] < values["random/test/ndcg@10"] < values["random/test/ndcg@10_high"]
    assert "ease/test/ndcg@10_spread" not in values, "one run has no spread"


def test_backtest_reports_each_window_as_a_step() -> None:
    record = {"value": 0.2, "low": 0.1, "high": 0.3, "windows": [{"value": 0.1, "low": None}, {"value": 0.3}]}
    document = {
        "on": "test",
        "windows": [{"number": 1}, {"number": 2}],
        "compared": [{"label": "ease", "metrics": {"ndcg@10": record}}],
    }
    values = [(value, step) for name, value, step in _window_values(document) if name == "ease/windows/ndcg@10"]
    assert values == [(0.1, 1), (0.3, 2)]


def test_run_is_described_without_settings_that_have_no_value(tmp_path: Path, recorders: list[Recorder]) -> None:
    generate(30, 20, 300, seed=1).to_csv(tmp_path / "data.csv", index=False)
    run = train(tmp_path, CLOSED_FORM.replace("source: synthetic", "source: data.csv"), "model={name: random}")
    record = recorders[-1].record
    assert None not in record.params.values()
    assert not [name for name in record.params if name.startswith("data.synthetic")]
    assert record.params["model.params.seed"] == record.params["seed"] == 42
    assert record.tags == {"recctl.run_id": run.id}
    assert datetime.fromtimestamp(record.started, UTC) == datetime.fromisoformat(run.metadata["created"])
    assert record.dataset is not None
    assert (record.dataset.name, record.dataset.source) == ("data.csv", {"uri": str(tmp_path / "data.csv")})
    hashes = [run.metadata["data"]["hash"], run.metadata["split"]["hash"]]
    assert [record.dataset.hash, record.dataset.profile["split_hash"]] == hashes
    assert ("", "config.yaml") in recorders[-1].files


@pytest.mark.parametrize(
    ("source", "described"),
    [
        ("movielens-100k", ("movielens-100k", "code", {"tags": {"recctl.data.source": "movielens-100k"}})),
        ("/data/shop.csv", ("shop.csv", "local", {"uri": "/data/shop.csv"})),
        ("https://host/a/shop.csv", ("shop.csv", "http", {"url": "https://host/a/shop.csv"})),
        ("s3://bucket/a/*.parquet", ("*.parquet", "s3", {"uri": "s3://bucket/a/*.parquet"})),
        (
            {"sql": "select 1", "url": "${DATABASE_URL}"},
            ("query", "code", {"tags": {"recctl.data.source": '{"sql": "select 1", "url": "${DATABASE_URL}"}'}}),
        ),
    ],
)
def test_every_kind_of_source_is_described(source: Any, described: Any) -> None:
    assert _source(source) == described


def test_command_user_and_commit_are_recorded_without_passwords(
    tmp_path: Path, recorders: list[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    state = {"commit": "c0ffee", "dirty": True, "branch": "main", "remote": "https://host/x.git"}
    monkeypatch.setattr("recctl.runs.environment._git_state", lambda: state)
    monkeypatch.setattr("sys.argv", ["/bin/recctl", "train", "--set", "data.source=https://me:secret@host/x.csv"])
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    train(tmp_path, CLOSED_FORM)
    properties = recorders[-1].record.properties
    assert properties["mlflow.user"] == "ada"
    assert properties["mlflow.source.name"].startswith("recctl train --set ")
    assert "secret" not in properties["mlflow.source.name"]
    git = {name.rpartition(".")[2]: value for name, value in properties.items() if ".git." in name}
    assert git == {"commit": "c0ffee", "dirty": "true", "branch": "main", "repoURL": "https://host/x.git"}


def test_models_of_a_comparison_are_parts_of_it(tmp_path: Path, recorders: list[Recorder]) -> None:
    text = CLOSED_FORM.replace(
        "model: {name: ease, params: {l2_reg: 50}}", "models: [{name: ease}, {name: popularity}]"
    )
    (tmp_path / "config.yaml").write_text(text)
    store = RunStore(tmp_path / "runs")
    compared = compare([tmp_path / "config.yaml"], store, ComparisonOptions(n_resamples=200))
    begun = [recorder for recorder in recorders if recorder.calls]
    parent, *parts = begun
    assert parent.record.title == compared.id
    assert parent.record.parent is None
    assert parent.properties["recctl.best_model"] == "ease"
    assert [part.record.parent for part in parts] == [parent, parent]
    assert [part.record.properties["recctl.label"] for part in parts] == ["ease", "popularity"]

    # Runs that exist already are written below the comparison in one piece.
    runs = [store.resolve(record["run_id"]) for record in compared.metadata["compared"]]
    compare(runs, store, ComparisonOptions(n_resamples=200))
    written_parts = recorders[-1].parts
    assert [record.properties["recctl.label"] for record, *_ in written_parts] == ["ease", "popularity"]
    for run, (record, values, status, ended) in zip(runs, written_parts, strict=True):
        assert ("test/ndcg@10", run.metrics()["test"]["ndcg@10"], 0) in values
        assert (record.tags, status) == ({"recctl.compared_run": run.id}, "complete")
        assert record.started < ended < time()


def test_comparison_on_new_data_names_these_data(tmp_path: Path, recorders: list[Recorder]) -> None:
    for name, seed in (("old.csv", 1), ("new.csv", 2)):
        generate(40, 30, 500, seed=seed).to_csv(tmp_path / name, index=False)
    text = CLOSED_FORM.replace("source: synthetic", "source: old.csv")
    store = RunStore(tmp_path / "runs")
    runs = [train(tmp_path, text), train(tmp_path, text, "model={name: popularity}")]
    entries = collect_entries([run.id for run in runs], store, on_new_data=True)
    options = ComparisonOptions(n_resamples=200)
    compared = compare_on_new_data(entries, store, options, NewData(str(tmp_path / "new.csv")))
    used = recorders[-1].record.dataset
    assert used is not None
    assert (used.name, used.source, used.context) == ("new.csv", {"uri": str(tmp_path / "new.csv")}, "evaluation")
    assert used.hash == compared.metadata["data"]["hash"] != runs[0].metadata["data"]["hash"]
    assert {"ease/new_data/ndcg@10", "popularity/new_data/ndcg@10"} < set(written(recorders[-1]))

    compare_on_new_data(entries, store, options, NewData(test_of=runs[0].id))
    used = recorders[-1].record.dataset
    assert used is not None
    assert (used.name, used.source_type) == (f"test of {runs[0].id}", "code")


def test_trials_are_parts_of_their_search(tmp_path: Path, recorders: list[Recorder]) -> None:
    (tmp_path / "config.yaml").write_text(EPOCHS)
    overrides = ["tuning={n_trials: 3, space: {lr: {low: 0.001, high: 0.01}}}"]
    run = tune(experiment.load(tmp_path / "config.yaml", overrides), RunStore(tmp_path / "runs"))
    search = next(recorder for recorder in recorders if recorder.calls)
    assert search.record.title == run.id
    assert search.record.params["tuning.n_trials"] == 3
    assert search.properties["recctl.best_trial"] == str(run.metadata["tuning"]["best_trial"])
    assert ("", "trials.parquet") in search.files
    trials = run.trials().set_index("number")
    assert len(search.parts) == len(trials) == 3
    for record, values, status, ended in search.parts:
        trial = trials.loc[int(record.properties["recctl.trial"])]
        assert record.params["model.params.lr"] == trial["lr"]
        assert record.params["model.params.n_epochs"] == 4
        assert ("validation/ndcg@10", trial["ndcg@10"], int(trial["chosen_epoch"])) in values
        assert [step for name, _, step in values if name == "epoch/loss"] == [1, 2, 3, 4]
        assert status == "complete"
        assert search.record.started - 1 < record.started <= ended < time()

    # Resumed, it continues its record and reports only what is new.
    assert resume_search(run, more=["tuning.n_trials=4"])
    assert recorders[-1].calls[0][-1] is True
    assert [record.properties["recctl.trial"] for record, *_ in recorders[-1].parts] == ["3"]


def test_best_trial_of_several_models_is_named_as_its_record(tmp_path: Path, recorders: list[Recorder]) -> None:
    models = "models: [{name: random}, {name: ease}]"
    text = CLOSED_FORM.replace("model: {name: ease, params: {l2_reg: 50}}", models)
    (tmp_path / "config.yaml").write_text(text + "split: {test_size: 0.2, val_size: 0.2}\n")
    search = experiment.load(tmp_path / "config.yaml", ["tuning={n_trials: 2, allocation: adaptive}"])
    tune(search, RunStore(tmp_path / "runs"))
    recorder = next(recorder for recorder in recorders if recorder.calls)
    assert recorder.properties["recctl.best_model"] == "ease"
    best = f"ease, trial {recorder.properties['recctl.best_trial']}"
    assert best in [record.title for record, *_ in recorder.parts]
    assert recorder.properties["mlflow.note.content"].startswith(f"best: {best} (")


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("test/ndcg@10_low", "test/ndcg_at_10_low"),
        ("test/segments/activity/>=50/ndcg@10", "test/segments/activity/from 50/ndcg_at_10"),
        ("test/segments/country/(no row)/ndcg@10", "test/segments/country/_no row_/ndcg_at_10"),
        ("ease(l2_reg=5)/test/auc", "ease_l2_reg_5_/test/auc"),
        ("../ease/./b//test/auc", "_/ease/_/b/_/test/auc"),
        ("/test/auc", "_/test/auc"),
        ("модель/test/auc", "модель/test/auc"),
        (f"{'x' * 249}/auc", "x" * 249),
    ],
)
def test_metric_names_are_those_that_mlflow_allows(name: str, allowed: str) -> None:
    assert metric_name(name) == allowed
    if find_spec("mlflow") is not None:
        from mlflow.utils.validation import _validate_metric_name

        _validate_metric_name(allowed)


# ---- TensorBoard


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    events = EventAccumulator(str(folder)).Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.fixture
def tensorboard() -> None:
    skip_without("tensorboard", "pip install 'recctl[tensorboard]'")


@pytest.mark.usefixtures("tensorboard")
def test_event_files_hold_epochs_and_results(tmp_path: Path) -> None:
    run = train(tmp_path, EPOCHS, "tracking.tensorboard=true")
    found = scalars(run.path / "tensorboard")
    assert [step for step, _ in found["epoch/loss"]] == [1, 2, 3, 4]
    assert found["test/rmse"][0][1] == pytest.approx(run.metrics()["test"]["rmse"], rel=1e-6)
    elsewhere = train(tmp_path, CLOSED_FORM, f"tracking.tensorboard={tmp_path / 'boards'}")
    found = scalars(tmp_path / "boards" / elsewhere.id)
    assert found["test/ndcg@10"][0][1] == pytest.approx(elsewhere.metrics()["test"]["ndcg@10"], rel=1e-6)


@pytest.mark.usefixtures("tensorboard")
def test_resumed_training_continues_its_event_files(tmp_path: Path) -> None:
    for resumed, steps, value in ((False, (1, 2, 3, 4), 1.0), (True, (3, 4, 5), 2.0)):
        logger = TensorBoardLogger(tmp_path)
        logger.begin("x", {"a": 1, "layers": [1, 2]}, resumed=resumed)
        for step in steps:
            logger.log({"epoch/loss": value}, step)
        logger.log({"test/ndcg": value}, 2)
        logger.end()
    found = scalars(tmp_path)
    assert found["test/ndcg"] == [(2, 1.0), (2, 2.0)]
    assert found["epoch/loss"] == [(1, 1.0), (2, 1.0), (3, 2.0), (4, 2.0), (5, 2.0)]


@pytest.mark.usefixtures("tensorboard")
def test_parts_with_unicode_names_have_folders_of_their_own(tmp_path: Path) -> None:
    logger = TensorBoardLogger(tmp_path)
    logger.begin("x", {})
    for title, value in (("модель, trial 0", 1.0), ("другая, trial 0", 2.0)):
        logger.log_part(Record(title, {}), [("loss", value, 1)], "complete", time())
    logger.end()
    assert scalars(tmp_path / "модель-trial-0") == {"loss": [(1, 1.0)]}
    assert scalars(tmp_path / "другая-trial-0") == {"loss": [(1, 2.0)]}


@pytest.mark.usefixtures("tensorboard")
def test_unwritable_folder_becomes_a_notice(tmp_path: Path, listener: RecordingListener) -> None:
    (tmp_path / "file").write_text("")
    run = train(tmp_path, EPOCHS, f"tracking.tensorboard={tmp_path / 'file' / 'x'}")
    assert run.status == "complete"
    assert [note for note in listener.notices if note.startswith("tensorboard:")]


# ---- MLflow


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    skip_without("mlflow", "pip install 'recctl[mlflow]'")
    for name, value in (("DISABLE_TELEMETRY", "true"), ("HTTP_REQUEST_TIMEOUT", "1"), ("LOGGING_LEVEL", "ERROR")):
        monkeypatch.setenv(f"MLFLOW_{name}", value)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")

    monkeypatch.setattr("recctl.tracking.tracker._STALL_SECONDS", 60.0)
    monkeypatch.setattr("recctl.tracking.tracker._MAX_FLUSH_SECONDS", 90.0)
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.mark.filterwarnings("ignore")  # of MLflow's own, when it reads
def test_mlflow_run_has_parameters_epochs_results_and_status(
    tmp_path: Path, database: str, listener: RecordingListener
) -> None:
    from mlflow import MlflowClient

    run = train(tmp_path, EPOCHS, f"tracking.mlflow={{uri: '{database}', experiment: books}}")
    client = MlflowClient(tracking_uri=database)
    experiment_id = client.get_experiment_by_name("books").experiment_id
    (kept,) = client.search_runs([experiment_id])
    assert (kept.info.run_name, kept.info.status) == (run.id, "FINISHED")
    assert kept.data.params["model.params.n_epochs"] == "4"
    assert kept.data.metrics["validation/ndcg_at_10"] == run.metrics()["validation"]["ndcg@10"]
    assert [m.step for m in client.get_metric_history(kept.info.run_id, "epoch/loss")] == [1, 2, 3, 4]

    # A run that is taken up again is the same run there.
    run.end("interrupted")
    assert experiment.resume(run)
    (same,) = client.search_runs([experiment_id])
    assert (same.info.run_id, same.info.status) == (kept.info.run_id, "FINISHED")

    with pytest.raises(TrainingError):
        train(tmp_path, EPOCHS, f"tracking.mlflow={{uri: '{database}', experiment: bad}}", "model.params.lr=1e6")
    (failed,) = client.search_runs([client.get_experiment_by_name("bad").experiment_id])
    assert failed.info.status == "FAILED"
    assert not [notice for notice in listener.notices if notice.startswith("mlflow:")], "the tracker was disabled"


@pytest.mark.usefixtures("database")
@pytest.mark.parametrize("answers", [False, True], ids=["a port that refuses", "a server that never answers"])
def test_unreachable_server_becomes_a_notice(answers: bool, listener: RecordingListener) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        if answers:
            server.listen()
        begin = monotonic()
        assert fit(MLflowLogger(f"http://127.0.0.1:{server.getsockname()[1]}")).best_epoch == 3
        assert monotonic() - begin < 30
    (notice,) = listener.notices
    assert notice.startswith("mlflow: ")
