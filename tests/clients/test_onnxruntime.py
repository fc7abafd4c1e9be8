"""Exported graphs are run by onnxruntime in Python."""

from __future__ import annotations

from typing import Any

import pytest

from tests.clients.guide import Exports
from tests.conftest import skip_without

skip_without("onnx", "recctl[onnx]")
skip_without("onnxruntime", "recctl[onnx]")


@pytest.mark.parametrize("text", [False, True], ids=["integers", "text"])
def test_graph_gives_the_recommendations_of_recctl(text: bool, recctl: Any) -> None:
    exports = Exports(recctl, text)
    exports.export("ONNX in Python")
    assert exports.run_python("ONNX in Python") == exports.recommended()
