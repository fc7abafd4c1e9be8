"""The examples of the README work as written."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path
from typing import Any

import pytest

import recctl
from recctl.cli import run
from recctl.data.synthetic import generate

README = (Path(__file__).parents[1] / "README.md").read_text()


def code_block(first_line: str) -> str:
    """The indented block of the README whose first line starts with this text."""
    begin = README.index(f"    {first_line}")
    lines = []
    for line in README[begin:].splitlines():
        if line and not line.startswith("    "):
            break
        lines.append(line)
    return textwrap.dedent("\n".join(lines))


@pytest.fixture
def movielens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace MovieLens-100K by synthetic data of its size, without a download."""
    import recctl.data.sources

    def load(size: str = "100k") -> Any:
        return generate(943, 1682, 100_000, seed=1)

    monkeypatch.setattr(recctl.data.sources, "load_movielens", load)


def test_library_example_works_as_written(movielens: None, workdir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(code_block("from recctl import EASERecommender"), "README", "exec"), {})
    assert re.search(r"NDCG@10: 0\.\d{4}", capsys.readouterr().out)
    assert Path("models/ease_model.pkl").is_file()


def test_model_example_works_from_one_file(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workdir / "my_models"
    folder.mkdir()
    (folder / "recent.py").write_text(code_block('"""Recently popular'))
    monkeypatch.setenv("RECCTL_MODELS_PATH", str(folder))
    assert "recent" in recctl.model_names()
    assert run(["models", "recent"]) == 0
    assert "half_life_days" in capsys.readouterr().out
    assert run(["train", "small.yaml", "--set", "model.name=recent", "--set", "model.params.half_life_days=7"]) == 0
    assert run(["recommend", "latest", "1"]) == 0
    assert run(["train", "small.yaml", "--set", "model.name=recent", "--set", "model.params.half_life=7"]) == 2
    assert "did you mean half_life_days?" in capsys.readouterr().err
    model = recctl.load_model(next(Path("runs").glob("*/models/v1.pkl")))
    assert type(model).__name__ == "RecentRecommender"


def test_config_example_is_valid(workdir: Path) -> None:
    Path("readme.yaml").write_text(code_block("seed: 42"))
    assert run(["config", "validate", "readme.yaml"]) == 0


def test_all_names_of_package_can_be_imported() -> None:
    for name in dir(recctl):
        assert getattr(recctl, name) is not None
    with pytest.raises(AttributeError):
        recctl.NoSuchRecommender  # noqa: B018
