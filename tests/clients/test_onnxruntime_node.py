"""Exported graphs are run by onnxruntime in Node.js. Its package is installed once, into the user's cache folder."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import platformdirs
import pytest

from tests.clients.guide import Exports, output_of
from tests.conftest import skip_without

PACKAGE = Path(__file__).parent / "node"
NODE = shutil.which("node")
NPM = shutil.which("npm")

skip_without("onnx", "recctl[onnx]")
skip_without("onnxruntime", "recctl[onnx]")
skip_without(NODE, "Node.js 18 or later")
skip_without(NPM, "npm")

_INSTALL_SECONDS = 300


@pytest.fixture(scope="module")
def modules() -> Path:
    """The folder of the installed packages of `node/package-lock.json`."""
    lock = hashlib.sha256((PACKAGE / "package-lock.json").read_bytes()).hexdigest()[:12]
    installed = platformdirs.user_cache_path("recctl-tests") / f"node-{lock}"
    if not installed.exists():
        installed.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=installed.parent) as temporary:
            folder = Path(temporary) / "node"
            shutil.copytree(PACKAGE, folder)
            # Without scripts: that of onnxruntime-node downloads libraries for graphics processors.
            command = [str(NPM), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_SECONDS)
            if done.returncode != 0:
                skip_without(None, f"a connection to a registry of npm ({done.stderr.strip()[-300:]})")
            # Another process may have been faster.
            if not installed.exists():
                os.replace(folder, installed)
    return installed / "node_modules"


def run_node(code: str, modules: Path) -> Any:
    """What a script prints, run in the working folder."""
    Path("node_modules").symlink_to(modules)
    Path("script.mjs").write_text(code)
    return output_of([str(NODE), "script.mjs"])


@pytest.mark.parametrize("text", [False, True], ids=["integers", "text"])
def test_graph_gives_the_recommendations_of_recctl(text: bool, recctl: Any, modules: Path) -> None:
    exports = Exports(recctl, text)
    exports.export("ONNX in Python")
    assert run_node(exports.code("ONNX in Node.js", "js"), modules) == exports.recommended()


def test_history_of_a_new_user_gives_the_recommendations_of_recctl(recctl: Any, modules: Path) -> None:
    exports = Exports(recctl, text=True)
    exports.export("New users")
    assert run_node(exports.code("New users", "js"), modules) == exports.recommended_for_history()


_REFUSALS = """\
import ort from "onnxruntime-node";

const session = await ort.InferenceSession.create("exports/onnx/model.onnx");
const messages = [];
for (const code of [-1n, -40n, 40n, 2n ** 40n]) {
  try {
    await session.run({ user: new ort.Tensor("int64", [0n, code], [2]) });
    messages.push("no error");
  } catch (error) {
    messages.push(error.message);
  }
}
console.log(JSON.stringify(messages.map((message) => message.includes("user_code_must_be_0_to_39"))));
"""


def test_unknown_codes_are_errors(recctl: Any, modules: Path) -> None:
    Exports(recctl, text=False).export("ONNX in Python")
    assert run_node(_REFUSALS, modules) == [True, True, True, True]
