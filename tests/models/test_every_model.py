"""Run the suite for models without a test file, and check that every test file of a model uses it."""

from pathlib import Path

import pytest

from recctl.models.registry import model_names
from tests.models.suite import ModelSuite

HERE = Path(__file__).parent
OWN = {name: HERE / f"test_{name.replace('-', '_')}.py" for name in model_names()}

for _name, _path in OWN.items():
    if not _path.exists():
        _title = "Test" + _name.title().replace("-", "")
        globals()[_title] = type(_title, (ModelSuite,), {"name": _name})


@pytest.mark.parametrize("name", [name for name, path in OWN.items() if path.exists()])
def test_every_model_test_uses_the_suite(name):
    assert f'(ModelSuite):\n    name = "{name}"' in OWN[name].read_text()
