import os
import subprocess
import sys
import textwrap

import pytest

import recctl.models
from recctl.errors import ArtifactError, ConfigError
from recctl.models import registry
from tests.models.suite import toy

SCRATCH = '''
"""Items in the order of their last interaction."""

import numpy as np

from recctl.data.matrix import Float32Array
from recctl.models.base import Recommender
from recctl.models.base.hyperparameters import Between, fitted, hyperparameter


class NewestRecommender(Recommender):
    """The most recently used items."""

    name = "newest"
    half_life: float = hyperparameter(86400.0, gt=0, help="Seconds.", search=Between(1e3, 1e6, log=True))
    recency: Float32Array = fitted("(n_items,)")

    def _fit(self, interactions):
        last = np.zeros(interactions.n_items)
        np.maximum.at(last, interactions.items, interactions.timestamps)
        self.recency = np.exp2((last - last.max()) / self.half_life).astype(np.float32)

    def _score(self, histories, users):
        return np.tile(self.recency, (histories.n_rows, 1))
'''


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of models on RECCTL_MODELS_PATH for one test."""
    monkeypatch.setenv("RECCTL_MODELS_PATH", str(tmp_path))
    monkeypatch.setattr(recctl.models, "__path__", list(recctl.models.__path__))
    yield tmp_path
    for name in [name for name, module in sys.modules.items() if str(tmp_path) in str(vars(module).get("__file__"))]:
        del sys.modules[name]


def test_model_names_lists_all_models():
    names = registry.model_names()
    assert names == sorted(names)
    assert {"ease", "item-knn", "popularity", "random"} <= set(names)
    for name in names:
        made = registry.make_model(name)
        assert (type(made), made.name) == (registry.model_class(name), name)


def test_model_in_a_folder_of_the_models_path_is_found(folder):
    (folder / "newest.py").write_text(SCRATCH)
    assert "newest" in registry.model_names()
    model = registry.make_model("newest", half_life=1e6).fit(toy())
    last = toy().sort_values("timestamp").item_id.iloc[-1]
    assert model.recommend([100], k=1, exclude_seen=False).item_id.tolist() == [last]
    sha256 = model.save(folder / "model.pkl")
    loaded = registry.load_model(folder / "model.pkl", sha256)
    assert (loaded.name, loaded.hyperparameters()) == ("newest", {"half_life": 1e6})
    assert loaded.recommend([100, 101]).equals(model.recommend([100, 101]))
    with pytest.raises(ConfigError, match="half_lief: unknown parameter; did you mean half_life"):
        registry.make_model("newest", half_lief=3)


def test_file_of_a_model_that_is_not_installed_is_refused(folder):
    (folder / "newest.py").write_text(SCRATCH)
    registry.make_model("newest").fit(toy()).save(folder / "model.pkl")
    (folder / "newest.py").unlink()
    with pytest.raises(ArtifactError, match=r"model.pkl: holds a model 'newest', which is not installed here"):
        registry.load_model(folder / "model.pkl")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("x = 1", r"broken.py: no subclass of Recommender with name = 'broken'; a model's file is named after it"),
        ("import no_such_module", "model 'broken' cannot be imported: ModuleNotFoundError: .*no_such_module"),
        ("def f(:", "model 'broken' cannot be imported: SyntaxError"),
        (SCRATCH, "no subclass of Recommender with name = 'broken'"),
    ],
)
def test_invalid_file_in_the_models_path_is_named(folder, content, problem):
    (folder / "broken.py").write_text(content)
    with pytest.raises(ConfigError, match=problem):
        registry.model_class("broken")


def test_private_modules_are_not_models(folder):
    (folder / "_torch.py").write_text("")
    assert not [name for name in registry.model_names() if "torch" in name]


def test_missing_folder_in_the_models_path_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("RECCTL_MODELS_PATH", f"{tmp_path / 'nowhere'}{os.pathsep}")
    with pytest.raises(ConfigError, match=r"RECCTL_MODELS_PATH: no folder .*nowhere"):
        registry.model_names()


def test_unknown_model_is_refused_with_a_suggestion():
    with pytest.raises(ConfigError, match="unknown model 'item_knn'; did you mean item-knn"):
        registry.model_class("item_knn")
    with pytest.raises(ConfigError, match="unknown model 'zzz'; one of als, "):
        registry.model_class("zzz")


def test_entry_points_of_packages_are_models(package):
    package(
        "models", "mine", "from recctl.models.base import Recommender\nclass Mine(Recommender): name = 'mine'", "Mine"
    )
    assert "mine" in registry.model_names()
    assert registry.model_class("mine").name == "mine"


def test_package_whose_import_fails_is_named(package):
    package("models", "broken", "raise RuntimeError('no licence')", "Mine")
    with pytest.raises(ConfigError, match=r"models: broken of the package pack_broken can't be imported: .*no licence"):
        registry.model_class("broken")


def test_lookup_imports_the_requested_model_only():
    code = """
    import sys
    from recctl.models import registry
    registry.model_names()
    assert "recctl.models.ease" not in sys.modules
    registry.model_class("popularity")
    assert "recctl.models.ease" not in sys.modules
    assert not {"torch", "optuna"} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], check=True)
