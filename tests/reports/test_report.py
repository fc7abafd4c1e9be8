"""`recctl report`: one page, or tables, of what runs came to."""

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from recctl.data.sources.catalog import datasets
from recctl.data.splitting import Split
from recctl.errors import ConfigError
from recctl.evaluation.paired_comparison import compare_paired
from recctl.experiment.comparison.run import comparison_result
from recctl.reports import recompute
from recctl.reports.report import write_report
from recctl.runs import Run
from tests.reports.some_runs import HOSTILE, compared, headings, hostile, text_of, trained, tuned

WHOLE = ["Metrics", "Trade-offs over k", "Quality by user and item", "Popularity and coverage", "Examples"]


@pytest.fixture(scope="module")
def ease(tmp_path_factory) -> Run:
    return trained(tmp_path_factory.mktemp("ease"), "ease")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory) -> Run:
    return compared(tmp_path_factory.mktemp("compared"))


def page_of(*runs, **how):
    written = write_report(runs, **how)
    return written.path.read_text(encoding="utf-8"), written


def copy(run, tmp_path):
    return Run.open(shutil.copytree(run.path, tmp_path / run.id))


# ---- what it says


def test_figures_are_those_of_the_run_and_intervals_those_of_the_significance_module(ease):
    text = text_of(page_of(ease)[0])
    for part, values in ease.metrics().items():
        of = compare_paired({"x": ease.per_user(part)}, "x", seed=42).figures
        for key, value in values.items():
            assert f"{value:.4f}" in text, key
            if key in of:
                assert f"{value:.4f} {of[key]['x'].low:.4f} to {of[key]['x'].high:.4f}" in text, key
    assert ease.id in text
    assert ease.metadata["data"]["hash"] in text
    assert ease.metadata["models"][0]["sha256"] in text
    assert "l2_reg: 50.0" in text


def test_a_run_has_all_that_is_of_one_model(ease):
    page, written = page_of(ease)
    assert headings(page) == [*WHOLE, "Findings", "Data and split", "Provenance", "Config", "Left out"]
    assert list(written.left_out) == ["Learning curves"]
    assert written.path == ease.path / "report.html"
    assert written.bytes == len(page.encode()) < 8_000_000


def test_a_model_of_ratings_has_learning_curves_and_errors(tmp_path):
    page, written = page_of(trained(tmp_path, "svdpp"))
    assert "Learning curves" in headings(page)
    assert "RMSE by users&#x27; activity" in page
    assert "Errors by items&#x27; popularity" in page
    assert list(written.left_out) == ["Trade-offs over k"]


def test_a_comparison_says_what_its_verdict_does(comparison):
    page, _ = page_of(comparison)
    text, document = text_of(page), comparison_result(comparison)
    assert headings(page)[0] == "Comparison"
    assert document["words"][0] in text
    for model in document["compared"]:
        for key, figure in model["metrics"].items():
            assert f"{figure['value']:.4f}" in text, key
        figure = model["metrics"][document["metric"]]
        if figure["p_holm"] is not None:
            assert f"{figure['difference']:+.4f}".replace("-", "−") in text
            assert f"{figure['p_holm']:.2g}" in text


def test_runs_of_one_split_are_compared_and_others_told_apart(tmp_path, ease):
    other = trained(tmp_path, "popularity")
    page, written = page_of(ease, other)
    assert "Comparison" in headings(page)
    assert written.path.parent == ease.path / "exports"
    third = trained(tmp_path, "ease", "seed: 3\ndata: {source: synthetic}\n")
    page, written = page_of(ease, third)
    assert "Metrics of each run" in headings(page)
    assert "different data" in written.left_out["Comparison"]
    ends = [run.id[-4:] for run in (ease, third)]
    assert all(f"ease ({end})" in page for end in ends)


def test_a_search_shows_its_trials(tmp_path):
    run = tuned(tmp_path)
    page, _ = page_of(run)
    assert "Search" in headings(page)
    text = text_of(page)
    assert "12 trials, random: 12 complete" in text
    assert "data.min_user_interactions" in text
    assert f"{run.metadata['tuning']['best_values'][0]:.4f}" in text


