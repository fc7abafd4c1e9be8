"""What the README says can be typed, works."""

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


def block(start: str) -> str:
    """The indented block of the README that begins with a line."""
    at = README.index(f"    {start}")
    lines = []
    for line in README[at:].splitlines():
        if line and not line.startswith("    "):
            break
        lines.append(line)
    return textwrap.dedent("\n".join(lines))


@pytest.fixture
def movielens(monkeypatch: pytest.MonkeyPatch) -> None:
    """MovieLens-100K's shape without its download."""
    import recctl.data.sources

    def load(size: str = "100k") -> Any:
        return generate(943, 1682, 100_000, seed=1)

    monkeypatch.setattr(recctl.data.sources, "load_movielens", load)


def test_the_library_example_runs_as_written(
    movielens: None, workdir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(compile(block("from recctl import EASERecommender"), "README", "exec"), {})
    assert re.search(r"NDCG@10: 0\.\d{4}", capsys.readouterr().out)
    assert Path("models/ease_model.pkl").is_file()


def test_the_models_of_the_readme_need_one_file(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workdir / "my_models"
    folder.mkdir()
    (folder / "recent.py").write_text(block('"""Recently popular'))
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


def test_the_config_of_the_readme_is_valid(workdir: Path) -> None:
    Path("readme.yaml").write_text(block("seed: 42"))
    assert run(["config", "validate", "readme.yaml"]) == 0


def test_every_name_of_the_package_resolves() -> None:
    for name in dir(recctl):
        assert getattr(recctl, name) is not None
    with pytest.raises(AttributeError):
        recctl.NoSuchRecommender  # noqa: B018
