"""`recctl compare`: tables, conclusions, JSON, exit codes and the files of the runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recctl import RunStore, experiment
from recctl.experiment import stages
from recctl.runs import Run
from tests.conftest import Outcome

SEVERAL = """\
seed: 7
data:
  source: synthetic
  synthetic: {n_users: 200, n_items: 60, n_interactions: 4000}
split: {test_size: 0.2, val_size: 0.1}
evaluation: {metrics: [ndcg, hit_rate], k_values: [10]}
models:
  - {name: ease, params: {l2_reg: 50.0}}
  - {name: item-knn}
  - {name: random}
"""
SHARED = SEVERAL.partition("models:")[0]
ONE = {
    "ease": "{name: ease, params: {l2_reg: 50.0}}",
    "close": "{name: ease, params: {l2_reg: 50.0001}}",
    "random": "{name: random}",
}


class Compared(Outcome):
    @property
    def comparison(self) -> Any:
        return self.json["comparison"]

    @property
    def models(self) -> dict[str, Any]:
        return {model["label"]: model for model in self.comparison["compared"]}


@pytest.fixture
def recctl(recctl: Any) -> Any:
    Path("several.yaml").write_text(SEVERAL)
    for name, model in ONE.items():
        Path(f"{name}.yaml").write_text(f"{SHARED}model: {model}\n")

    def call(*arguments: str) -> Compared:
        few = ["--resamples", "500"] if arguments[0] == "compare" and "--resume" not in arguments else []
        done = recctl(*arguments, *few)
        return Compared(done.code, done.out, done.err)

    return call


def runs() -> list[Run]:
    return list(RunStore().runs())


def test_models_of_one_config_are_fitted_and_compared(recctl: Any) -> None:
    done = recctl("compare", "several.yaml", "--json")
    assert done.code == 0, done.err
    found = done.comparison
    assert (found["on"], found["metric"], found["chosen_on"]) == ("test", "ndcg@10", "validation")
    assert found["best"] == max(done.models, key=lambda label: done.models[label]["validation"])
    assert found["best"] == found["reference"] != "random"
    for label, model in done.models.items():
        (run,) = map(RunStore().resolve, model["runs"])
        assert run.metadata["kind"] == "train", "an ordinary run, which evaluate and recommend take"
        assert run.metadata["parent_run"] == done.json["run_id"]
        for key, figure in model["metrics"].items():
            assert figure["value"] == pytest.approx(run.metrics()["test"][key]), (label, key)
        assert model["validation"] == run.metrics()["validation"]["ndcg@10"]
        assert model["metrics"]["ndcg@10"]["low"] < model["metrics"]["ndcg@10"]["value"]
        assert model["coverage"] == run.metrics()["test"]["coverage@10"]
    assert done.models["random"]["metrics"]["ndcg@10"]["p_holm"] < 0.05
    assert "coverage" in done.models[found["best"]]["front"]
    assert "speed" in done.models["random"]["front"]
    assert any(
        f"{found['best']} is significantly better than random in ndcg@10, by 0." in sentence
        for sentence in found["words"]
    )
    assert done.json["test_looks"] == 1, "the comparison evaluates its models at its end"
    assert "choose models on validation" not in done.err
    assert sum(run.metadata["test_looks"] for run in runs()) == 3
    assert len({tuple(run.split_parts().tolist()) for run in runs()}) == 1


def test_json_keys_do_not_depend_on_options(recctl: Any) -> None:
    figure = {
        *("value", "low", "high", "difference", "difference_low", "difference_high"),
        *("p", "p_holm", "n_users", "spread"),
    }
    found = recctl("compare", "several.yaml", "--json").comparison
    assert {frozenset(model) for model in found["compared"]} == {
        frozenset(
            (
                *("label", "model", "runs", "fit_seconds", "model_bytes", "fitted_on", "validation", "metrics"),
                *("coverage", "front"),
            )
        )
    }
    for model in found["compared"]:
        assert list(model["metrics"]) == ["ndcg@10", "hit_rate@10", "coverage@10"]
        assert all(set(values) == figure for values in model["metrics"].values())
    kept = json.loads((Path("runs") / RunStore().ids()[0] / "comparison.json").read_text())
    assert kept == found
    assert {
        "best",
        "reference",
        "left_out",
        "words",
        "worse",
        "refit",
        "correction",
        "confidence",
        "n_users",
    } <= kept.keys()


def test_text_output_has_tables_and_conclusions(recctl: Any) -> None:
    done = recctl("compare", "several.yaml")
    lines = done.out.splitlines()
    assert lines[0].startswith("on test, ")
    assert lines[1].split() == [
        "metric",
        "model",
        "value",
        "95%",
        "interval",
        "difference",
        "95%",
        "interval",
        "p",
        "(Holm)",
    ]
    assert sum(line.startswith("ndcg@10") for line in lines) == 3
    assert any("validation ndcg@10" in line and "coverage" in line for line in lines)
    assert any(" is significantly better than random in ndcg@10, by " in line for line in lines)


def test_equivalent_models_are_not_significantly_different(recctl: Any) -> None:
    done = recctl("compare", "ease.yaml", "close.yaml", "--json")
    assert done.code == 0, done.err
    assert list(done.models) == ["ease (ease)", "ease (close)"] or list(done.models) == ["ease (close)", "ease (ease)"]
    assert [word for word in done.comparison["words"] if "do not differ significantly in ndcg@10 (p = " in word]
    other = next(model for model in done.models.values() if model["label"] != done.comparison["reference"])
    assert abs(other["metrics"]["ndcg@10"]["difference"]) < 1e-3
    assert other["metrics"]["ndcg@10"]["p_holm"] > 0.05


def test_existing_runs_compare_without_data_or_test_evaluation(recctl: Any) -> None:
    fitted = recctl("compare", "several.yaml", "--json")
    ids = [model["runs"][0] for model in fitted.models.values()]
    again = recctl("compare", *ids, "--json")
    assert again.code == 0, again.err
    assert again.json["test_looks"] == 1, "stored figures are no new look"
    for label, model in fitted.models.items():
        assert again.models[label]["metrics"] == model["metrics"]
    wilcoxon = recctl(
        "compare", *ids, "--json", "--significance", "wilcoxon", "-m", "hit_rate@10", "--on", "validation"
    )
    assert (wilcoxon.comparison["test"], wilcoxon.comparison["on"]) == ("wilcoxon", "validation")
    assert wilcoxon.comparison["metric"] == "hit_rate@10"
    assert any("its advantage is overestimated" in sentence for sentence in wilcoxon.comparison["words"])


def test_run_and_config_compare_on_their_common_split(recctl: Any) -> None:
    old = recctl("train", "ease.yaml", "--json").json["run_id"]
    done = recctl("compare", old, "random.yaml", "--json")
    assert done.code == 0, done.err
    assert done.models["ease"]["runs"] == [old]
    other = recctl("compare", old, "random.yaml", "--set", "seed=8")
    assert other.code == 3
    assert f"{old} has different" in other.err


def test_configs_with_different_data_are_rejected_before_reading(recctl: Any) -> None:
    Path("other.yaml").write_text(
        Path("random.yaml").read_text().replace("test_size: 0.2", "test_size: 0.3").replace("seed: 7", "seed: 8")
    )
    done = recctl("compare", "ease.yaml", "other.yaml", "--json")
    assert done.code == 2
    assert [line.split(";")[0] for line in done.json["errors"]] == [
        "seed is 7 in ease.yaml (ease), 8 in other.yaml (random)",
        "split.test_size is 0.2 in ease.yaml (ease), 0.3 in other.yaml (random)",
    ]
    assert runs() == []


def test_runs_of_different_splits_are_rejected(recctl: Any) -> None:
    ids = [recctl("train", "ease.yaml", "--set", f"seed={seed}", "--json").json["run_id"] for seed in (7, 8)]
    done = recctl("compare", *ids)
    assert done.code == 3
    assert "different data" in done.err or "different split" in done.err


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("l2_reg: 50.0", "l2_rge: 50.0", "several.yaml:8: models.0.params.l2_rge: unknown parameter"),
        ("name: item-knn", "name: item-kn", "several.yaml:9: models.1.name: unknown model"),
        ("models:", "model: {name: ease}\nmodels:", "remove one of the two"),
        ("name: random", "name: ease, training: {early_stopping: {}}", "models.2.training.early_stopping"),
    ],
)
def test_errors_of_each_model_have_their_line(recctl: Any, old: str, new: str, message: str) -> None:
    Path("several.yaml").write_text(SEVERAL.replace(old, new))
    done = recctl("compare", "several.yaml")
    assert done.code == 2
    assert message in done.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("ease.yaml",), "needs two models"),
        (("several.yaml", "--seeds", "1,x"), "--seeds '1,x'"),
        (("several.yaml", "--seeds", "1,1"), "distinct non-negative integers"),
        (("several.yaml", "--refit", "--folds", "3"), "exclude each other"),
        (("several.yaml", "--refit", "--on", "test"), "only the refitted best model on test"),
        (("several.yaml", "--refit", "--set", "split.val_size=0"), "set split.val_size"),
        (("several.yaml", "--folds", "3", "--set", "split.strategy=temporal"), "split.strategy is temporal"),
        (("several.yaml", "--fail-if-worse"), "requires two runs"),
        (("several.yaml", "-m", "ndgc@10"), "did you mean ndcg@10"),
    ],
)
def test_invalid_options_are_rejected_with_reason(recctl: Any, arguments: tuple[str, ...], message: str) -> None:
    done = recctl("compare", *arguments)
    assert done.code == 2, done.err
    assert message in done.err


def test_train_rejects_config_with_several_models(recctl: Any) -> None:
    done = recctl("train", "several.yaml")
    assert done.code == 2
    assert "recctl compare" in done.err


# ---- refit, seeds, folds


def test_refit_evaluates_only_best_model_on_test_once(recctl: Any) -> None:
    done = recctl("compare", "several.yaml", "--refit", "--json")
    assert done.code == 0, done.err
    found = done.comparison
    assert found["on"] == "validation"
    assert done.json["test_looks"] == 1
    for label, model in done.models.items():
        run = RunStore().resolve(model["runs"][0])
        versions = [entry["fitted_on"] for entry in run.metadata["models"]]
        assert versions == (["train", "train+validation"] if label == found["best"] else ["train"])
        assert ("test" in run.metrics()) == (label == found["best"])
    winner = RunStore().resolve(found["refit"]["run_id"])
    assert found["refit"]["version"] == 2
    assert {key: figure["value"] for key, figure in found["refit"]["metrics"].items()} == winner.metrics()["test"]
    figure = found["refit"]["metrics"]["ndcg@10"]
    assert figure["low"] < figure["value"] < figure["high"]


def test_seeds_repeat_randomized_models_and_average_per_user(recctl: Any) -> None:
    done = recctl("compare", "several.yaml", "--seeds", "1,2,3", "--json")
    assert done.code == 0, done.err
    models = done.models
    assert [len(models[label]["runs"]) for label in ("ease", "item-knn", "random")] == [1, 1, 3]
    repeats = [RunStore().resolve(run_id) for run_id in models["random"]["runs"]]
    values = pd.Series([run.metrics()["test"]["ndcg@10"] for run in repeats])
    figure = models["random"]["metrics"]["ndcg@10"]
    assert figure["value"] == pytest.approx(values.mean())
    assert figure["spread"] == pytest.approx(values.std())
    assert figure["n_users"] == done.comparison["n_users"] == models["ease"]["metrics"]["ndcg@10"]["n_users"]
    assert models["ease"]["metrics"]["ndcg@10"]["spread"] is None
    assert len({tuple(run.split_parts().tolist()) for run in runs()}) == 1, "seeds are of models, not of the split"
    assert "spread" in recctl("compare", done.json["run_id"]).out


def test_folds_use_each_interaction_as_test_once(recctl: Any) -> None:
    done = recctl("compare", "ease.yaml", "random.yaml", "--folds", "3", "--json")
    assert done.code == 0, done.err
    repeats = [RunStore().resolve(run_id) for run_id in done.models["ease"]["runs"]]
    assert len(repeats) == 3
    tests = [run.split_parts() == 2 for run in repeats]
    assert (sum(part.astype(int) for part in tests) == 1).all()
    values = [run.metrics()["test"]["ndcg@10"] for run in repeats]
    figure = done.models["ease"]["metrics"]["ndcg@10"]
    assert min(values) <= figure["value"] <= max(values)
    assert figure["spread"] == pytest.approx(pd.Series(values).std())
    tables = pd.concat(pd.read_parquet(run.path / "per_user.parquet") for run in repeats)
    by_user = tables[tables["part"] == "test"].groupby("user_id")["ndcg@10"].mean()
    assert figure["value"] == pytest.approx(by_user.mean())
    assert figure["n_users"] == len(by_user)


# ---- broken off


def test_interrupted_comparison_resumes_with_missing_models(recctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = recctl("compare", "several.yaml", "--json")
    fit = stages.fit
    fitted = []

    def fit_until(run: Run, config: Any, *rest: Any) -> Any:
        if config.model.name == "item-knn" and "item-knn" not in fitted:
            fitted.append("item-knn")
            raise KeyboardInterrupt
        fitted.append(config.model.name)
        return fit(run, config, *rest)

    monkeypatch.setattr(stages, "fit", fit_until)
    before = set(RunStore().ids())
    broken = recctl("compare", "several.yaml")
    assert broken.code == 130
    comparison = next(run for run in runs() if run.id not in before and run.metadata["kind"] == "compare")
    assert comparison.status == "interrupted"
    assert f"recctl compare --resume {comparison.id}" in broken.err
    assert recctl("compare", comparison.id).code == 4, "there is nothing to show yet"
    assert recctl("train", "--resume", comparison.id).code == 2
    resumed = recctl("compare", "--resume", comparison.id, "--json")
    assert resumed.code == 0, resumed.err
    assert fitted == ["ease", "item-knn", "item-knn", "random"], "what was complete was not fitted again"
    assert {label: model["metrics"] for label, model in resumed.models.items()} == {
        label: model["metrics"] for label, model in whole.models.items()
    }
    again = recctl("compare", "--resume", comparison.id, "--json")
    assert "nothing to do" in again.err
    assert again.comparison == resumed.comparison == recctl("compare", comparison.id, "--json").comparison
    assert len(fitted) == 4


def test_failing_model_does_not_stop_the_others(recctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from recctl.errors import TrainingError

    fit = stages.fit

    def fails(run: Run, config: Any, *rest: Any) -> Any:
        if config.model.name == "ease":
            raise TrainingError("diverged")
        return fit(run, config, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(stages, "fit", fails)
        done = recctl("compare", "several.yaml")
    assert done.code == 5
    assert "ease: diverged" in done.err
    states = {run.metadata["models"][0]["model"]: run.status for run in runs() if run.metadata["models"]}
    assert states == {"item-knn": "complete", "random": "complete"}
    comparison = next(run.id for run in runs() if run.metadata["kind"] == "compare")
    assert recctl("compare", "--resume", comparison).code == 0


def test_deleted_run_is_fitted_again(recctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(experiment.comparison.run, "compare_runs", interrupted)
        assert recctl("compare", "several.yaml").code == 130
    comparison, *others = runs()
    RunStore().remove(others[0])
    Path("several.yaml").unlink()
    resumed = recctl("compare", "--resume", comparison.id, "--runs-dir", str(comparison.path.parent))
    assert resumed.code == 0, resumed.err


# ---- the gate


def test_fail_if_worse_exits_with_code_6(recctl: Any) -> None:
    good, bad, same = (recctl("train", f"{name}.yaml", "--json").json["run_id"] for name in ("ease", "random", "close"))
    worse = recctl("compare", bad, good, "--fail-if-worse", "--json")
    assert worse.code == 6
    assert "ease is significantly better than random in ndcg@10, by" in worse.err
    assert "significance level 0.05" in worse.err
    assert worse.comparison["reference"] == "ease"
    assert len(worse.comparison["worse"]) == 1
    assert recctl("compare", good, bad, "--fail-if-worse").code == 0
    assert recctl("compare", same, good, "--fail-if-worse", "--metric", "hit_rate@10").code == 0, "noise is no failure"


def test_lower_rmse_is_better(recctl: Any) -> None:
    text = SHARED.replace("[ndcg, hit_rate]", "[rmse, mae]").replace("4000}", "4000}\n  implicit: false")
    for name, n_epochs in {"svd": 20, "bad": 1}.items():
        Path(f"{name}.yaml").write_text(f"{text}model: {{name: svd, params: {{n_epochs: {n_epochs}}}}}\n")
    good, bad = (recctl("train", f"{name}.yaml", "--json").json["run_id"] for name in ("svd", "bad"))
    done = recctl("compare", good, bad, "--json")
    assert done.code == 0, done.err
    assert (done.comparison["mode"], done.comparison["metric"]) == ("min", "rmse")
    better, worse = done.comparison["compared"]
    assert better["metrics"]["rmse"]["value"] <= worse["metrics"]["rmse"]["value"]
    measured = RunStore().resolve(better["runs"][0]).metrics()["test"]
    assert better["metrics"]["rmse"]["value"] == pytest.approx(measured["rmse"])
    ids = [better["runs"][0], worse["runs"][0]]
    assert recctl("compare", *ids, "--fail-if-worse").code == 0
    significant = worse["metrics"]["rmse"]["p_holm"] < 0.05
    assert recctl("compare", *ids[::-1], "--fail-if-worse").code == (6 if significant else 0)
