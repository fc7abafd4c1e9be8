"""`recctl evaluate --recommendations` and lists among the models of `recctl compare`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recctl import RunStore
from recctl.experiment.comparison import run as comparison_run
from tests.data.sources.remote.servers import web_server

DATA = """\
seed: 7
data:
  source: synthetic
  synthetic: {n_users: 120, n_items: 60, n_interactions: 2500}
split: {test_size: 0.2, val_size: 0.1}
evaluation: {metrics: [ndcg, hit_rate], k_values: [5, 10]}
"""


@pytest.fixture
def lists(recctl: Any) -> Path:
    """The lists of EASE, as recctl exports them; of 30 items, because those that users know are dropped."""
    Path("ease.yaml").write_text(f"{DATA}model: {{name: ease, params: {{l2_reg: 50.0}}}}\n")
    trained = recctl("train", "ease.yaml", "--json")
    exported = recctl("export", trained.json["run_id"], "-f", "recommendations", "-k", "30", "-o", "lists", "--json")
    assert exported.code == 0, exported.err
    Path("compared.yaml").write_text(
        f"{DATA}models:\n  - {{recommendations: lists/recommendations.parquet, name: production}}\n"
        "  - {name: popularity}\n"
    )
    return Path("lists/recommendations.parquet")


def test_exported_lists_have_the_figures_of_their_model(recctl: Any, lists: Path) -> None:
    (model_run,) = RunStore().runs()
    done = recctl("evaluate", "--recommendations", str(lists), "ease.yaml", "--json")
    assert done.code == 0, done.err
    assert done.json["measured"] == model_run.metrics()["test"]
    assert done.json["lists"]["entries"] == 120 * 30
    measured = RunStore().resolve(done.json["run_id"])
    pd.testing.assert_frame_equal(measured.per_user("test"), model_run.per_user("test"))
    of_run = recctl("evaluate", "--recommendations", str(lists), model_run.id, "-k", "10", "-m", "ndcg", "--json")
    assert of_run.json["measured"] == pytest.approx({"ndcg@10": model_run.metrics()["test"]["ndcg@10"]})
    refused = recctl("evaluate", "--recommendations", str(lists), "ease.yaml", "-k", "40")
    assert refused.code == 2
    assert "set evaluation.k_values: [30]" in refused.err
    # A run of lists is compared as runs of models are, and is the baseline of a gate.
    gate = recctl("compare", model_run.id, measured.id, "--fail-if-worse", "--resamples", "200", "--json")
    assert gate.code == 0, gate.err
    assert gate.json["comparison"]["reference"] == "recommendations"
    assert gate.json["comparison"]["best"] == "ease"


def test_lists_among_the_models_are_compared_but_never_kept(recctl: Any, lists: Path) -> None:
    done = recctl("compare", "compared.yaml", "--resamples", "200", "--json")
    assert done.code == 0, done.err
    found = done.json["comparison"]
    assert found["best"] == "popularity", "lists are no candidates"
    assert found["chosen_on"] == "validation"
    production = next(model for model in found["compared"] if model["label"] == "production")
    ease = RunStore().runs()[0]
    assert production["metrics"]["ndcg@10"]["value"] == ease.metrics()["test"]["ndcg@10"]
    assert production["metrics"]["ndcg@10"]["p_holm"] < 0.05
    assert production["validation"] is None
    words = " ".join(found["words"])
    assert "production is significantly better than popularity in ndcg@10" in words
    assert "production has the best ndcg@10 on test, ahead of every model." in words
    assert f"recommendations.parquet (SHA-256 {production['lists']['sha256'][:12]})" in words
    promoted = recctl("runs", "promote", production["runs"][0], "--as", "production")
    assert promoted.code == 4
    assert "has no model" in promoted.err
    report = recctl("report", done.json["run_id"], "-o", "report.html")
    assert report.code == 0, report.err
    assert production["lists"]["sha256"][:12] in Path("report.html").read_text()
    failed = recctl("compare", "compared.yaml", "--fail-if-worse", "--resamples", "200")
    assert failed.code == 0, "popularity is the baseline, and production is better"


def test_refit_measures_lists_on_validation(recctl: Any, lists: Path) -> None:
    done = recctl("compare", "compared.yaml", "--refit", "--seeds", "1,2", "--resamples", "200", "--json")
    assert done.code == 0, done.err
    found = done.json["comparison"]
    assert found["on"] == "validation"
    assert (
        found["refit"]["run_id"]
        == next(model for model in found["compared"] if model["label"] == "popularity")["runs"][0]
    )
    folds = recctl("compare", "compared.yaml", "--folds", "3")
    assert folds.code == 2
    assert "--folds makes other splits than the one that the lists of production were made for" in folds.err


def test_interrupted_comparison_measures_the_same_lists(
    recctl: Any, lists: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from recctl.experiment.comparison import run as comparison_run

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(comparison_run, "measure_lists", interrupt)
        assert recctl("compare", "compared.yaml", "--resamples", "200").code == 130
    unchanged = lists.read_bytes()
    pd.read_parquet(lists).iloc[:-1].to_parquet(lists)
    changed = recctl("compare", "--resume", "latest", "--json")
    assert changed.code == 3
    assert "has changed since the comparison began" in changed.err
    lists.write_bytes(unchanged)
    done = recctl("compare", "--resume", "latest", "--json")
    assert done.code == 0, done.err
    assert {model["label"] for model in done.json["comparison"]["compared"]} == {"production", "popularity"}


def test_bad_lists_are_refused_before_anything_is_fitted(recctl: Any, lists: Path) -> None:
    pd.read_parquet(lists).assign(rank=1).to_parquet(lists)
    n_runs = len(RunStore().ids())
    done = recctl("compare", "compared.yaml")
    assert done.code == 3
    assert "recommendations.parquet: row 2: rank 1 is given twice" in done.err
    assert len(RunStore().ids()) == n_runs


def test_backtest_measures_the_lists_of_each_window(recctl: Any) -> None:
    Path("windows.yaml").write_text(
        DATA.replace("split: {test_size: 0.2, val_size: 0.1}", "split: {strategy: rolling, n_windows: 2, test_days: 7}")
        + "models:\n  - {name: popularity}\n  - {recommendations: 'lists-{window}.csv', name: production}\n"
    )
    fitted = recctl("compare", "windows.yaml", "--resamples", "100")
    assert fitted.code == 3
    assert "lists-1.csv: recommendations: no such file" in fitted.err
    Path("models.yaml").write_text(
        Path("windows.yaml")
        .read_text()
        .replace("{recommendations: 'lists-{window}.csv', name: production}", "{name: ease}")
    )
    found = recctl("compare", "models.yaml", "--resamples", "100", "--json").json["comparison"]
    (ease,) = [model for model in found["compared"] if model["label"] == "ease"]
    for number, run_id in enumerate(ease["runs"], start=1):
        recctl("export", run_id, "-f", "recommendations", "-k", "40", "-o", "out", "--force")
        exported = next(path for path in Path("out").iterdir() if path.name.startswith("recommendations."))
        pd.read_parquet(exported).to_csv(f"lists-{number}.csv", index=False)
    done = recctl("compare", "windows.yaml", "--resamples", "100", "--json")
    assert done.code == 0, done.err
    (production,) = [model for model in done.json["comparison"]["compared"] if model["label"] == "production"]
    for metric in ("ndcg@10", "hit_rate@5"):
        values = [window["value"] for window in production["metrics"][metric]["windows"]]
        assert values == [window["value"] for window in ease["metrics"][metric]["windows"]]


def test_segments_of_lists_are_printed_and_asserted(recctl: Any, lists: Path) -> None:
    command = ["evaluate", "--recommendations", str(lists), "ease.yaml", "--set", "evaluation.segments=[new_users]"]
    done = recctl(*command, "--assert", "ndcg@10[known_users]>=0.01", "--json")
    assert done.code == 0, done.err
    users = done.json["evaluation"]["segments"]["known_users"]["n_users"]
    assert users > 100
    printed = recctl(*command)
    (row,) = [line for line in (printed.out + printed.err).splitlines() if line.strip(" │|").startswith("known_users")]
    assert f"{users}" in row
    assert f"{done.json['measured']['ndcg@10']:.4f}" in row, "all users are known"


def test_unknown_segment_is_refused_before_lists_are_measured(recctl: Any, lists: Path) -> None:
    n_runs = len(RunStore().ids())
    command = ["evaluate", "--recommendations", str(lists), "ease.yaml", "--set", "evaluation.segments=[new_users]"]
    refused = recctl(*command, "--assert", "ndcg@10[country=DE]>=0.1")
    assert refused.code == 2
    assert "evaluation.segments has new_users, known_users" in refused.err
    assert len(RunStore().ids()) == n_runs


def test_comparison_with_lists_behind_a_url_is_resumed(
    recctl: Any, lists: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("RECCTL_DATA_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("LISTS_TOKEN", "token9secret")
    expected = recctl("compare", "compared.yaml", "--resamples", "200", "--json").json["comparison"]
    with web_server(lists.read_bytes()) as site:
        url = f"{site.url}/lists.parquet?token=${{LISTS_TOKEN}}"
        config = Path("compared.yaml").read_text().replace("lists/recommendations.parquet", url)
        Path("remote.yaml").write_text(config.replace(url, f'"{url}"'))

        def interrupt(*arguments: Any, **options: Any) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(comparison_run, "_fit_one", interrupt)
            interrupted = recctl("compare", "remote.yaml", "--resamples", "200")
        assert interrupted.code != 0
        (run,) = [run for run in RunStore().runs() if run.status == "interrupted"]
        resumed = recctl("compare", "--resume", run.id, "--json")
    assert resumed.code == 0, resumed.err
    values = [
        {model["label"]: model["metrics"]["ndcg@10"] for model in document["compared"]}
        for document in (expected, resumed.json["comparison"])
    ]
    assert values[0] == values[1]
    assert "token9secret" not in (run.path / "metadata.json").read_text()
