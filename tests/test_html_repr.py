"""What models, data sets, runs and results show in a notebook: HTML without scripts, and one line of text elsewhere."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from recctl import EASERecommender, Evaluator, InteractionDataset, RunStore, experiment, tuning, write_report
from recctl.errors import ArtifactError
from recctl.html_repr import Table, render
from recctl.models.base import Recommender
from recctl.runs import Run

HOSTILE = "<script>alert(1)</script>"
N_USERS = 24
N_ITEMS = 15


class Page(HTMLParser):
    """The tags of a page, and the texts of the cells of its tables."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.rows: list[list[str]] = []
        self.feed(html)
        assert not self.open  # every tag is closed

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)
        self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("td", "th"):
            self.rows[-1][-1] += data


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data, and the runs of a training, a comparison, a backtest and a search."""
    folder = tmp_path_factory.mktemp("runs")
    rows = [
        (user, (user * 3 + step * (1 + user % 4)) % N_ITEMS, 1_700_000_000 + (user + 5 * step) * 40_000)
        for user in range(N_USERS)
        for step in range(9)
    ]
    table = pd.DataFrame(rows, columns=["user_id", "item_id", "timestamp"]).drop_duplicates(["user_id", "item_id"])
    table["item_id"] = table["item_id"].map(lambda item: f"{HOSTILE}{item}")
    table.to_csv(folder / "events.csv", index=False)
    data = f"data: {{source: {folder / 'events.csv'}}}\n"
    measured = "evaluation: {metrics: [ndcg, recall], k_values: [3, 5]}\n"
    split = "split: {test_size: 0.2, val_size: 0.2}\n"
    rolling = "split: {strategy: rolling, n_windows: 2, test_days: 3, val_days: 3}\n"
    compared = "models: [{name: ease}, {name: popularity}]\n"
    searched = "model: {name: ease}\ntuning: {n_trials: 3, strategy: random}\n"
    configs = {
        "train": data + split + measured + "model: {name: ease}\n",
        "compare": data + split + measured + compared,
        "backtest": data + rolling + measured + compared,
        "tune": data + split + measured + searched,
    }
    for name, config in configs.items():
        (folder / f"{name}.yaml").write_text(config)
    return folder


@pytest.fixture(scope="module")
def runs(folder: Path) -> dict[str, Run]:
    store = RunStore(str(folder / "runs"))
    loaded = {name: experiment.load(folder / f"{name}.yaml") for name in ("train", "tune")}
    return {
        "train": experiment.train(loaded["train"], store),
        "tune": tuning.tune(loaded["tune"], store),
        "compare": experiment.compare([str(folder / "compare.yaml")], store),
        "backtest": experiment.compare([str(folder / "backtest.yaml")], store),
    }


def dataset(folder: Path) -> InteractionDataset:
    return InteractionDataset(pd.read_csv(folder / "events.csv"))


def row(page: Page, first: str) -> list[str]:
    """The first row of a table that begins with a text."""
    return next(cells for cells in page.rows if cells and cells[0] == first)


# ---- HTML


def test_values_are_escaped_wherever_they_stand():
    table = Table([HOSTILE, "value"], [[HOSTILE, 1.0]], caption=HOSTILE, summary=HOSTILE)
    html = render(HOSTILE, [HOSTILE], [HOSTILE], [table], [HOSTILE])
    assert "<script" not in html
    assert html.count("&lt;script&gt;") == 8


def test_html_has_no_scripts_and_no_color_of_its_own():
    html = render("title", ["fitted"], ["line"], [Table(["a"], [[1]])], ["sentence"])
    page = Page(html)
    assert set(page.tags) <= {"div", "style", "span", "table", "thead", "tbody", "tr", "th", "td", "ul", "li"}
    # Either theme of a notebook: text inherits its color, and lines are half transparent.
    assert set(re.findall(r"(?<!-)color: ([^;}]+)", html)) == {"inherit"}
    assert set(re.findall(r"background: ([^;}]+)", html)) == {"transparent"}


def test_long_texts_are_cut_off():
    page = Page(render("title", tables=[Table(["title"], [["x" * 300]])]))
    assert page.rows[1] == ["x" * 79 + "…"]


def test_columns_of_numbers_are_aligned_to_the_right():
    html = render("title", tables=[Table(["name", "value"], [["a", 0.25], ["b", None], ["c", 1200]])])
    assert '<td class="recctl-number">0.2500</td>' in html
    assert '<td class="recctl-number">-</td>' in html
    assert '<td class="recctl-number">1,200</td>' in html
    assert "<td>a</td>" in html


# ---- models, data and evaluations


def test_model_shows_its_hyperparameters_and_whether_it_is_fitted(folder):
    model = EASERecommender(l2_reg=20.0)
    html = model._repr_html_()
    assert "not fitted" in html
    assert row(Page(html), "l2_reg")[1] == "20.0"
    data = dataset(folder)
    html = model.fit(data)._repr_html_()
    assert "not fitted" not in html
    assert f"{len(data)} interactions of {data.n_users} users with {data.n_items} items" in html


def test_model_shows_hyperparameters_that_differ_from_the_default_in_bold():
    assert 'class="recctl-strong"' not in EASERecommender()._repr_html_()
    assert 'class="recctl-strong"' in EASERecommender(l2_reg=20.0)._repr_html_()


def test_model_without_hyperparameters_shows_its_name():
    class PlainRecommender(Recommender):
        pass

    assert "PlainRecommender" in PlainRecommender()._repr_html_()
    assert "<table" not in PlainRecommender()._repr_html_()


def test_data_set_shows_its_size_and_first_rows_escaped(folder):
    data = dataset(folder)
    html = data._repr_html_()
    page = Page(html)
    assert f"{len(data)} interactions of {data.n_users} users with {data.n_items} items" in html
    expected = [list(map(str, values)) for values in data.data.head(5).itertuples(index=False)]
    assert page.rows == [["user_id", "item_id", "timestamp"], *expected]
    assert "script" not in page.tags


def test_evaluation_shows_its_metrics(folder):
    train, test = dataset(folder).split(test_size=0.2)
    evaluation = Evaluator(["ndcg"], [3]).evaluate_users(EASERecommender().fit(train), test)
    value = f"{evaluation.metrics['ndcg@3']:.4f}"
    assert repr(evaluation) == f"Evaluation({evaluation.n_users} users, full: ndcg@3={value})"
    assert row(Page(evaluation._repr_html_()), "ndcg@3") == ["ndcg@3", value]


def test_evaluator_shows_its_settings():
    assert repr(Evaluator(["ndcg"], [3])).startswith("Evaluator(metrics=('ndcg',), k_values=(3,), ")


# ---- runs


def test_run_has_a_repr_of_one_line(runs):
    run = runs["train"]
    assert repr(run) == f"Run({run.id!r}, kind='train', status='complete', model='ease')"
    assert repr(Run(run.path)) == f"Run({run.id!r})"  # not read yet


def test_run_shows_its_metrics(runs):
    run = runs["train"]
    page = Page(run._repr_html_())
    metrics = run.metrics()
    expected = [f"{metrics[part]['ndcg@5']:.4f}" for part in ("validation", "test")]
    assert row(page, "ndcg@5") == ["ndcg@5", *expected]
    assert "script" not in page.tags


def test_comparison_shows_each_model_with_intervals_and_the_conclusion(runs):
    run = runs["compare"]
    document = experiment.comparison_result(run)
    html = run._repr_html_()
    page = Page(html)
    for model in document["compared"]:
        estimate = model["metrics"][document["metric"]]
        cells = row(page, model["label"])
        assert cells[1] == f"{estimate['value']:.4f}"
        assert cells[2] == f"{estimate['low']:.4f} to {estimate['high']:.4f}"
    for sentence in document["words"]:
        assert f"<li>{sentence}</li>" in html


def test_backtest_shows_each_window(runs):
    document = experiment.comparison_result(runs["backtest"])
    page = Page(runs["backtest"]._repr_html_())
    labels = [model["label"] for model in document["compared"]]
    assert ["window", "test from", "until", "users", *labels] in page.rows
    for position, window in enumerate(document["windows"]):
        values = [
            f"{model['metrics'][document['metric']]['windows'][position]['value']:.4f}"
            for model in document["compared"]
        ]
        assert any(
            cells[:2] == [str(window["number"]), window["test_start"]] and cells[4:] == values for cells in page.rows
        )


def test_search_shows_its_best_trials_the_best_first(runs):
    run = runs["tune"]
    monitor = run.metadata["monitor"]["metric"]
    trials = run.trials().sort_values(monitor, ascending=False, kind="stable")
    page = Page(run._repr_html_())
    start = 1 + page.rows.index(["trial", monitor, "l2_reg"])
    shown = [cells[:2] for cells in page.rows[start : start + len(trials)]]
    numbers = map(str, trials["number"])
    values = [f"{value:.4f}" for value in trials[monitor]]
    assert shown == [list(cells) for cells in zip(numbers, values, strict=True)]


def test_run_with_a_damaged_file_shows_the_rest(runs, tmp_path):
    copy = tmp_path / runs["compare"].id
    shutil.copytree(runs["compare"].path, copy)
    (copy / "comparison.json").write_text("{")
    assert runs["compare"].id in Run.open(copy)._repr_html_()


def test_run_of_a_version_that_stored_less_shows_the_rest(runs, tmp_path):
    run = runs["compare"]
    copy = tmp_path / run.id
    shutil.copytree(run.path, copy)
    document = run.read_comparison()
    del document["reference"]
    (copy / "comparison.json").write_text(json.dumps(document))
    assert run.id in Run.open(copy)._repr_html_()


def test_run_store_takes_text_and_shows_its_runs_the_newest_first(runs, folder):
    store = RunStore(str(folder / "runs"))
    assert repr(store) == f"RunStore({str(folder / 'runs')!r})"
    page = Page(store._repr_html_())
    newest = [run.id for run in store.runs()][::-1][:10]
    assert [cells[0] for cells in page.rows[1:]] == newest


def test_empty_run_store_shows_that_it_is_empty(tmp_path):
    assert "0 runs" in RunStore(str(tmp_path / "none"))._repr_html_()


# ---- reports


def test_report_takes_ids_and_aliases_of_runs(runs, folder, monkeypatch):
    monkeypatch.setenv("RECCTL_RUNS_DIR", str(folder / "runs"))
    run = runs["train"]
    of_run = write_report([run], folder / "run.md", "md").path.read_text()
    assert write_report(run.id, folder / "id.md", "md").path.read_text() == of_run
    assert write_report([run.id], folder / "ids.md", "md").path.read_text() == of_run
    assert write_report(run, folder / "run.md", "md").path.read_text() == of_run
    with pytest.raises(ArtifactError, match="run 'nothing': not found"):
        write_report("nothing")
