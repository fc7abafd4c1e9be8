"""`train --warm-start RUN`: what begins from what, what is refused, and what runs keep of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from recctl import InteractionDataset, RunStore, load_model, make_model
from recctl.models.als import ALSRecommender
from recctl.runs import Run
from recctl.runs.verification import verify
from tests.experiment.growing_data import rows_until, write

ALS = """data: {source: d.csv}
split: {strategy: temporal, test_size: 0.1, val_size: 0.1}
model: {name: als, params: {n_factors: 4, n_iterations: 4}}
evaluation: {metrics: [ndcg], k_values: [10]}
"""
SASREC = """data: {source: d.csv}
split: {strategy: temporal, test_size: 0.1, val_size: 0.1}
model: {name: sasrec, params: {embedding_dim: 4, epochs: 3, n_blocks: 1}}
evaluation: {metrics: [ndcg], k_values: [10]}
"""


@pytest.fixture
def folder(workdir: Path) -> Path:
    write(workdir / "d.csv", rows_until(3))
    (workdir / "als.yaml").write_text(ALS)
    (workdir / "sasrec.yaml").write_text(SASREC)
    return workdir


def open_run(outcome: Any) -> Run:
    assert outcome.code == 0, outcome.err
    return Run.open(Path(outcome.json["path"]))


def model_of(run: Run, version: int | None = None) -> Any:
    return load_model(run.path / run.model_entry(version)["file"])


def part(run: Run, rows: list[tuple[int, ...]], *codes: int) -> InteractionDataset:
    """The rows of some parts of a run's split."""
    selected = [row for row, code in zip(rows, run.split_parts().tolist(), strict=True) if code in codes]
    return InteractionDataset(pd.DataFrame(selected, columns=["user_id", "item_id", "rating", "timestamp"]))


def by_hand(run: Run, parent: Run, rows: list[tuple[int, ...]], *codes: int, **params: Any) -> Any:
    model = make_model("als", seed=42, **({"n_factors": 4, "n_iterations": 4} | params))
    return model.fit(part(run, rows, *codes), warm_start=model_of(parent))


def yesterday_and_today(recctl: Any, folder: Path, config: str = "als.yaml") -> Run:
    """A run on three days, of which the last fifth is held out; the source then has five days."""
    first = open_run(recctl("train", config, "--json", "-q"))
    write(folder / "d.csv", rows_until(5))
    return first


@pytest.mark.parametrize("how", ["id", "alias", "path", "latest", "set"])
def test_training_begins_from_the_model_of_a_run(recctl: Any, folder: Path, how: str) -> None:
    first = yesterday_and_today(recctl, folder)
    assert recctl("runs", "promote", first.id, "--as", "production").code == 0
    option = {
        "id": ("--warm-start", first.id),
        "alias": ("--warm-start", "production"),
        "path": ("--warm-start", f"runs/{first.id}"),
        "latest": ("--warm-start", "latest"),
        "set": ("--set", f"training.warm_start={first.id}"),
    }[how]
    outcome = recctl("train", "als.yaml", *option, "--json")
    run = open_run(outcome)
    expected = by_hand(run, first, rows_until(5), 0)
    np.testing.assert_array_equal(model_of(run).item_factors, expected.item_factors)
    assert not np.array_equal(
        model_of(run).item_factors,
        make_model("als", n_factors=4, n_iterations=4).fit(part(run, rows_until(5), 0)).item_factors,
    )

    # The run itself says so, and repeats.
    parent_model = model_of(first)
    train = part(run, rows_until(5), 0)
    n_known = {
        "users": len(set(train.data["user_id"]) & set(parent_model.user_vocabulary.ids.tolist())),
        "items": len(set(train.data["item_id"]) & set(parent_model.item_vocabulary.ids.tolist())),
    }
    record = run.metadata["warm_start"]
    entry = first.model_entry()
    assert (record["run"], record["version"], record["sha256"]) == (first.id, 1, entry["sha256"])
    assert {side: record[side]["known"] for side in n_known} == n_known
    assert record["users"]["new"] == train.n_users - n_known["users"]
    assert yaml.safe_load((run.path / "config.yaml").read_text())["training"]["warm_start"] == first.id
    assert f"begins from {first.id} v1" in outcome.err
    assert not (run.path / "checkpoints").exists()
    assert verify(run) == []


def test_run_shows_what_it_began_from_and_a_rerun_repeats_it(recctl: Any, folder: Path) -> None:
    first = yesterday_and_today(recctl, folder)
    run = open_run(recctl("train", "als.yaml", "--warm-start", "latest", "--json", "-q"))
    shown = recctl("runs", "show", run.id)
    assert shown.code == 0
    assert "warm start" in shown.out
    assert first.id in shown.out
    assert recctl("report", run.id, "-o", "report.html").code == 0
    page = Path("report.html").read_text()
    assert "Warm start from" in page
    assert first.model_entry()["sha256"] in page
    rerun = open_run(recctl("train", str(run.path / "config.yaml"), "--json", "-q"))
    assert rerun.model_entry()["sha256"] == run.model_entry()["sha256"]
    assert rerun.metadata["warm_start"]["run"] == first.id
    # The run is whole without the one that it began from.
    shutil.rmtree(first.path)
    assert verify(run) == []
    assert recctl("evaluate", run.id, "--on", "test").code == 0
    refused = recctl("train", str(run.path / "config.yaml"))
    assert refused.code == 4
    assert first.id in refused.err
    assert "--set training.warm_start=null" in refused.err
    assert recctl("train", str(run.path / "config.yaml"), "--set", "training.warm_start=null").code == 0


