"""Commands, configs and Python code of all pages are valid, and tests that run them are known for each page."""

from __future__ import annotations

import re
import shlex
from functools import cache
from importlib import import_module
from typing import Any

import pytest
import typer
import yaml

from recctl import cli
from recctl.cli.app import app
from recctl.config.schema import Config
from tests.pages import DOCS, ROOT, Block, read_blocks

PAGES = sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
# Pages whose Python code is run, and by which test.
RUN_BY = {
    "guides/extending.md": "test_docs.py",
    "guides/python.md": "test_readme.py",
    "guides/comparing.md": "test_recipes.py",
    "guides/data.md": "test_recipes.py",
    "guides/exports.md": "clients/guide.py",
    "guides/notebooks.md": "test_recipes.py",
    "guides/runs.md": "test_recipes.py",
    "guides/segments.md": "test_recipes.py",
    "guides/tracking.md": "clients/test_mlflow.py",  # the same calls, on runs of its own
    "guides/tuning.md": "test_recipes.py",
    "reference/exit-codes.md": "test_recipes.py",
    "reference/models.md": "test_public_api.py",
    "reference/tensors.md": "clients/test_safetensors.py",
    "start/ten-minutes.md": "test_start_pages.py",
    "start/coming-from.md": "test_start_pages.py",
    **{page: "test_api_pages.py" for page in PAGES if page.startswith("reference/api/")},
}


def commands_of(block: Block) -> list[list[str]]:
    """The recctl commands of a block, as lists of words: at the begin of a line, or in $(...)."""
    code = block.code.replace("\\\n", " ")
    if block.language == "console":
        code = "\n".join(line[2:] for line in code.splitlines() if line.startswith("$ "))
    found = []
    for line in code.splitlines():
        match = re.match(r"(?:\w+=\$\()?recctl (.*)", line)
        if match:
            words = shlex.split(match[1], comments=True)
            ends = [number for number, word in enumerate(words) if word in ("|", "||", "&&", ";", ">")]
            found.append(words[: ends[0]] if ends else words)
    return found


@cache  # it takes longer to make than many commands take to parse
def command_line() -> Any:
    return typer.main.get_command(app)


def parse(words: list[str]) -> None:
    """Parse the words of a command as the command line does, without running it."""
    command = command_line()
    if words[0].startswith("-"):
        assert words[0] in [option for parameter in command.params for option in parameter.opts]
        return
    while hasattr(command, "commands"):
        command = command.commands[words[0]]
        words = words[1:]
    command.make_context("recctl", list(words))


@pytest.fixture(scope="module", autouse=True)
def _commands() -> None:
    for verb in cli.COMMANDS:
        import_module(f"recctl.cli.{verb}")


@pytest.mark.parametrize("page", PAGES)
def test_commands_of_page_are_valid(page: str) -> None:
    for block in read_blocks(page):
        if block.language not in ("sh", "console"):
            continue
        for words in commands_of(block):
            try:
                parse(words)
            except Exception as error:
                pytest.fail(f"{page}:{block.line}: recctl {shlex.join(words)}: {error}")


def test_invalid_command_is_found() -> None:
    block = Block("sh", "run=$(recctl train x.yaml --no-such-option --json | jq -r .run_id)\n", None, 1, "")
    [words] = commands_of(block)
    assert words == ["train", "x.yaml", "--no-such-option", "--json"]
    with pytest.raises(Exception, match="No such option: --no-such-option"):
        parse(words)


@pytest.mark.parametrize("page", PAGES)
def test_configs_of_page_are_valid(page: str) -> None:
    for block in read_blocks(page):
        if block.language != "yaml" or block.title == "my.yaml":
            continue
        values = yaml.safe_load(block.code)
        if values is None:
            continue  # only comments
        if set(values) <= set(Config.model_fields):
            Config.model_validate(values)
        else:
            assert {"on", True, "steps", "jobs"} & set(values), f"{page}:{block.line}: unknown keys {list(values)}"


def test_python_of_every_page_is_run() -> None:
    with_code = {page for page in PAGES if any(block.language == "python" for block in read_blocks(page))}
    assert with_code <= RUN_BY.keys(), "add the test that runs them"
    for page in with_code:
        assert (ROOT / "tests" / RUN_BY[page]).is_file()
