"""Exported graphs are run by onnxruntime in Node.js."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.clients import node_packages
from tests.clients.guide import Exports, output_of
from tests.conftest import skip_without

skip_without("onnx", "recctl[onnx]")
skip_without("onnxruntime", "recctl[onnx]")


@pytest.fixture(scope="module")
def modules() -> Path:
    return node_packages.install("onnxruntime") / "node_modules"


def run_node(code: str, modules: Path) -> Any:
    """What a script prints, run in the working folder."""
    Path("node_modules").symlink_to(modules)
    Path("script.mjs").write_text(code)
    return output_of(["node", "script.mjs"])


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
