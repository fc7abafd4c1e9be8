"""The README is short, works on a package index, and what it shows is what happens; so are the examples in Python."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import recctl as package
from recctl.cli import run
from recctl.data.synthetic import generate
from tests.benchmarks import __main__ as benchmarks
from tests.pages import ROOT, read_blocks
from tests.tutorial import Tutorial

README = ROOT / "README.md"


@pytest.fixture
def movielens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace MovieLens-100K by synthetic data of its size, without a download."""
    import recctl.data.sources

    def load(size: str = "100k") -> Any:
        return generate(943, 1682, 100_000, seed=1)

    monkeypatch.setattr(recctl.data.sources, "load_movielens", load)


def test_first_example_of_readme_prints_what_it_shows(recctl: Any, workdir: Path) -> None:
    [script] = [block for block in read_blocks("start/ten-minutes.md") if block.title == "make_events.py"]
    exec(compile(script.code, "make_events.py", "exec"), {})
    blocks = [block for block in read_blocks(README) if block.language != "sh"]
    assert sum(len(block.code.splitlines()) for block in blocks if block.title) == 4
    Tutorial(recctl).run(blocks)


def test_readme_is_short_and_its_links_work_anywhere() -> None:
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    links = re.findall(r"\]\(([^)\s]+)\)", text)
    assert len(links) > 20
    assert [link for link in links if not link.startswith("https://")] == []


def test_rows_of_readme_are_measurements_of_today() -> None:
    import json

    rows = [row for rows in json.loads(benchmarks.RESULTS.read_text()).values() for row in rows]
    for patterns in (benchmarks.SPEED_ROWS, benchmarks.QUALITY_ROWS):
        selected = benchmarks.select_rows(rows, patterns)
        assert len(selected) == 5
        assert benchmarks.linked_table(selected) in README.read_text(), "run python -m tests.benchmarks"


def test_library_examples_work_as_written(
    movielens: None, workdir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks = read_blocks("guides/python.md")
    namespace: dict[str, Any] = {}
    exec(compile(blocks[0].code, "python.md", "exec"), namespace)
    assert re.search(r"NDCG@10: 0\.\d{4}", capsys.readouterr().out)
    assert Path("models/ease_model.pkl").is_file()
    namespace["df"] = generate(60, 60, 1500, seed=1)
    for block in blocks[1:]:
        exec(compile(block.code, "python.md", "exec"), namespace)
    assert namespace["model"].is_fitted
    assert Path("models/lightgcn.pkl").is_file()


def test_model_example_works_from_one_file(
    workdir: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = workdir / "my_models"
    folder.mkdir()
    code = next(block.code for block in read_blocks("guides/extending.md") if block.heading == "A model")
    (folder / "recent.py").write_text(code)
    monkeypatch.setenv("RECCTL_MODELS_PATH", str(folder))
    assert "recent" in package.model_names()
    assert run(["models", "recent"]) == 0
    assert "half_life_days" in capsys.readouterr().out
    assert run(["train", "small.yaml", "--set", "model.name=recent", "--set", "model.params.half_life_days=7"]) == 0
    assert run(["recommend", "latest", "1"]) == 0
    assert run(["train", "small.yaml", "--set", "model.name=recent", "--set", "model.params.half_life=7"]) == 2
    assert "did you mean half_life_days?" in capsys.readouterr().err
    model = package.load_model(next(Path("runs").glob("*/models/v1.pkl")))
    assert type(model).__name__ == "RecentRecommender"


def test_guide_of_configs_shows_what_happens(recctl: Any, workdir: Path) -> None:
    blocks = read_blocks("guides/configs.md")
    Tutorial(recctl).run(block for block in blocks if block.language != "sh")
    assert recctl("config", "validate", "recctl.yaml").code == 0


def test_all_names_of_package_can_be_imported() -> None:
    for name in dir(package):
        assert getattr(package, name) is not None
    with pytest.raises(AttributeError):
        package.NoSuchRecommender  # noqa: B018