@pytest.mark.parametrize("verb", ["fit", "split"])
def test_runs_without_metrics_have_a_page_too(recctl, verb):
    path = recctl(verb, "small.yaml", "-q", "--json").json["path"]
    page, written = page_of(Run.open(Path(path)))
    assert "Data and split" in headings(page)
    assert "nothing was measured" in written.left_out["Metrics"]
    assert ("Examples" in headings(page)) == (verb == "fit")


def test_a_failed_run_says_why(ease, tmp_path):
    run = copy(ease, tmp_path)
    for name in ("metrics.json", "per_user.parquet", "split.npz"):
        (run.path / name).unlink()
    run.metadata["models"] = []
    run.end("failed", "it diverged")
    page, written = page_of(run)
    assert "is failed, not complete: it diverged" in text_of(page)
    assert {"Metrics", "Examples"} <= set(written.left_out)


def test_damaged_figures_of_users_cost_the_intervals_alone(ease, tmp_path):
    run = copy(ease, tmp_path)
    (run.path / "per_user.parquet").write_bytes(b"PAR1 nonsense")
    text = text_of(page_of(run)[0])
    assert "Without intervals" in text
    assert "damaged" in text
    assert f"{run.metrics()['test']['ndcg@10']:.4f}" in text


@pytest.mark.parametrize("name", ["trials.parquet", "history.jsonl", "comparison.json", "config.yaml", "metrics.json"])
def test_other_damaged_files_cost_their_part_alone(ease, tmp_path, name):
    run = copy(ease, tmp_path)
    (run.path / name).write_bytes(b"\x00{")
    run.metadata["kind"] = "tune"
    page, _ = page_of(run)
    assert "Provenance" in headings(page)


# ---- what it reads


def test_test_is_not_read_again(ease, monkeypatch):
    def refuse(*_):
        raise AssertionError("test was read")

    looks = ease.metadata["test_looks"]
    monkeypatch.setattr(Split, "test", refuse)
    page, _ = page_of(ease)
    assert "Examples" in headings(page)
    assert Run.open(ease.path).metadata["test_looks"] == looks


def test_data_that_are_gone_or_changed_cost_their_parts_alone(tmp_path):
    run = hostile(tmp_path)
    source = tmp_path / "<b>&data.parquet"
    kept = source.read_bytes()
    source.unlink()
    page, written = page_of(run)
    assert "Metrics" in headings(page)
    assert "is not there any more" in written.left_out["Examples"]

    source.write_bytes(kept)
    pd.read_parquet(source).iloc[:-1].to_parquet(source, index=False)
    assert "the data have changed" in page_of(run)[1].left_out["Examples"]


def test_nothing_is_fetched(ease, tmp_path):
    run = copy(ease, tmp_path)
    text = (run.path / "config.yaml").read_text()
    text = re.sub(r"(?m)^  synthetic:\n(    .*\n)+", "", text)
    (run.path / "config.yaml").write_text(text.replace("source: synthetic", "source: movielens-100k"))
    assert not datasets.find("movielens-100k").cached
    assert "a report fetches nothing" in page_of(run)[1].left_out["Examples"]


def test_items_have_their_titles(ease, monkeypatch):
    monkeypatch.setattr(
        recompute, "item_titles", lambda source: {item: f"The {HOSTILE} {item}" for item in range(1000)}
    )
    page, _ = page_of(ease)
    assert f"The {HOSTILE} " in text_of(page)
    assert "<script>alert" not in page


# ---- a page that is safe


