"""Every public name has an example in the reference of the Python API, and the examples run as they are written."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import recctl
import recctl.data.sources
from recctl.data.synthetic import generate
from tests.pages import DOCS, read_blocks

PAGES = sorted(page.name for page in (DOCS / "reference" / "api").glob("*.md"))
MODULES = {"MLflowLogger": "mlflow", "TensorBoardLogger": "tensorboard"}


def test_every_public_name_has_an_example_and_a_description() -> None:
    pages = [*(f"reference/api/{page}" for page in PAGES), "reference/models.md"]
    text = "".join((DOCS / page).read_text() for page in pages)
    code = "".join(block.code for page in pages for block in read_blocks(page))
    for name in recctl.__all__:
        assert re.search(rf"\b{name}\b", code), f"{name} has no example in docs/reference"
        is_described = re.search(rf"^::: [\w.]+\.{name}$", text, flags=re.MULTILINE)
        is_model = f"| `{name}` | [" in text and f"`recctl.{name}`" in text
        assert is_described or is_model or name == "__version__", f"{name} has no entry in docs/reference/api"


@pytest.mark.parametrize("page", PAGES)
def test_examples_of_page_work_as_written(page: str, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = generate(120, 60, 2500, seed=1)
    monkeypatch.setattr(recctl.data.sources, "load_movielens", lambda size="100k": table)
    namespace: dict[str, Any] = {"table": table}
    blocks = [block for block in read_blocks(f"reference/api/{page}") if block.language == "python"]
    assert blocks
    for block in blocks:
        missing = [module for name, module in MODULES.items() if name in block.code and not find_spec(module)]
        if not missing:
            exec(compile("\n" * block.line + block.code, page, "exec"), namespace)
