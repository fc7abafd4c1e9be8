"""The last line of every error is a command to type next, which fits the error and the folder."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from recctl.cli import next_step
from recctl.cli.completion import build
from recctl.errors import ConfigError

RUN = "20261130-101010-ease-0a1b"
CONFIG = "data: {source: synthetic}\n"


@pytest.fixture
def folder(workdir: Path) -> Path:
    """A folder without configs and runs."""
    (workdir / "small.yaml").unlink()
    return workdir


def add_config(folder: Path) -> None:
    (folder / "recctl.yaml").write_text(CONFIG)


def add_runs(folder: Path) -> None:
    (folder / "runs" / RUN).mkdir(parents=True)


def last_line(outcome: Any) -> str:
    assert outcome.code != 0
    last = outcome.err.splitlines()[-1]
    assert last.startswith("next: ")
    return str(last.removeprefix("next: "))


def test_folder_decides_what_comes_first(recctl: Any, folder: Path) -> None:
    (folder / "other.yaml").write_text("services: {web: {image: nginx}}\n")
    start = "recctl config init -o recctl.yaml"
    assert last_line(recctl()) == start
    assert last_line(recctl("nosuch")) == start
    assert last_line(recctl("runs", "show", "latest")) == start
    assert last_line(recctl("runs", "show")) == start
    add_config(folder)
    assert last_line(recctl()) == "recctl train"
    assert last_line(recctl("nosuch")) == "recctl train"
    assert last_line(recctl("runs", "show", "latest")) == "recctl train"
    add_runs(folder)
    assert last_line(recctl()) == "recctl runs list"
    assert last_line(recctl("runs", "show", "nope")) == "recctl runs list"
    assert last_line(recctl("export", "nope", "--format", "onnx")) == "recctl runs list"


def test_config_of_another_name_is_found(recctl: Any, folder: Path) -> None:
    (folder / "mine.yaml").write_text("model:\n  name: als\n")
    assert last_line(recctl()) == "recctl train mine.yaml"
    (folder / "mine.yaml").write_text("models:  # compared\n  - name: als\n")
    assert last_line(recctl()) == "recctl compare mine.yaml"
    (folder / "mine.yaml").write_text("models: []\nmodel: {name: als}\n")
    assert last_line(recctl()) == "recctl train mine.yaml"


def test_runs_of_another_directory_are_listed_there(recctl: Any, folder: Path) -> None:
    add_runs(folder)
    (folder / "runs").rename(folder / "my runs")
    assert last_line(recctl("runs", "show", "nope", "--runs-dir", "my runs")) == "recctl runs list --runs-dir 'my runs'"


def test_help_without_arguments_stays_on_stdout_alone(recctl: Any, folder: Path) -> None:
    outcome = recctl()
    assert "Usage: recctl" in outcome.out
    assert outcome.err == "next: recctl config init -o recctl.yaml\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        # Suggestions are typed out.
        (("trian", "recctl.yaml"), "recctl train recctl.yaml"),
        (("runs", "lst"), "recctl runs list"),
        (("train", "--thread", "3"), "recctl train --threads 3"),
        (("models", "svdd"), "recctl models svd"),
        (("train", "rectl.yaml"), "recctl train recctl.yaml"),
        (("config", "copy", "eas"), "recctl config copy ease"),
        # ... but not an option that has little in common with the wrong one: Typer proposes --quiet.
        (("recommend", "latest", "--user", "3"), "recctl recommend --help"),
        # Options and commands that the error names are typed out.
        (("export",), "recctl export --list"),
        (("train", "several.yaml"), "recctl compare several.yaml"),
        (("train", "--refit"), "recctl train --refit --set split.val_size=0.1"),
        # But a file is never overwritten by a command that is only copied.
        (("config", "init", "-o", "recctl.yaml"), "recctl train"),
        (("config", "copy", "ease", "-o", "several.yaml"), "recctl compare several.yaml"),
        (("config", "init", "-o", "recctl.yaml/x.yaml"), "correct it, then recctl config init -o recctl.yaml/x.yaml"),
        # Names are listed.
        (("models", "zzzz"), "recctl models"),
        (("data", "fetch", "zzzz"), "recctl data list"),
        (("train", "--set", "zzzz=1"), "recctl config show"),
        (("train", "bad.yaml", "--set", "zzzz=1"), "correct it, then recctl train bad.yaml"),
        # What the error names is corrected first.
        (("train", "bad.yaml"), "correct it, then recctl train bad.yaml"),
        (("config", "validate", "bad.yaml"), "correct it, then recctl config validate bad.yaml"),
        (("train", "absent.yaml"), "correct it, then recctl train absent.yaml"),
        (("train", "--set", "data.source=absent.csv"), "correct it, then recctl train"),
        (
            ("train", "recctl.yaml", "--set", "data.source=absent.csv", "--set", "seed=1"),
            "correct it, then recctl train recctl.yaml --set seed=1",
        ),
        (("tune", "absent.yaml", "--trials", "9"), "correct it, then recctl tune absent.yaml --trials 9"),
        (
            ("data", "describe", "shop.csv"),
            "recctl data describe shop.csv --set 'data.columns={item_id: sku, timestamp: bought_at}'",
        ),
        (
            ("train", "--set", "data.source=shop.csv"),
            "recctl train --set data.source=shop.csv --set 'data.columns={item_id: sku, timestamp: bought_at}'",
        ),
        (("data", "describe", "absent.csv"), "recctl data describe absent.yaml"),
        (("data", "describe", "absent.yaml"), "correct it, then recctl data describe absent.yaml"),
        # Others have a page of help.
        (("train", "--foo"), "recctl train --help"),
        (("train", "--threads", "many"), "recctl train --help"),
        (("similar", "latest"), "recctl similar --help"),
    ],
)
def test_next_command_agrees_with_the_error(
    recctl: Any, folder: Path, arguments: tuple[str, ...], expected: str
) -> None:
    add_config(folder)
    (folder / "bad.yaml").write_text("model:\n  name: alss\n")
    (folder / "absent.yaml").write_text("data: {source: absent.csv}\n")
    (folder / "shop.csv").write_text("customer,sku,bought_at\n007,0012,2026-01-01T10:00:00Z\n")
    (folder / "several.yaml").write_text("models: [{name: ease}]\ndata: {source: synthetic}\n")
    found = last_line(recctl(*arguments))
    assert found == expected
    # It can be typed: the command and its options exist.
    words = shlex.split(found.removeprefix("correct it, then "))[1:]
    commands = json.loads(build.PATH.read_text())["commands"]
    name = " ".join(words[:2]) if " ".join(words[:2]) in commands else words[0]
    options = {option for described in commands[name]["options"] for option in described["names"]} | {"--help"}
    assert {word for word in words if word.startswith("-")} <= options


def test_deletion_is_not_confirmed_by_the_next_command(recctl: Any, workdir: Path) -> None:
    assert recctl("train", "small.yaml").code == 0
    failed = recctl("runs", "rm", "latest")
    assert "use --yes" in failed.err
    assert last_line(failed) == "recctl runs rm --help"


def test_error_of_an_output_is_corrected_and_not_that_of_a_run(recctl: Any, workdir: Path) -> None:
    assert recctl("train", "small.yaml").code == 0
    (workdir / "file").touch()
    failed = recctl("export", "latest", "--format", "recommendations", "-o", "file/lists")
    assert last_line(failed) == "correct it, then recctl export latest --format recommendations"
    assert last_line(recctl("evaluate", "latest", "--set", "evaluation.exclude=none", "--data", "no.csv")) == (
        "correct it, then recctl evaluate latest --set evaluation.exclude=none"
    )


def test_default_config_that_cannot_be_looked_up_hides_no_error(
    recctl: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RECCTL_CONFIG", "a" * 300)  # longer than names of files may be
    failed = recctl("runs", "show", "nope")
    assert "run 'nope'" in failed.err
    assert last_line(failed) == "recctl config init -o recctl.yaml"


def test_unexpected_error_leads_to_its_traceback(recctl: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_config(folder)

    def fail(*_arguments: Any, **_options: Any) -> None:
        raise RuntimeError("broken")

    monkeypatch.setattr("recctl.experiment.load", fail)
    assert last_line(recctl("config", "show")) == "recctl config show --debug"


def test_next_command_is_a_field_of_json_and_stdout_has_nothing_else(recctl: Any, folder: Path) -> None:
    add_config(folder)
    outcome = recctl("models", "svdd", "--json")
    assert outcome.json == {
        "status": "error",
        "exit_code": 2,
        "errors": ["unknown model 'svdd'; did you mean svd?"],
        "next": "recctl models svd --json",
    }
    assert recctl("train", "--foo", "--json").json["next"] == "recctl train --help"
    assert recctl("runs", "show", "latest", "--json").json["next"] == "recctl train"


@pytest.mark.parametrize("command", ["recctl train; reboot", "recctl runs rm best --yes", "recctl train $(reboot)"])
def test_next_command_is_not_taken_from_a_value_of_a_config(recctl: Any, folder: Path, command: str) -> None:
    (folder / "foreign.yaml").write_text(f"data: {{source: 'see `{command}`'}}\n")
    failed = recctl("train", "foreign.yaml")
    assert command in failed.err
    assert last_line(failed) == "correct it, then recctl train foreign.yaml"


def test_setting_that_a_resumed_run_refuses_is_left_out() -> None:
    message = f"--set model.params.l2_reg=3: the settings of {RUN} can't be changed"
    arguments = ["train", "--resume", RUN, "--set", "model.params.l2_reg=3"]
    following = next_step.after_error(ConfigError(message), message, arguments)
    assert str(following) == f"next: correct it, then recctl train --resume {RUN}"


def test_next_command_hides_passwords(recctl: Any, folder: Path) -> None:
    outcome = recctl("data", "describe", "s3://me:secret-word@bucket/x", "--forse")
    outcome_with_suggestion = recctl("trian", "--set", "data.source=https://me:secret-word@host/x.csv")
    assert "secret-word" not in outcome.err + outcome_with_suggestion.err