class _Loads(HTMLParser):
    """What a page would load, what it runs, and whether its elements are closed."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.elements: list[str] = []
        self.names: set[str] = set()
        self.feed(page)
        assert not self.elements

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.found += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in ("meta", "link", "img", "br"):
            self.elements.append(tag)

    def handle_endtag(self, tag):
        assert self.elements.pop() == tag


def test_a_page_loads_nothing_and_runs_its_own_scripts_alone(ease):
    page, _ = page_of(ease)
    loads = _Loads(page)
    assert all(target.startswith("#") for target in loads.found)
    assert not {"img", "link", "iframe", "object", "embed", "base", "form"} & loads.names
    scripts = re.findall(r"(?s)<script>(.*?)</script>", page)
    assert len(scripts) == 2
    assert sum("plotly.js v" in script[:200] for script in scripts) == 1
    for script in scripts:
        assert base64.b64encode(hashlib.sha256(script.encode()).digest()).decode() in page
    assert "default-src 'none'" in page


def test_texts_of_data_are_never_markup(tmp_path):
    run = hostile(tmp_path)
    page, _ = page_of(run)
    assert f"User {HOSTILE}u" in text_of(page)
    assert {"img", "b"} & _Loads(page).names == {"b"}  # our own
    assert "<script>alert" not in page
    assert "<b>&data" not in page
    for plot in re.findall(r'(?s)<script type="application/json">(.*?)</script>', page):
        json.loads(plot)
        assert "<" not in plot


def test_an_error_and_a_label_are_never_markup(comparison, tmp_path):
    store = shutil.copytree(comparison.path.parent, tmp_path / "runs")
    run = Run.open(store / comparison.id)
    document = json.loads((run.path / "comparison.json").read_text().replace('"popularity"', json.dumps(HOSTILE)))
    document["best"] = document["reference"] = document["compared"][0]["label"]
    (run.path / "comparison.json").write_text(json.dumps(document))
    run.end("failed", HOSTILE)
    page, _ = page_of(run)
    assert HOSTILE in text_of(page)
    assert not {"img"} & _Loads(page).names


# ---- tables


def test_markdown_tables_have_a_cell_for_every_head(comparison):
    text, written = page_of(comparison, form="md")
    assert written.path.name == "report.md"
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 2
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    best = comparison_result(comparison)["compared"][0]
    assert f"**{best['metrics']['ndcg@10']['value']:.4f}" in text


def balanced(text: str) -> bool:
    depth = 0
    for sign in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if sign == "{" else -1
        if depth < 0:
            return False
    return depth == 0


def test_latex_tables_are_balanced_and_as_wide_as_they_say(comparison):
    text, written = page_of(comparison, form="latex")
    assert written.path.name == "report.tex"
    assert balanced(text)
    for kind in ("table", "tabular"):
        assert text.count(f"\\begin{{{kind}}}") == text.count(f"\\end{{{kind}}}") == 2
    for columns, body in re.findall(r"(?s)\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text):
        rows = [line for line in body.splitlines() if line.endswith("\\\\")]
        assert len(rows) > 1
        assert all(len(re.findall(r"(?<!\\)&", row)) + 1 == len(columns) for row in rows)
        assert all(f"\\{rule}rule" in body for rule in ("top", "mid", "bottom"))


def test_texts_of_data_do_not_break_tables(tmp_path):
    run = hostile(tmp_path)
    text, _ = page_of(run, form="latex")
    assert balanced(text)
    assert not re.search(r"(?<!\\)[%#]", "".join(line for line in text.splitlines() if not line.startswith("%")))
    assert "<b>" not in page_of(run, form="md")[0].replace("\\<", "")


def test_tables_of_nothing_are_refused(recctl):
    path = recctl("fit", "small.yaml", "-q", "--json").json["path"]
    done = recctl("report", path, "--format", "md")
    assert done.code == 4
    assert "nothing was measured" in done.err


# ---- the verb


def test_the_verb_prints_where_the_page_is(recctl, workdir):
    run = recctl("train", "small.yaml", "-q", "--json").json
    done = recctl("report", run["run_id"], "-o", "out/page.html", "--json")
    assert done.code == 0, done.err
    assert done.json["path"] == "out/page.html"
    assert done.json["bytes"] == (workdir / "out" / "page.html").stat().st_size
    assert done.json["runs"] == [run["run_id"]]
    assert recctl("report", run["run_id"], "-m", "ndgc@10").code == 2
    assert recctl("report", "nosuch").code == 4
    (workdir / "file").write_text("")
    assert recctl("report", run["run_id"], "-o", "file/page.html").code == 2


def test_wrong_arguments_are_refused(ease):
    with pytest.raises(ConfigError, match="name a run"):
        write_report([])
    with pytest.raises(ConfigError, match="did you mean latex"):
        write_report([ease], form="latec")