def test_refit_and_fit_on_all_data_begin_from_the_same_model(recctl: Any, folder: Path) -> None:
    first = yesterday_and_today(recctl, folder)
    run = open_run(recctl("train", "als.yaml", "--warm-start", first.id, "--refit", "--json", "-q"))
    refitted = by_hand(run, first, rows_until(5), 0, 1)
    np.testing.assert_array_equal(model_of(run).item_factors, refitted.item_factors)
    everything = open_run(recctl("fit", run.id, "--all-data", "--json", "-q"))
    fitted = by_hand(everything, first, rows_until(5), 0)
    np.testing.assert_array_equal(model_of(everything).item_factors, fitted.item_factors)
    assert everything.metadata["warm_start"]["run"] == first.id
    cold = open_run(recctl("fit", run.id, "--all-data", "--set", "training.warm_start=null", "--json", "-q"))
    assert "warm_start" not in cold.metadata
    other = open_run(recctl("fit", "als.yaml", "--all-data", "--warm-start", run.id, "--json", "-q"))
    assert other.metadata["warm_start"]["run"] == run.id


def test_fit_on_all_data_takes_the_epochs_that_were_chosen_for_the_same_beginning(recctl: Any, folder: Path) -> None:
    first = yesterday_and_today(recctl, folder, "sasrec.yaml")
    stopping = ("--set", "training.early_stopping={patience: 1}")
    run = open_run(recctl("train", "sasrec.yaml", "--warm-start", first.id, *stopping, "--json", "-q"))
    everything = open_run(recctl("fit", run.id, "--all-data", "--json", "-q"))
    assert model_of(everything).best_epoch == model_of(run, 1).best_epoch
    refused = recctl("fit", run.id, "--all-data", "--set", "training.warm_start=null")
    assert refused.code == 2
    assert "training.warm_start=null" in refused.err


# ---- interruptions


@pytest.mark.parametrize("refit", [False, True])
def test_resumed_run_does_not_need_the_run_that_it_began_from(
    recctl: Any, folder: Path, monkeypatch: pytest.MonkeyPatch, refit: bool
) -> None:
    first = yesterday_and_today(recctl, folder)
    options = ("--warm-start", first.id, *(["--refit"] if refit else []))
    whole = open_run(recctl("train", "als.yaml", *options, "--json", "-q"))
    fit = ALSRecommender._fit_from
    n_fits = 0

    def interrupted_fit(model: ALSRecommender, *arguments: Any) -> None:
        nonlocal n_fits
        n_fits += 1
        if n_fits == 1 + refit:  # in the fit itself, or only in the refit
            raise KeyboardInterrupt
        fit(model, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ALSRecommender, "_fit_from", interrupted_fit)
        assert recctl("train", "als.yaml", *options, "-q").code == 130
    stopped = next(run for run in RunStore().runs() if run.status == "interrupted")
    assert verify(stopped) == []
    shutil.rmtree(first.path)
    resumed = open_run(recctl("train", "--resume", stopped.id, "--json", "-q"))
    assert resumed.metrics() == whole.metrics()
    assert [entry["sha256"] for entry in resumed.metadata["models"]] == [
        entry["sha256"] for entry in whole.metadata["models"]
    ]
    assert not (resumed.path / "checkpoints").exists()
    refused = recctl("train", "--resume", stopped.id, "--warm-start", whole.id)
    assert (refused.code, "--warm-start" in refused.err) == (2, True)


