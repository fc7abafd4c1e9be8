"""Sections of docs/guides/exports.md: their commands make exports, and their code reads these without recctl."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

GUIDE = Path(__file__).parents[2] / "docs" / "guides" / "exports.md"
_CONFIG = """\
data: {source: events.csv, implicit: true, id_type: %s}
split: {strategy: random, test_size: 0.1}
model: {name: als, params: {n_factors: 8, n_iterations: 3}}
"""
# The user and the history of the guide.
_USER = 196
_HISTORY = [50, 172, 181]
K = 10


class Exports:
    """A run in the working folder, with ids that are integers or text, and what recctl itself recommends.

    Args:
        recctl: The fixture that calls recctl.
        text: Whether ids are text with leading zeros: 0196 instead of 196.
    """

    def __init__(self, recctl: Any, text: bool) -> None:
        self.recctl = recctl
        self.text = text
        random = np.random.default_rng(5)
        table = pd.DataFrame({"user_id": random.integers(180, 220, 1500), "item_id": random.integers(40, 190, 1500)})
        table = pd.concat([table, pd.DataFrame({"user_id": 200, "item_id": _HISTORY})])
        if text:
            table = "0" + table.astype(str)
        table.to_csv("events.csv", index=False)
        Path("als.yaml").write_text(_CONFIG % ("text" if text else "auto"))
        self._call("train", "als.yaml", "-q")

    def export(self, heading: str) -> None:
        """Run the export commands of a section of the guide."""
        for command in blocks(heading, "sh"):
            if command.startswith("recctl export"):
                self._call(*shlex.split(command)[1:])

    def code(self, heading: str, language: str, uses: str = "") -> str:
        """The code of a section with the ids of this run.

        Args:
            heading: The heading.
            language: Of the code block.
            uses: A word of the block, where there are several.
        """
        (code,) = (block for block in blocks(heading, language) if uses in block)
        if not self.text:
            return code
        code, n_users = re.subn(rf"\b{_USER}\b", f'"0{_USER}"', code)
        code, n_histories = re.subn(re.escape(str(_HISTORY)), json.dumps([f"0{item}" for item in _HISTORY]), code)
        assert n_users + n_histories == 1
        return code

    def run_python(self, heading: str, uses: str = "") -> Any:
        """What the Python code of a section prints, run where recctl can't be imported."""
        code = self.code(heading, "python", uses)
        script = f"import sys\nsys.modules['recctl'] = None\n{code}"
        return output_of([sys.executable, "-c", script])

    def recommended(self, exclude_seen: bool = True) -> list[Any]:
        """The items that recctl recommends to the user of the guide."""
        user = f"0{_USER}" if self.text else str(_USER)
        return self._recommended(user, *([] if exclude_seen else ["--include-seen"]))

    def recommended_for_history(self) -> list[Any]:
        """The items that recctl recommends for the history of the guide."""
        items = [f"0{item}" if self.text else str(item) for item in _HISTORY]
        return self._recommended("--history", ",".join(items))

    def _recommended(self, *arguments: str) -> list[Any]:
        document = self._call("recommend", "latest", *arguments, "-k", str(K), "--json").json
        items = [record["item_id"] for record in document["recommendations"]]
        assert len(items) == K
        return items

    def _call(self, *arguments: str) -> Any:
        outcome = self.recctl(*arguments)
        assert outcome.code == 0, outcome.err
        return outcome


def blocks(heading: str, language: str) -> list[str]:
    """The code blocks of a section of the guide."""
    section = GUIDE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    assert section, f"no section {heading} in {GUIDE.name}"
    return re.findall(rf"^```{language}\n(.*?)^```$", section, flags=re.MULTILINE | re.DOTALL)


def output_of(command: list[str], **options: Any) -> Any:
    """The list that a command prints in its last line, in JSON or as Python writes it."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1].replace("'", '"'))
