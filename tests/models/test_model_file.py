"""Model files with valid encoding but invalid content: nothing of it may reach a kernel."""

import numpy as np
import pytest

from recctl import artifacts
from recctl.errors import ArtifactError, RecctlError
from recctl.models.item_knn import ItemKNNRecommender
from recctl.models.registry import load_model
from tests.models.suite import toy

DELETE = object()


def item(array, at, value):
    changed = array.copy()
    changed[at] = value
    return changed


CHANGES = {
    "another name": (("model",), "no-such-model", "holds a model 'no-such-model', which is not installed"),
    "a name that is none": (("model",), ["item-knn"], "which is not installed"),
    "no hyperparameters": (("hyperparameters",), DELETE, "without hyperparameters"),
    "no values": (("fitted",), [1], "without hyperparameters or fitted values"),
    "a value missing": (("fitted", "weights"), DELETE, "weights missing: not a complete item-knn model"),
    "a hyperparameter out of bounds": (("hyperparameters", "n_neighbors"), 0, "n_neighbors: 0 should be"),
    "an unknown hyperparameter": (("hyperparameters", "k"), 3, "k: unknown parameter"),
    "a value of another type": (("fitted", "weights"), 3.5, "weights has another type than declared .float."),
    "an array for a matrix": (("fitted", "weights"), np.zeros((25, 25), np.float32), "weights has another type"),
    "ids that are numbers of another type": (
        ("fitted", "item_vocabulary", "ids"),
        np.zeros(25, np.int32),
        "not an array of int64",
    ),
    "ids that repeat": (("fitted", "item_vocabulary", "ids"), np.zeros(25, np.int64), "not in ascending order"),
    "one id too few": (("fitted", "item_vocabulary", "ids"), np.arange(24), r"seen has shape \(40, 25\), not"),
    "one user too many": (("fitted", "user_vocabulary", "ids"), np.arange(41), r"seen has shape \(40, 25\), not"),
    "a column beyond the last": (("fitted", "seen", "columns"), lambda a: item(a, 5, 25), "column out of range"),
    "a column below 0": (("fitted", "weights", "columns"), lambda a: item(a, 0, -1), "column out of range"),
    "rows that end too late": (
        ("fitted", "seen", "starts"),
        lambda a: item(a, -1, a[-1] + 1),
        "do not match its columns",
    ),
    "rows that go back": (("fitted", "seen", "starts"), lambda a: item(a, 3, a[5]), "do not match its columns"),
    "rows that begin late": (("fitted", "seen", "starts"), lambda a: item(a, 0, 1), "do not match its columns"),
    "rows of another type": (("fitted", "seen", "starts"), lambda a: a.astype(np.int32), "another type than int64"),
    "no rows": (("fitted", "seen", "starts"), lambda a: a[:0], "do not match its columns"),
    "too few values": (("fitted", "weights", "values"), lambda a: a[1:], "do not match its columns"),
    "values of another type": (("fitted", "weights", "values"), lambda a: a.astype(np.float64), "another type than"),
    "another width": (("fitted", "seen", "n_columns"), 99, r"seen has shape \(40, 99\), not \(n_users, n_items\)"),
    "a width that is no number": (("fitted", "seen", "n_columns"), 25.0, "do not match its columns"),
    "a dict that is no matrix": (("fitted", "seen", "more"), 1, "seen has another type than declared .dict."),
}


@pytest.fixture
def path(tmp_path):
    ItemKNNRecommender().fit(toy()).save(tmp_path / "model.pkl")
    return tmp_path / "model.pkl"


@pytest.mark.parametrize("change", CHANGES)
def test_file_with_invalid_content_is_refused(path, change):
    where, value, problem = CHANGES[change]
    content = artifacts.load(path, "model")
    parent = content
    for key in where[:-1]:
        parent = parent[key]
    if value is DELETE:
        del parent[where[-1]]
    else:
        parent[where[-1]] = value(parent[where[-1]]) if callable(value) else value
    artifacts.save(path, "model", content)
    with pytest.raises(ArtifactError, match=problem) as caught:
        load_model(path)
    assert str(caught.value).startswith(f"{path}: ")
    model = ItemKNNRecommender(n_neighbors=3).fit(toy(1))
    before = model.recommend([100, 101])
    with pytest.raises(RecctlError):
        model.load(path)
    assert model.recommend([100, 101]).equals(before), "a load that is refused leaves the model as it was"
    assert model.n_neighbors == 3


def test_artifact_of_another_kind_is_refused(tmp_path):
    artifacts.save(tmp_path / "checkpoint.pkl", "checkpoint", {"epoch": 3})
    with pytest.raises(ArtifactError, match=r"checkpoint.pkl: holds a checkpoint, not a model"):
        load_model(tmp_path / "checkpoint.pkl")


def test_file_with_another_hash_is_refused(path, tmp_path):
    sha256 = ItemKNNRecommender().fit(toy(1)).save(tmp_path / "other.pkl")
    with pytest.raises(ArtifactError, match="wrong hash"):
        load_model(path, sha256)


def test_save_to_an_unwritable_path_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match=r"model.pkl: can't be written: (Not a directory|File exists)"):
        ItemKNNRecommender().fit(toy()).save(tmp_path / "file" / "model.pkl")


def test_fit_that_yields_non_finite_values_is_refused(monkeypatch):
    from recctl.errors import TrainingError

    def spoil(self, interactions):
        fit(self, interactions)
        self.weights.values[3] = np.nan

    fit = ItemKNNRecommender._fit
    monkeypatch.setattr(ItemKNNRecommender, "_fit", spoil)
    model = ItemKNNRecommender()
    with pytest.raises(TrainingError, match="item-knn: fitting yielded values that are not finite, in weights"):
        model.fit(toy())
    assert not model.is_fitted