def test_kept_model_is_checked_and_the_original_is_its_substitute(
    recctl: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = yesterday_and_today(recctl, folder)

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(ALSRecommender, "_fit_from", interrupt)
        assert recctl("train", "als.yaml", "--warm-start", first.id, "-q").code == 130
    stopped = next(run for run in RunStore().runs() if run.status == "interrupted")
    kept = stopped.path / "checkpoints" / "warm_start.pkl"
    shutil.copyfile(kept, "copy.pkl")
    kept.unlink()  # it may be a second name of the file of the other run
    kept.write_bytes(Path("copy.pkl").read_bytes()[:-10])
    assert recctl("train", "--resume", stopped.id, "-q").code == 4
    kept.unlink()
    assert recctl("train", "--resume", stopped.id, "-q").code == 0


# ---- refusals


def test_run_that_was_fitted_on_held_out_pairs_is_refused(recctl: Any, folder: Path) -> None:
    rows = rows_until(3)
    everything = open_run(recctl("fit", "als.yaml", "--all-data", "--json", "-q"))
    refused = recctl("train", "als.yaml", "--warm-start", everything.id)
    assert refused.code == 3
    assert len(RunStore().ids()) == 1, "it is refused before a run begins"
    n_held_out = len(rows) // 10
    for part_name in ("validation", "test"):
        assert f"{n_held_out} of the {n_held_out} pairs of {part_name}" in refused.err
    validation = [(row[0], row[1]) for row in rows[-2 * n_held_out : -n_held_out]]
    assert any(f"user {user} and item {item}" in refused.err for user, item in validation)
    assert "split.strategy: temporal" in refused.err

    # A refit knows validation; what comes of the same split without it does not.
    refitted = open_run(recctl("train", "als.yaml", "--refit", "--json", "-q"))
    refused = recctl("train", "als.yaml", "--warm-start", refitted.id)
    assert refused.code == 3
    assert "pairs of validation" in refused.err
    assert "pairs of test" not in refused.err
    without = open_run(recctl("train", "als.yaml", "--json", "-q"))
    assert recctl("train", "als.yaml", "--warm-start", without.id, "-q").code == 0


def test_what_came_after_the_run_can_be_tested_on(recctl: Any, folder: Path) -> None:
    """The nightly path: the model in production was fitted on everything, and test is what is newer."""
    production = open_run(recctl("fit", "als.yaml", "--all-data", "--json", "-q"))
    rows = rows_until(4)
    # A user comes back to an item that production was fitted on: what is newer is no leak.
    user, item, rating, _ = rows[0]
    rows.append((user, item, rating, rows[-1][3] + 1))
    write(folder / "d.csv", rows)
    options = ("--test-since", production.id, "--warm-start", production.id)
    refused = recctl("train", "als.yaml", *options)
    assert refused.code == 3
    assert "pairs of validation" in refused.err
    run = open_run(recctl("train", "als.yaml", *options, "--set", "split.val_size=0", "--json", "-q"))
    assert set(run.metrics()) == {"test"}
    assert run.model_entry()["last_timestamp"] == production.model_entry()["last_timestamp"]


def test_pairs_of_earlier_models_count_too(recctl: Any, folder: Path) -> None:
    """A model knows what the model knew that it began from, even if its own data lack it."""
    rows = rows_until(3)
    everything = open_run(recctl("fit", "als.yaml", "--all-data", "--json", "-q"))
    # The second model is fitted on the older half, without any held-out part.
    write(folder / "d.csv", rows[:300])
    second = open_run(recctl("fit", "als.yaml", "--all-data", "--warm-start", everything.id, "--json", "-q"))
    record = second.metadata["warm_start"]
    assert record["pairs_not_in_train"] == 300
    assert second.model_entry()["last_timestamp"] == rows[-1][3]
    write(folder / "d.csv", rows)
    split = ("--set", "split.test_size=100", "--set", "split.val_size=0")
    refused = recctl("train", "als.yaml", "--warm-start", second.id, *split)
    assert refused.code == 3
    assert (
        f"{everything.id} v1, from which {second.id} began, was fitted on 100 of the 100 pairs of test" in refused.err
    )
    shutil.rmtree(everything.path)
    unknown = recctl("train", "als.yaml", "--warm-start", second.id, *split)
    assert unknown.code == 0
    assert "which does not exist any more" in unknown.err


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (["model.params.n_factors=5"], ["n_factors=5", "n_factors=4", "set n_factors to 4"]),
        (["model={name: ncf}"], ["a model of als", "begin from a model of ncf"]),
        (["model={name: ease}"], ["training.warm_start", "ease is always fitted from scratch", "als, lightgcn"]),
    ],
)
def test_run_of_another_model_or_size_is_refused(
    recctl: Any, folder: Path, changes: list[str], expected: list[str]
) -> None:
    first = yesterday_and_today(recctl, folder)
    options = [word for change in changes for word in ("--set", change)]
    refused = recctl("train", "als.yaml", "--warm-start", first.id, *options)
    assert refused.code == 2
    for text in expected:
        assert text in refused.err
    assert len(RunStore().ids()) == 1


def test_run_that_does_not_exist_is_refused(recctl: Any, folder: Path) -> None:
    refused = recctl("train", "als.yaml", "--warm-start", "production")
    assert (refused.code, "'production'" in refused.err) == (4, True)
    refused = recctl("train", "als.yaml", "--warm-start", "20231114")  # an id's beginning, which YAML reads as a number
    assert (refused.code, "'20231114'" in refused.err) == (4, True)


def test_searches_and_comparisons_refuse_it(recctl: Any, folder: Path) -> None:
    first = yesterday_and_today(recctl, folder)
    option = ("--set", f"training.warm_start={first.id}")
    for command in (("tune", "als.yaml", "--trials", "2"), ("compare", "als.yaml", "sasrec.yaml")):
        refused = recctl(*command, *option)
        assert refused.code == 2
        assert f"recctl {command[0]} fits each model from scratch" in refused.err
    warm = open_run(recctl("train", "als.yaml", "--warm-start", first.id, "--json", "-q"))
    cold = open_run(recctl("train", "als.yaml", "--json", "-q"))
    assert recctl("compare", warm.id, cold.id, "-q").code == 0, "runs are compared however they began"
