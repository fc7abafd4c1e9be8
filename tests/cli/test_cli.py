"""The command line: stdout, stderr, exit codes, JSON."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from recctl.cli.assertions import require
from recctl.errors import AssertionFailedError, ConfigError
from recctl.metrics.condition import parse_condition
from recctl.runs.evaluations import EvaluationRecord, MeasuredData, MeasuredModel
from tests import preloaded

CONFIGS = Path(__file__).parents[2] / "configs"


def test_train_prints_metrics_and_run_and_writes_all_files(recctl: Any, workdir: Path) -> None:
    done = recctl("train", "small.yaml")
    assert done.code == 0, done.err
    run_id = os.listdir("runs")[0]
    assert "ndcg@10" in done.out
    assert f"runs/{run_id}" in done.out
    assert f"recctl recommend {run_id}" in done.err
    files = {str(path.relative_to(workdir / "runs" / run_id)) for path in (workdir / "runs" / run_id).rglob("*")}
    assert files == {
        "config.yaml",
        "metadata.json",
        "metrics.json",
        "per_user.parquet",
        "evaluations.json",
        "split.npz",
        "log.txt",
        "models",
        "models/v1.pkl",
    }


def test_json_option_prints_one_document_to_stdout(recctl: Any) -> None:
    trained = recctl("train", "small.yaml", "--json")
    assert trained.json["status"] == "complete"
    assert {"run_id", "path", "status", "metrics", "models", "timings"} <= trained.json.keys()
    run_id = trained.json["run_id"]
    for arguments in (
        ("evaluate", run_id),
        ("recommend", "latest", "1", "2"),
        ("similar", "latest", "1", "2"),
        ("runs", "list"),
        ("runs", "show", run_id),
        ("models",),
        ("models", "ease"),
        ("data", "list"),
        ("data", "describe", "small.yaml"),
        ("config", "validate", "small.yaml"),
        ("config", "show", "small.yaml"),
        ("config", "schema"),
        ("config", "steps"),
        ("config", "metrics"),
        ("config", "init", "ease"),
        ("split", "small.yaml"),
        ("fit", "small.yaml"),
    ):
        done = recctl(*arguments, "--json")
        assert done.code == 0, (arguments, done.err)
        assert isinstance(done.json, dict)


def test_evaluate_reproduces_metrics_of_train(recctl: Any) -> None:
    trained = recctl("train", "small.yaml", "--json").json
    again = recctl("evaluate", "latest", "--on", "validation", "--json").json
    assert again["measured"] == trained["metrics"]["validation"]
    test = recctl("evaluate", "latest", "--on", "test", "--json").json
    assert test["measured"] == trained["metrics"]["test"]
    assert (trained["test_looks"], test["test_looks"]) == (1, 2)


def test_evaluate_adds_metrics_to_run(recctl: Any) -> None:
    recctl("train", "small.yaml")
    done = recctl("evaluate", "best", "-m", "mrr", "-m", "coverage", "-k", "3", "--json").json
    assert set(done["measured"]) == {"mrr@3", "coverage@3"}
    assert {"mrr@3", "ndcg@10"} <= done["metrics"]["validation"].keys()


def test_evaluate_with_unknown_metric_suggests_a_known_one(recctl: Any) -> None:
    recctl("train", "small.yaml")
    failed = recctl("evaluate", "latest", "--metric", "ndgc")
    assert failed.code == 2
    assert "unknown metric 'ndgc'; did you mean ndcg?" in failed.err
    assert failed.err.splitlines()[-1] == "next: recctl evaluate latest --metric ndcg"


def test_evaluate_on_file_of_interactions(recctl: Any, workdir: Path) -> None:
    recctl("train", "small.yaml")
    (workdir / "next.csv").write_text("user_id,item_id\n1,2\n1,3\n2,5\n999999,1\n")
    done = recctl("evaluate", "latest", "--data", "next.csv", "--json")
    assert done.code == 0, done.err
    label = done.json["on"]
    assert label == f"file:{done.json['evaluation']['data']['data_hash'][:12]}"
    assert done.json["evaluation"]["data"]["file"] == "next.csv"
    assert done.json["metrics"][label] == done.json["measured"]
    assert f"next.csv ({label})" in recctl("evaluate", "latest", "--data", "next.csv").out


@pytest.mark.parametrize(("condition", "code"), [("ndcg@10>=0", 0), ("ndcg@10>=0.999", 6), ("ndgc@10>=0", 2), ("x", 2)])
def test_failed_assertion_exits_with_code_6(recctl: Any, condition: str, code: int) -> None:
    recctl("train", "small.yaml")
    done = recctl("evaluate", "latest", "--assert", condition)
    assert done.code == code
    if code == 6:
        assert "is not >= 0.999" in done.err


def test_conditions_are_parsed_and_checked() -> None:
    segments = {
        "new_users": {"n_users": 3, "metrics": {"ndcg@10": {"value": 0.2, "low": 0.1, "high": 0.3}}},
        "activity=>=50": {"n_users": 0, "metrics": {}},
    }
    record = EvaluationRecord(
        MeasuredData("test", "d", "s"),
        MeasuredModel(1, "m", "train"),
        {},
        "now",
        metrics={"ndcg@10": 0.5, "rmse": 0.9, "coverage@10": 1.0},
        segments=segments,
    )
    require(
        [
            parse_condition("ndcg@10>=0.5"),
            parse_condition(" rmse < 1 "),
            parse_condition("rmse<=9e-1"),
            parse_condition("ndcg@10>0.4"),
        ],
        record,
    )
    require([parse_condition("ndcg@10[new_users]>=0.2", of_segments=True)], record)
    with pytest.raises(AssertionFailedError, match=r"ndcg@10 = 0\.5 is not > 0\.5; rmse = 0\.9 is not < 0\.9"):
        require([parse_condition("ndcg@10>0.5"), parse_condition("rmse<0.9")], record)
    for text, kind, message in (
        ("ndcg@10[new_users]>0.2", AssertionFailedError, r"ndcg@10\[new_users\] = 0\.2 is not > 0\.2"),
        ("ndcg@10[activity=>=50]>=0", AssertionFailedError, r"\[activity=>=50\] has no value: .*on_unknown=zero"),
        ("ndcg@10[new_user]>=0", ConfigError, r"unknown segment; did you mean new_users.*new_users, activity=>=50"),
        ("coverage@10[new_users]>=0", ConfigError, r"coverage@10 is not measured within segments"),
    ):
        with pytest.raises(kind, match=message):
            require([parse_condition(text, of_segments=True)], record)
    with pytest.raises(ConfigError, match="recctl evaluate --assert"):
        parse_condition("ndcg@10[new_users]>=0", "--where")
    for text in ("ndcg@10", "ndcg@10=0.5", ">=1", "ndcg>=x", "ndcg>=1.2.3"):
        with pytest.raises(ConfigError, match="must be METRIC>=NUMBER"):
            parse_condition(text)


def test_results_are_byte_identical_on_one_and_two_threads(recctl: Any, workdir: Path) -> None:
    paths = [
        Path(recctl("train", "small.yaml", "--threads", threads, "--json").json["path"]) for threads in ("1", "2", "2")
    ]
    one, two, again = ((path / "metrics.json").read_bytes() for path in paths)
    assert one == two == again
    assert (paths[1] / "models/v1.pkl").read_bytes() == (paths[2] / "models/v1.pkl").read_bytes()
    assert (paths[0] / "split.npz").read_bytes() == (paths[1] / "split.npz").read_bytes()


def test_training_from_stored_config_gives_same_metrics(recctl: Any) -> None:
    first = recctl("train", "small.yaml", "--set", "model.params.l2_reg=33", "--json").json
    again = recctl("train", f"{first['path']}/config.yaml", "--json").json
    assert again["metrics"] == first["metrics"]
    assert again["data_hash"] == first["data_hash"]
    assert again["split_hash"] == first["split_hash"]


def test_relative_paths_resolve_from_config_and_in_stored_config(recctl: Any, workdir: Path) -> None:
    folder = workdir / "elsewhere"
    folder.mkdir()
    rows = [f"{user},{(user * 7 + step) % 40}" for user in range(60) for step in range(12)]
    (folder / "clicks.csv").write_text("user_id,item_id\n" + "\n".join(rows) + "\n")
    (folder / "c.yaml").write_text("data: {source: clicks.csv}\nsplit: {val_size: 0.1}\n")
    first = recctl("train", "elsewhere/c.yaml", "--json")
    assert first.code == 0, first.err
    assert recctl("train", f"{first.json['path']}/config.yaml", "--json").json["metrics"] == first.json["metrics"]
    assert recctl("evaluate", "latest", "--json").code == 0
    (folder / "clicks.csv").write_text("user_id,item_id\n" + "\n".join(rows[:-1]) + "\n")
    changed = recctl("evaluate", "latest")
    assert changed.code == 3
    assert "the data have changed" in changed.err


def test_changed_split_is_rejected(recctl: Any, workdir: Path) -> None:
    import numpy as np

    path = Path(recctl("train", "small.yaml", "--json").json["path"])
    parts = np.load(path / "split.npz")["parts"]
    np.savez_compressed(path / "split.npz", parts=parts[::-1])
    done = recctl("evaluate", "latest")
    assert done.code == 3
    assert "is not the split that the run was created with" in done.err


def test_changed_model_file_is_rejected(recctl: Any) -> None:
    path = Path(recctl("train", "small.yaml", "--json").json["path"])
    model = path / "models" / "v1.pkl"
    content = bytearray(model.read_bytes())
    content[-100] ^= 1
    model.write_bytes(content)
    done = recctl("evaluate", "latest")
    assert done.code == 4
    assert "wrong hash" in done.err


ABSENT = "cuda" if sys.platform == "darwin" else "mps"  # no machine has this one


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("train", "nope.yaml"), 2, "nope.yaml: No such file or directory"),
        (("train", "small.yaml", "--set", "model.params.l2_rge=1"), 2, "did you mean l2_reg?"),
        (("train", "small.yaml", "--set", "data.source=nope.csv"), 3, "neither a data set of the catalog nor a file"),
        (("train", "small.yaml", "--set", "data.min_user_interactions=9999"), 3, "leave nothing of"),
        (("train", "--resume", "x", "small.yaml"), 2, "omit CONFIG"),
        (("train", "--resume", "x"), 4, "run 'x': not found in"),
        (("trian",), 2, "see recctl --help"),
        (("train", "small.yaml", "--threads", "0"), 2, "see recctl train --help"),
        (("evaluate", "latest"), 4, "has no runs yet"),
        (("evaluate", "latest", "--on", "tset"), 2, "'tset'"),
        (("recommend", "latest"), 2, "give USER_IDs"),
        (("models", "eese"), 2, "did you mean ease?"),
        (("config", "validate", "bad.yaml"), 2, "bad.yaml:2: seed: 'x' should be a valid integer"),
        (("config", "init", "eese"), 2, "did you mean ease?"),
        (("config", "init", "ease", "-o", "small.yaml"), 2, "already exists"),
        (("config", "copy", "chose"), 2, "did you mean choose?"),
        (("runs", "show", "nope"), 4, "run 'nope': not found in"),
        (("runs", "rm", "nope", "--yes"), 4, "run 'nope': not found in"),
        (("data", "describe", "empty.csv"), 3, "empty.csv"),
        (("fit", "nope"), 4, "run 'nope': not found in"),
        (
            ("train", "small.yaml", "-s", "model.name=ncf", "-s", f"model.params.device={ABSENT}"),
            2,
            "device='auto' uses",
        ),
    ],
)
def test_invalid_input_prints_one_message_and_exits_with_its_code(
    recctl: Any, workdir: Path, arguments: tuple[str, ...], code: int, message: str
) -> None:
    (workdir / "bad.yaml").write_text("\nseed: x\n")
    (workdir / "empty.csv").touch()
    done = recctl(*arguments)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert "Traceback" not in done.err
    assert not (workdir / "runs").exists(), "bad input must leave no half-made run"


def test_json_option_prints_errors_as_json(recctl: Any) -> None:
    done = recctl("train", "small.yaml", "--set", "sed=1", "--set", "modle=1", "--json")
    assert done.json == {
        "status": "error",
        "exit_code": 2,
        "errors": ["--set sed: unknown key; did you mean seed?", "--set modle: unknown key; did you mean model?"],
        "next": "recctl config show small.yaml",
    }


def test_failed_run_is_shown_as_failed_and_resumes(recctl: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECCTL_MEMORY", "10000")
    failed = recctl("train", "small.yaml")
    assert failed.code == 5
    assert "need" in failed.err
    shown = recctl("runs", "show", os.listdir("runs")[0])
    assert "failed" in shown.out
    assert "recctl train --resume" in shown.err
    monkeypatch.delenv("RECCTL_MEMORY")
    resumed = recctl("train", "--resume", "latest", "--json")
    assert resumed.json["status"] == "complete"
    fresh = recctl("train", "small.yaml", "--json")
    assert resumed.json["metrics"] == fresh.json["metrics"]
    assert resumed.json["models"][0]["sha256"] == fresh.json["models"][0]["sha256"]


def test_resuming_complete_run_changes_nothing(recctl: Any) -> None:
    path = Path(recctl("train", "small.yaml", "--json").json["path"])
    before = {file: file.read_bytes() for file in path.rglob("*") if file.is_file()}
    done = recctl("train", "--resume", "latest")
    assert done.code == 0
    assert "nothing to do" in done.err
    refused = recctl("train", "--resume", "latest", "--set", "model.params.l2_reg=1")
    assert (refused.code, "model.params.l2_reg" in refused.err) == (2, True)
    useless = recctl("train", "--resume", "latest", "--set", "data.source=elsewhere.csv")
    assert useless.code == 2
    assert f"--set data.source=elsewhere.csv: {path.name} is complete" in useless.err
    assert {file: file.read_bytes() for file in path.rglob("*") if file.is_file()} == before


def test_split_fit_and_evaluate_as_separate_commands(recctl: Any, workdir: Path) -> None:
    import pandas as pd

    made = recctl("split", "small.yaml", "--export", "parts", "--json").json
    assert {"train.parquet", "validation.parquet", "test.parquet"} == set(os.listdir("parts"))
    sizes = {name: len(pd.read_parquet(f"parts/{name}.parquet")) for name in ("train", "validation", "test")}
    assert {name: part["interactions"] for name, part in made["leakage"]["parts"].items()} == sizes
    fitted = recctl("fit", made["run_id"], "--set", "model.name=popularity", "--json").json
    assert fitted["split_hash"] == made["split_hash"]
    assert fitted["parent_run"] == made["run_id"]
    assert fitted["metrics"] == {}
    measured = recctl("evaluate", fitted["run_id"], "--json").json
    assert measured["on"] == "validation"
    assert measured["measured"]["ndcg@10"] > 0
    no_model = recctl("evaluate", made["run_id"])
    assert no_model.code == 4
    assert "has no model" in no_model.err


def test_recommend_for_known_and_new_users(recctl: Any) -> None:
    recctl("train", "small.yaml")
    rows = recctl("recommend", "latest", "2", "1", "-k", "3", "--json").json["recommendations"]
    assert [(row["user_id"], row["rank"]) for row in rows] == [(u, r) for u in (2, 1) for r in (1, 2, 3)]
    new = recctl("recommend", "latest", "--history", "1,2", "-k", "3", "--json").json["recommendations"]
    assert len(new) == 3
    assert not {row["item_id"] for row in new} & {1, 2}
    assert recctl("recommend", "latest", "987654").code == 3
    assert recctl("recommend", "latest", "abc").code == 3
    assert recctl("recommend", "latest", "987654", "--on-unknown", "skip", "--json").json["recommendations"] == []


def test_runs_are_listed_and_removed(recctl: Any) -> None:
    ids = [
        recctl("train", "small.yaml", "--set", f"model.name={name}", "--json").json["run_id"]
        for name in ("ease", "random")
    ]
    listed = recctl("runs", "list", "--json").json["runs"]
    assert {row["run_id"] for row in listed} == set(ids)
    assert [row["model"] for row in recctl("runs", "list", "--model", "random", "--json").json["runs"]] == ["random"]
    refused = recctl("runs", "rm", ids[0])
    assert refused.code == 2
    assert "use --yes" in refused.err
    assert recctl("runs", "rm", ids[0], "--yes").code == 0
    assert [row["run_id"] for row in recctl("runs", "list", "--json").json["runs"]] == [ids[1]]


def test_config_init_writes_the_config_that_comes_with_recctl(recctl: Any, workdir: Path) -> None:
    assert recctl("config", "init", "sasrec", "-o", "mine.yaml").code == 0
    written = recctl("config", "show", "mine.yaml", "--json").json
    assert written == recctl("config", "show", str(CONFIGS / "sasrec.yaml"), "--json").json
    assert written["split"]["strategy"] == "leave_last"
    assert written["training"]["early_stopping"]["patience"] == 10
    schema_line, first_line, *_ = (workdir / "mine.yaml").read_text().splitlines()
    assert schema_line == "# yaml-language-server: $schema=recctl.schema.json"
    assert first_line == "# SASRec on MovieLens-100K:  recctl train mine.yaml"
    assert "recctl train item-knn.yaml" in recctl("config", "init", "item-knn").out


def test_config_init_writes_a_template_for_a_plugin(recctl: Any, package: Callable[..., None]) -> None:
    code = "from recctl.models.sasrec import SASRecRecommender\nclass MineRecommender(SASRecRecommender):\n    pass"
    package("models", "mine", code, "MineRecommender")
    assert recctl("config", "init", "mine", "-o", "mine.yaml").code == 0
    values = recctl("config", "show", "mine.yaml", "--json").json
    assert values["model"]["name"] == "mine"
    assert values["split"]["strategy"] == "leave_last"
    assert values["training"]["early_stopping"]["monitor"] == "ndcg@10"


def test_config_init_writes_valid_config(recctl: Any, workdir: Path) -> None:
    assert recctl("config", "init", "item-knn", "-o", "mine.yaml").code == 0
    text = (workdir / "mine.yaml").read_text().replace("source: movielens-100k", "source: synthetic")
    (workdir / "mine.yaml").write_text(text)
    assert recctl("train", "mine.yaml").code == 0


@pytest.mark.parametrize("name", ["choose", "item-knn", "movielens_25m.yaml", "configs/ease.yaml"])
def test_config_copy_writes_a_bundled_config(recctl: Any, workdir: Path, name: str) -> None:
    source = CONFIGS / f"{Path(name).stem.replace('-', '_')}.yaml"
    copied = recctl("config", "copy", name, "--json").json
    written = workdir / copied["path"]
    assert written.name == source.name
    assert written.read_text() == copied["config"] == source.read_text().replace("configs/", "")
    assert recctl("config", "show", str(written), "--json").json == recctl("config", "show", str(source), "--json").json


def test_commands_quote_paths_with_blanks(recctl: Any, workdir: Path) -> None:
    copied = recctl("config", "copy", "als", "-o", "my als.yaml")
    assert copied.err == "wrote my als.yaml; next: recctl train 'my als.yaml'\n"
    assert (workdir / "my als.yaml").read_text().startswith("# ALS on MovieLens-100K:  recctl train 'my als.yaml'\n")
    assert "next: recctl train 'my ease.yaml'\n" in recctl("config", "init", "-o", "my ease.yaml").err
    missing = recctl("train", "my folder/als.yaml")
    assert missing.err.endswith("next: recctl config copy als -o 'my folder/als.yaml'\n")


def test_config_copy_lists_all_bundled_configs(recctl: Any) -> None:
    listed = recctl("config", "copy", "--json").json["configs"]
    assert {entry["name"] for entry in listed} == {path.stem for path in CONFIGS.glob("*.yaml")}
    assert {"name": "compare", "description": "Compare models on MovieLens-100K, with significance tests"} in listed
    assert all(entry["description"] for entry in listed)
    assert "movielens_32m" in recctl("config", "copy", "--list").out


def test_config_copy_keeps_an_existing_file(recctl: Any, workdir: Path) -> None:
    (workdir / "ease.yaml").write_text("mine")
    refused = recctl("config", "copy", "ease")
    assert refused.code == 2
    assert "ease.yaml: already exists" in refused.err
    assert (workdir / "ease.yaml").read_text() == "mine"
    assert recctl("config", "copy", "ease", "--force").code == 0
    assert (workdir / "ease.yaml").read_text().startswith("# EASE on MovieLens-100K:  recctl train ease.yaml")


def test_config_of_the_documentation_that_is_missing_names_the_command_that_copies_it(
    recctl: Any, workdir: Path
) -> None:
    failed = recctl("config", "validate", "configs/choose.yaml")
    assert failed.code == 2
    command = failed.err.splitlines()[-1].removeprefix("next: ")
    assert command == "recctl config copy choose -o configs/choose.yaml"
    assert recctl(*command.split()[1:]).code == 0
    assert recctl("config", "validate", "configs/choose.yaml").code == 0


def test_default_config_is_printed(recctl: Any, workdir: Path) -> None:
    (workdir / "small.yaml").rename("recctl.yaml")
    done = recctl("train")
    assert done.code == 0
    assert "config: recctl.yaml (found here)" in done.err


def test_markup_in_data_is_printed_verbatim(recctl: Any, workdir: Path) -> None:
    rows = [f"u{user}[bold],[red]i{item}[/red]" for user in range(30) for item in range(10) if (user + item) % 3]
    (workdir / "odd.csv").write_text("user_id,item_id\n" + "\n".join(rows) + "\n")
    assert recctl("train", "small.yaml", "--set", "data.source=odd.csv").code == 0
    done = recctl("recommend", "latest", "u1[bold]", "-k", "1")
    assert done.code == 0, done.err
    assert "[red]i" in done.out
    assert "u1[bold]" in done.out


def test_help_and_version_import_no_slow_library(workdir: Path) -> None:
    code = (
        "import sys; from recctl.cli import run; run(['--help']); run(['train', '--help']); run(['--version']);"
        "slow = {'numpy', 'pandas', 'numba', 'torch', 'optuna', 'pyarrow', 'scipy'} & set(sys.modules);"
        "sys.exit(f'imported {slow}' if slow else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "train" in done.stdout
    assert "recctl 0" in done.stdout


def test_commands_that_print_do_not_import_numba(workdir: Path) -> None:
    """Without numba no kernel is compiled, nor read from the cache."""
    code = """if True:
        import sys
        from recctl.cli import run
        commands = [
            "models", "models ease", "models sasrec",
            "config init ease -o written.yaml", "config validate written.yaml", "config show written.yaml",
            "config schema", "config metrics", "config steps",
            "export --list", "runs list", "data list",
        ]
        for command in commands:
            if run(command.split()) != 0 or "numba" in sys.modules:
                sys.exit(f"failed, or imported numba: recctl {command}")
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_train_imports_neither_torch_nor_optuna(workdir: Path) -> None:
    code = (
        "import sys; from recctl.cli import run; code = run(['train', 'small.yaml', '-q']);"
        "slow = {'torch', 'optuna', 'plotly', 'matplotlib', 'sklearn'} & set(sys.modules);"
        "sys.exit(f'imported {slow}' if slow else code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""


def test_shell_script_reads_json_and_stops_at_error(workdir: Path) -> None:
    script = f"""set -eu
    run=$(recctl train small.yaml --json -q | {sys.executable} -c 'from json import *; print(load(open(0))["path"])')
    recctl evaluate "$run" --assert 'ndcg@10>=0.01' -q > /dev/null
    recctl runs list | head -1
    recctl evaluate "$run" --assert 'ndcg@10>=0.99' -q > /dev/null
    echo not reached"""
    environment = preloaded.shell_environment(workdir / ".bin")
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert "not reached" not in done.stdout


def test_sigterm_leaves_interrupted_run_that_resumes(workdir: Path) -> None:
    models = workdir / "models"
    models.mkdir()
    (models / "slow.py").write_text(
        "import os, time\n"
        "from recctl.models.popularity import PopularityRecommender\n"
        "class Slow(PopularityRecommender):\n"
        '    """Popularity that takes its time."""\n'
        '    name = "slow"\n'
        "    def _fit(self, interactions):\n"
        '        open("fitting", "w").close()\n'
        '        time.sleep(float(os.environ["SLEEP"]))\n'
        "        super()._fit(interactions)\n"
    )
    environment = {**os.environ, "RECCTL_MODELS_PATH": str(models)}
    arguments = ["-m", "recctl", "train", "small.yaml", "--set", "model.name=slow"]
    process = preloaded.Program(*arguments, env={**environment, "SLEEP": "60"})
    while not (workdir / "fitting").exists():
        assert process.poll() is None
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "recctl train --resume" in err
    shown = preloaded.run("-m", "recctl", "runs", "show", os.listdir("runs")[0], "--json", env=environment)
    assert json.loads(shown.stdout)["status"] == "interrupted"
    resume = ["-m", "recctl", "train", "--resume", "latest", "--json"]
    resumed = preloaded.run(*resume, env={**environment, "SLEEP": "0"})
    assert json.loads(resumed.stdout)["status"] == "complete", resumed.stderr
