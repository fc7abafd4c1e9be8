"""Exported tensors are enough to compute scores with NumPy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from recctl import export_model
from tests.clients.guide import Exports
from tests.export.toys import VARIANTS, fitted, users_of

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "tensors.md"
CODE = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HEADING = "Weights: safetensors and NumPy"


@pytest.mark.parametrize("text", [False, True], ids=["integers", "text"])
def test_tensors_give_the_recommendations_of_recctl(text: bool, recctl: Any) -> None:
    exports = Exports(recctl, text)
    exports.export(HEADING)
    assert exports.run_python(HEADING) == exports.recommended()


def sections(model_name: str) -> tuple[str, str]:
    """What docs/reference/tensors.md says about all models, and about one."""
    beginning, *others = PAGE.read_text(encoding="utf-8").split("\n## ")
    for section in others:
        heading, _, text = section.partition("\n")
        if model_name in heading.split(", "):
            return beginning, text
    raise AssertionError(f"{PAGE.name} has no section about {model_name}")


@pytest.mark.parametrize("variant", VARIANTS)
def test_code_of_the_reference_computes_the_scores_of_recctl(variant: str, tmp_path: Path) -> None:
    model = fitted(variant)
    path = export_model(model, "safetensors", tmp_path / "out").path
    code = "\n".join(block for text in sections(model.name) for block in CODE.findall(text))
    assert "recctl" not in code.replace('["recctl"]', "")
    namespace: dict[str, Any] = {}
    exec(code.replace("exports/safetensors", str(path)), namespace)
    if model.name == "random":
        assert "scores" not in namespace
        return
    expected = model.score_users(users_of(model))
    np.testing.assert_allclose(namespace["scores"], expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())


@pytest.mark.parametrize("variant", VARIANTS)
def test_reference_names_all_tensors_of_each_model(variant: str, tmp_path: Path) -> None:
    model = fitted(variant)
    path = export_model(model, "safetensors", tmp_path / "out").path
    names = set(load_file(path / "model.safetensors"))
    # Three tensors are a sparse matrix, which is named as a whole; layers are named without a prefix and a number.
    sparse = {name.removesuffix(".starts") for name in names if name.endswith(".starts")} - {"seen"}
    names -= {f"{name}.{part}" for name in sparse for part in ("starts", "columns", "values")}
    layers = {re.sub(r"\.\d+", ".N", name.removeprefix("weights.")) for name in names}
    text = "".join(sections(model.name))
    unnamed = {name for name in layers | sparse if f"`{name}`" not in text}
    # As its section says, the model has the tensors of svd.
    if model.name == "svdpp":
        unnamed -= {"user_factors", "item_factors", "user_biases", "item_biases"}
    assert not unnamed
