"""Model files of older versions of recctl remain readable."""

from __future__ import annotations

from pathlib import Path

import pytest

from recctl import artifacts
from recctl.artifacts import migrations
from recctl.errors import ArtifactError
from recctl.models.registry import load_model, model_names
from tests.models.past_formats import FOLDER

VERSIONS = range(migrations.OLDEST, artifacts.FORMAT_VERSION + 1)
FILES = sorted(FOLDER.rglob("*.pkl"))


def test_every_model_has_a_file_of_every_format() -> None:
    there = {(path.relative_to(FOLDER).parts[0], path.stem) for path in FILES}
    for name in model_names():
        since = min((int(version) for version, stem in there if stem == name), default=VERSIONS[-1])
        assert there >= {(str(version), name) for version in VERSIONS if version >= since}
    assert set(migrations.STEPS) == set(VERSIONS) - {artifacts.FORMAT_VERSION}


def test_every_model_has_a_file_saved_by_numpy_2_5() -> None:
    folder = FOLDER / "2" / "numpy-2.5"
    assert sorted(path.stem for path in folder.glob("*.pkl")) == model_names()


@pytest.mark.parametrize("path", FILES, ids=lambda path: "-".join(path.relative_to(FOLDER).with_suffix("").parts))
def test_file_has_the_format_of_its_folder(path: Path) -> None:
    assert artifacts.describe(path)["format_version"] == int(path.relative_to(FOLDER).parts[0])


@pytest.mark.parametrize("name", ["als", "svd", "svdpp"])
def test_file_without_a_rating_scale_keeps_the_units_it_was_fitted_in(name: str) -> None:
    model = load_model(FOLDER / "1" / f"{name}.pkl")
    assert model.state()["rating_scale"] == 1.0


@pytest.mark.parametrize("version", VERSIONS)
def test_changed_byte_is_detected_in_every_format(tmp_path: Path, version: int) -> None:
    content = bytearray((FOLDER / str(version) / "ease.pkl").read_bytes())
    content[-40] ^= 1
    path = tmp_path / "changed.pkl"
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match="wrong hash"):
        load_model(path)


def test_failed_migration_names_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrations, "STEPS", {1: lambda kind, content: {"weights": content["w"]}, 2: lambda k, c: c})
    assert migrations.migrated("model", 1, {"w": 1}, "x.pkl") == {"weights": 1}
    with pytest.raises(ArtifactError, match=r"x\.pkl: damaged: not a complete model of format 1 \(KeyError\('w'\)\)"):
        migrations.migrated("model", 1, {"v": 1}, "x.pkl")
