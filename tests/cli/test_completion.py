"""Completion of the command line: what is offered, in which order, in real shells, and how fast."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from recctl import cli
from recctl.cli import completion
from recctl.cli.completion import build
from recctl.cli.completion.candidates import Completer
from recctl.config.schema import Config
from recctl.models.als import ALSRecommender
from recctl.models.registry import model_names
from tests.conftest import skip_without

if sys.platform != "win32":
    import pty

ROOT = Path(__file__).parents[2]
SECONDS = 60
OLDER = "20261129-101010-ease-0a1b"
NEWER = "20261130-101010-als-ffff"
SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def runs(workdir: Path) -> Path:
    """A runs directory with two runs and an alias."""
    folder = workdir / "runs"
    for run_id in (OLDER, NEWER):
        (folder / run_id).mkdir(parents=True)
    alias = folder / ".names" / "production"
    alias.mkdir(parents=True)
    (alias / "1.json").write_text(json.dumps({"run": OLDER}))
    return folder


def complete(*words: str) -> list[str]:
    """What the last word can become."""
    *before, incomplete = words
    return [candidate.text for candidate in Completer().complete(before, incomplete)]


# ---- what is offered


def test_index_is_up_to_date() -> None:
    assert json.loads(build.PATH.read_text()) == json.loads(json.dumps(build.build()))


def test_commands_and_options_are_completed(workdir: Path) -> None:
    assert complete("t") == ["train", "tune"]
    assert complete("runs", "pro") == ["promote"]
    assert complete("train", "--warm") == ["--warm-start"]
    assert complete("train", "--", "--warm") == []


def test_names_come_before_run_ids_and_the_newest_run_first(runs: Path) -> None:
    assert complete("runs", "show", "") == ["production", "latest", "best", NEWER, OLDER]
    assert complete("train", "--resume", "2026") == [NEWER, OLDER]
    assert complete("compare", OLDER, "2026") == [NEWER]
    assert complete("runs", "rollback", "") == ["production"]
    meaning = {candidate.text: candidate.help for candidate in Completer().complete(["export"], "prod")}
    assert meaning == {"production": OLDER}


def test_alias_that_cannot_be_read_hides_no_other_candidate(runs: Path) -> None:
    (runs / ".names" / "gone").mkdir()
    (runs / ".names" / "gone" / "1.json").symlink_to(runs / "nothing")
    assert complete("runs", "show", "") == ["production", "latest", "best", NEWER, OLDER]


def test_runs_are_those_of_the_runs_directory(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = runs.rename(runs.with_name("elsewhere"))
    assert complete("runs", "show", "") == []
    assert complete("runs", "show", "--runs-dir", str(moved), "2026") == [NEWER, OLDER]
    assert complete("runs", "show", f"--runs-dir={moved}", "2026") == [NEWER, OLDER]
    monkeypatch.setenv("RECCTL_RUNS_DIR", str(moved))
    assert complete("runs", "show", "2026") == [NEWER, OLDER]


def test_names_are_completed(workdir: Path) -> None:
    assert complete("models", "") == model_names()
    assert complete("data", "fetch", "movielens-100") == ["movielens-100k"]
    assert complete("tune", "--strategy", "c") == ["coarse_to_fine"]
    assert "onnx" in complete("export", "latest", "--format", "")
    assert complete("report", "--format", "") == ["html", "md", "latex"]
    assert complete("evaluate", "--metric", "nd") == ["ndcg"]
    assert complete("tune", "--monitor", "ndcg@1") == ["ndcg@10", "ndcg@100"]
    assert complete("tune", "--monitor", "rm") == ["rmse"]
    assert complete("evaluate", "--on=v") == ["--on=validation"]


def test_config_files_and_folders_are_completed(workdir: Path) -> None:
    (workdir / "configs").mkdir()
    (workdir / "configs" / "als.yaml").touch()
    (workdir / "notes.txt").touch()
    assert complete("train", "") == ["small.yaml", "configs/"]
    assert complete("train", "configs/") == ["configs/als.yaml"]


def test_every_key_of_a_config_is_completed_after_set(workdir: Path) -> None:
    keys = complete("train", "--set", "")
    for name, field in Config.model_fields.items():
        is_section = field.default is None or isinstance(field.default, BaseModel)
        assert any(key.startswith(f"{name}." if is_section else f"{name}=") for key in keys), name
    assert complete("train", "--set", "data.min") == ["data.min_user_interactions=", "data.min_item_interactions="]
    assert complete("train", "--set", "split.test_d") == ["split.test_days="]
    assert all(key.startswith("data.") for key in complete("evaluate", "latest", "--set", ""))


def test_values_are_completed_after_a_key(workdir: Path) -> None:
    assert complete("train", "-s", "data.id_type=") == ["data.id_type=auto", "data.id_type=int", "data.id_type=text"]
    assert complete("train", "--set", "data.quoting=f") == ["data.quoting=false"]
    assert complete("train", "--set", "model.name=svd") == ["model.name=svd", "model.name=svdpp"]
    assert complete("train", "--set", "split.strategy=r") == ["split.strategy=random", "split.strategy=rolling"]
    assert complete("train", "--set", "evaluation.monitor=ndcg@10") == [
        "evaluation.monitor=ndcg@10",
        "evaluation.monitor=ndcg@100",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "model:\n  name: als\n",
        "model:   # fast\n  # first the parameters\n  params: {}\n\n  name: 'als'\n",
        "model: {params: {}, name: als}\n",
        "model: {name: als}",
    ],
)
def test_parameters_are_those_of_the_model_of_the_config(workdir: Path, text: str) -> None:
    expected = [f"model.params.{name}=" for name in ALSRecommender.parameters]
    (workdir / "mine.yaml").write_text(f"seed: 1\n{text}")
    assert complete("train", "mine.yaml", "--set", "model.params.") == expected
    (workdir / "mine.yaml").rename(workdir / "recctl.yaml")
    assert complete("train", "--set", "model.params.") == expected
    assert complete("train", "--set", "model.name=ease", "--set", "model.params.") == ["model.params.l2_reg="]
    assert complete("train", "--set", "model.params.solver=c") == [
        "model.params.solver=cg",
        "model.params.solver=cholesky",
    ]


def test_search_space_takes_the_parameters_of_the_model_of_the_config(workdir: Path) -> None:
    (workdir / "mine.yaml").write_text("model: {name: als}\n")
    expected = [f"tuning.space.{name}=" for name in ALSRecommender.parameters]
    assert complete("tune", "mine.yaml", "--set", "tuning.space.") == expected
    assert complete("tune", "mine.yaml", "--set", "model.name=ease", "-s", "tuning.space.") == ["tuning.space.l2_reg="]


def test_models_and_metrics_of_plug_ins_are_completed(
    workdir: Path, package: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    package("models", "zz-model", "raise RuntimeError('imported')", "x")
    package("metrics", "zz-metric", "raise RuntimeError('imported')", "x")
    (workdir / "zz_mine.py").touch()
    monkeypatch.setenv("RECCTL_MODELS_PATH", str(workdir))
    assert complete("models", "zz") == ["zz-mine", "zz-model"]
    assert complete("evaluate", "--metric", "zz") == ["zz-metric"]


# ---- how fast


def test_completion_imports_no_other_package(runs: Path) -> None:
    code = (
        "import sys; from recctl.cli import main\n"
        "try: main()\n"
        "finally: print(*sorted({name.partition('.')[0] for name in sys.modules}), file=sys.stderr)"
    )
    environment = os.environ | {
        "_RECCTL_COMPLETE": "complete_bash",
        "COMP_WORDS": "recctl\nruns\nshow\n",
        "COMP_CWORD": "3",
    }
    # Without the site packages: what they import when Python starts is not ours.
    command = [sys.executable, "-S", "-c", code]
    environment["PYTHONPATH"] = str(ROOT)
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=True)
    assert NEWER in ended.stdout
    imported = set(ended.stderr.split())
    assert "recctl" in imported
    assert imported - {"recctl"} <= sys.stdlib_module_names | {"__main__"}
    # These take longer than all the rest.
    assert imported.isdisjoint({"dataclasses", "inspect", "importlib.metadata", "typer", "pydantic"})


# ---- in real shells


@pytest.fixture
def program(workdir: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A command `recctl` in PATH that completes as this repository's, and else writes its arguments to a file."""
    folder = workdir / ".bin"
    folder.mkdir()
    script = folder / "recctl"
    script.write_text(
        "#!/bin/sh\n"
        f'[ -n "$_RECCTL_COMPLETE" ] && PYTHONPATH={ROOT} exec {sys.executable} -m recctl\n'
        f'printf "%s\\n" "$*" > {folder}/new\n'
        f"mv {folder}/new {folder}/typed\n"
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return script


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "home"
    folder.mkdir()
    for name in ("ZDOTDIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("TERM", "xterm")
    return folder


class Terminal:
    """An interactive shell in a terminal."""

    def __init__(self, command: list[str], typed: Path) -> None:
        self.name = command[0]
        self.typed = typed
        self.text = ""
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.execvp(command[0], command)

    def press(self, keys: str) -> None:
        os.write(self.terminal, keys.encode())

    def wait_for(self, *expected: str) -> str:
        """Wait until the terminal shows all these texts."""
        deadline = time.monotonic() + SECONDS
        while not all(text in self.text for text in expected):
            assert time.monotonic() < deadline, f"{expected} not in {self.text!r}"
            self._read()
        return self.text

    def run(self, keys: str) -> str:
        """Press keys and Enter, and return the arguments that the command gets."""
        self.typed.unlink(missing_ok=True)
        self.press(f"{keys}\r")
        deadline = time.monotonic() + SECONDS
        while not self.typed.exists():
            assert time.monotonic() < deadline, self.text
            self._read()
        return self.typed.read_text().strip()

    def _read(self) -> None:
        if select.select([self.terminal], [], [], 0.1)[0]:
            self.text += os.read(self.terminal, 65536).decode(errors="replace")

    def close(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.process, signal.SIGKILL)
        os.waitpid(self.process, 0)
        os.close(self.terminal)


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, program: Path, home: Path, runs: Path) -> Iterator[Terminal]:
    """A shell in which completion was installed."""
    name = request.param
    if sys.platform == "win32":
        pytest.skip("needs a terminal of Unix")
    skip_without(shutil.which(name), f"{name}: apt-get install {name}")
    completion.install_or_show(["--install-completion", name])
    if name == "fish":
        (home / ".config" / "fish" / "config.fish").write_text("function fish_prompt; echo -n 'ready> '; end\n")
        command = ["fish", "--private", "-i"]
    else:
        start = home / f".{name}rc"
        start.write_text(f"PS1='ready> '\n{start.read_text()}")
        command = [name, "-i"]
    terminal = Terminal(command, program.with_name("typed"))
    terminal.wait_for("ready> ")
    yield terminal
    terminal.close()


def test_shell_completes_words(shell: Terminal) -> None:
    assert shell.run("recctl mod\tsvdp\t") == "models svdpp"
    assert shell.run("recctl train sm\t--set data.id_t\tte\t") == "train small.yaml --set data.id_type=text"
    assert shell.run("recctl tune --moni\thit_rate@2\t") == "tune --monitor hit_rate@20"
    assert shell.run("recctl runs show 20261129\t") == f"runs show {OLDER}"


def test_shell_completes_names_with_blanks_and_wildcards(shell: Terminal, workdir: Path) -> None:
    (workdir / "my [new] *.yaml").touch()
    (workdir / "my new x.yaml").touch()
    assert shell.run("recctl train my\\ \\[\t") == "train my [new] *.yaml"
    if shell.name == "bash":
        assert shell.run("recctl train 'my [\t") == "train my [new] *.yaml"


def test_shell_lists_runs_in_order(shell: Terminal) -> None:
    # bash lists what is ambiguous at the second press; fish then selects the first.
    shell.press("recctl runs show \t" if shell.name == "fish" else "recctl runs show \t\t")
    shown = shell.wait_for("production", NEWER, OLDER, "best")
    # Some shells show the run of an alias beside it.
    assert shown.index("production") < shown.rindex(NEWER) < shown.rindex(OLDER)


def test_installing_completion_twice_changes_nothing(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".bashrc").write_text("alias ll='ls -l'")
    for shell_name in (*SHELLS, *SHELLS):
        message = completion.install_or_show(["--install-completion", shell_name])
        assert message is not None
        assert shell_name in message
    lines = (home / ".bashrc").read_text().splitlines()
    assert lines == ["alias ll='ls -l'", f"source {home}/.bash_completions/recctl.sh"]
    for shell_name in SHELLS:
        assert completion.install_or_show(["--show-completion", shell_name]) == completion.answer(
            f"source_{shell_name}"
        )


def test_installing_completion_keeps_the_bytes_of_a_start_file(home: Path) -> None:
    content = b"PS1='caf\xe9> '\r\n"  # Latin-1, with the line ends of Windows
    (home / ".bashrc").write_bytes(content)
    completion.install_or_show(["--install-completion", "bash"])
    assert (home / ".bashrc").read_bytes() == content + os.fsencode(f"source {home}/.bash_completions/recctl.sh\n")


def test_completion_that_cannot_be_installed_is_an_error(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / ".bash_completions").touch()
    monkeypatch.setattr(sys, "argv", ["recctl", "--install-completion", "bash"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 4
    assert capsys.readouterr().err.startswith(f"error: {home}/.bash_completions")
