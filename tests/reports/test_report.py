"""`recctl report`: contents of the page, what it reads, its safety, and tables for papers."""

import base64
import hashlib
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from recctl import experiment
from recctl.data import sources
from recctl.data.sources.catalog import datasets
from recctl.data.splitting import Split
from recctl.errors import ConfigError
from recctl.evaluation.paired_comparison import compare_paired
from recctl.experiment.comparison.run import comparison_result
from recctl.reports import recompute
from recctl.reports.render import formatting, plots
from recctl.reports.render.blocks import Note
from recctl.reports.render.page import Header, Section, render_page, script_json
from recctl.reports.report import write_report
from recctl.reports.search_figures import write_search_figures
from recctl.runs import Run, RunStore
from tests.reports.example_runs import (
    HOSTILE,
    SYNTHETIC,
    comparison_run,
    embedded_json,
    hostile_run,
    load,
    section_titles,
    trained_run,
    tuning_run,
    visible_text,
)

MODEL_SECTIONS = ["Metrics", "Metrics over k", "Quality by segment", "Popularity and coverage", "Examples"]


@pytest.fixture(scope="module")
def ease(tmp_path_factory) -> Run:
    return trained_run(tmp_path_factory.mktemp("ease"), "ease")


@pytest.fixture(scope="module")
def comparison(tmp_path_factory) -> Run:
    return comparison_run(tmp_path_factory.mktemp("compared"))


@pytest.fixture(scope="module")
def search(tmp_path_factory) -> Run:
    return tuning_run(tmp_path_factory.mktemp("search"))


def report_of(*runs, **options):
    written = write_report(runs, **options)
    return written.path.read_text(encoding="utf-8"), written


def copy_run(run, tmp_path):
    return Run.open(shutil.copytree(run.path, tmp_path / run.id))


# ---- contents


def test_page_shows_metrics_of_run_with_bootstrap_intervals(ease):
    text = visible_text(report_of(ease)[0])
    for part, values in ease.metrics().items():
        figures = compare_paired({"x": ease.per_user(part)}, "x", seed=42).estimates
        for key, value in values.items():
            assert f"{value:.4f}" in text, key
            if key in figures:
                assert f"{value:.4f} {figures[key]['x'].low:.4f} to {figures[key]['x'].high:.4f}" in text, key
    assert ease.id in text
    assert ease.metadata["data"]["hash"] in text
    assert ease.metadata["models"][0]["sha256"] in text
    assert "l2_reg: 50.0" in text


def test_page_of_one_run_has_all_sections_of_a_model(ease):
    page, written = report_of(ease)
    general = ["Findings", "Data and split", "Provenance", "Config", "Omitted sections"]
    assert section_titles(page) == MODEL_SECTIONS + general
    assert list(written.left_out) == ["Learning curves"]
    assert written.path == ease.path / "report.html"
    assert written.bytes == len(page.encode()) < 8_000_000


def test_rating_model_has_learning_curves_and_errors(tmp_path):
    page, written = report_of(trained_run(tmp_path, "svdpp"))
    text = visible_text(page)
    assert "Learning curves" in section_titles(page)
    assert "RMSE by user activity" in text
    assert "Mean absolute error by item popularity" in text
    assert list(written.left_out) == ["Metrics over k"]


def test_page_of_comparison_shows_its_result(comparison):
    page, _ = report_of(comparison)
    text = visible_text(page)
    result = comparison_result(comparison)
    assert section_titles(page)[0] == "Comparison"
    assert result["words"][0] in text
    for model in result["compared"]:
        for key, figure in model["metrics"].items():
            assert f"{figure['value']:.4f}" in text, key
        figure = model["metrics"][result["metric"]]
        if figure["p_holm"] is not None:
            assert f"{figure['difference']:+.4f}".replace("-", "−") in text
            assert f"{figure['p_holm']:.2g}" in text


def test_runs_of_one_split_are_compared(tmp_path, ease):
    page, written = report_of(ease, trained_run(tmp_path, "popularity"))
    assert "Comparison" in section_titles(page)
    assert written.path.parent == ease.path / "exports"


def test_runs_of_different_data_are_shown_one_by_one_with_unique_labels(tmp_path, ease):
    other = trained_run(tmp_path, "ease", "seed: 3\ndata: {source: synthetic}\n")
    page, written = report_of(ease, other)
    assert "Metrics of each run" in section_titles(page)
    assert "different data" in written.left_out["Comparison"]
    for run in (ease, other):
        assert f"ease ({run.id[-4:]})" in page


def test_page_of_search_shows_its_trials(search):
    page, _ = report_of(search)
    assert "Search" in section_titles(page)
    text = visible_text(page)
    assert "12 trials, random: 12 complete" in text
    assert "data.min_user_interactions" in text
    assert f"{search.metadata['tuning']['best_values'][0]:.4f}" in text


def test_search_figures_of_report_and_run_are_the_same(search):
    in_report = embedded_json(report_of(search)[0])
    for name in ("history.html", "importances.html", "slices.html", "parallel.html"):
        figures = embedded_json((search.path / "figures" / name).read_text())
        assert figures
        assert set(figures) <= set(in_report)


def test_search_without_trials_has_no_figures(ease, tmp_path):
    run = copy_run(ease, tmp_path)
    assert write_search_figures(run) == []
    assert not (run.path / "figures").exists()


@pytest.mark.parametrize("command", ["fit", "split"])
def test_runs_without_metrics_have_a_page(recctl, command):
    path = recctl(command, "small.yaml", "-q", "--json").json["path"]
    page, written = report_of(Run.open(Path(path)))
    assert "Data and split" in section_titles(page)
    assert "was not evaluated" in written.left_out["Metrics"]
    assert ("Examples" in section_titles(page)) == (command == "fit")


def test_page_of_failed_run_shows_error(ease, tmp_path):
    run = copy_run(ease, tmp_path)
    for name in ("metrics.json", "per_user.parquet", "split.npz"):
        (run.path / name).unlink()
    run.metadata["models"] = []
    run.end("failed", "it diverged")
    page, written = report_of(run)
    assert "is failed, not complete: it diverged" in visible_text(page)
    assert {"Metrics", "Examples"} <= set(written.left_out)


def test_damaged_per_user_metrics_remove_only_intervals(ease, tmp_path):
    run = copy_run(ease, tmp_path)
    (run.path / "per_user.parquet").write_bytes(b"PAR1 nonsense")
    text = visible_text(report_of(run)[0])
    assert "Intervals are missing" in text
    assert "damaged" in text
    assert f"{run.metrics()['test']['ndcg@10']:.4f}" in text


@pytest.mark.parametrize("name", ["trials.parquet", "history.jsonl", "comparison.json", "config.yaml", "metrics.json"])
def test_other_damaged_files_remove_only_their_section(ease, tmp_path, name):
    run = copy_run(ease, tmp_path)
    (run.path / name).write_bytes(b"\x00{")
    run.metadata["kind"] = "tune"
    page, _ = report_of(run)
    assert "Provenance" in section_titles(page)


# ---- what a report reads


def test_report_does_not_read_the_test_part(ease, monkeypatch):
    def refuse(*_):
        raise AssertionError("the test part was read")

    n_evaluations = ease.metadata["test_looks"]
    monkeypatch.setattr(Split, "test", refuse)
    page, _ = report_of(ease)
    assert "Examples" in section_titles(page)
    assert Run.open(ease.path).metadata["test_looks"] == n_evaluations


def test_missing_or_changed_data_remove_only_their_sections(tmp_path):
    run = hostile_run(tmp_path)
    source = tmp_path / "<b>&data.parquet"
    content = source.read_bytes()
    source.unlink()
    page, written = report_of(run)
    assert "Metrics" in section_titles(page)
    assert "does not exist any more" in written.left_out["Examples"]

    source.write_bytes(content)
    pd.read_parquet(source).iloc[:-1].to_parquet(source, index=False)
    assert "the data have changed" in report_of(run)[1].left_out["Examples"]


def test_report_downloads_nothing(ease, tmp_path):
    run = copy_run(ease, tmp_path)
    text = (run.path / "config.yaml").read_text()
    text = re.sub(r"(?m)^  synthetic:\n(    .*\n)+", "", text)
    (run.path / "config.yaml").write_text(text.replace("source: synthetic", "source: movielens-100k"))
    assert not datasets.find("movielens-100k").cached
    assert "recctl data fetch movielens-100k" in report_of(run)[1].left_out["Examples"]


PLACES = {
    "https://user:secret@localhost/x.csv": "https://***:***@localhost/x.csv",
    '{sql: "select 1", url: "postgresql://user:secret@localhost/x"}': "query of postgresql://***:***@localhost/x",
}


@pytest.mark.parametrize(
    ("key", "place"), [*(("data.source", place) for place in PLACES), ("split.test", next(iter(PLACES)))]
)
def test_report_neither_reads_urls_nor_queries_databases(key, place, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("a report reads its data")

    pairs = pd.DataFrame([(user, item) for user in range(10) for item in range(31)], columns=["user_id", "item_id"])
    for number, name in enumerate(("train.csv", "validation.csv", "test.csv")):
        pairs[number::3].to_csv(tmp_path / name, index=False)
    split = "{strategy: predefined, validation: validation.csv, test: test.csv}"
    text = f"data: {{source: train.csv, implicit: true}}\nsplit: {split}\nmodel: {{name: popularity}}\n"
    run = experiment.train(load(tmp_path, text), RunStore(tmp_path / "runs"))
    assert "Examples" not in report_of(run)[1].left_out
    monkeypatch.setattr(recompute, "prepare_for", refuse)
    reason = report_of(run, overrides=[f"{key}={place}"])[1].left_out["Examples"]
    assert f"{key} is {PLACES[place]}, and reports download and query nothing" in reason
    assert f"recctl report {run.id} --set {key}=FILE" in reason


def test_items_are_shown_by_title(ease, monkeypatch):
    monkeypatch.delitem(ease.metadata, "titles")  # as a run of version 0.1, which stored none
    titles = {item: f"The {HOSTILE} {item}" for item in range(1000)}
    monkeypatch.setattr(sources, "item_titles", lambda source: titles)
    page, _ = report_of(ease)
    assert f"The {HOSTILE} " in visible_text(page)
    assert "<script>alert" not in page


def test_landmarks_of_a_page_have_distinct_names(ease, comparison, tmp_path):
    other = trained_run(tmp_path, "popularity", SYNTHETIC.replace("n_users: 80", "n_users: 90"))
    for runs in ([ease], [comparison], [ease, other]):
        page, _ = report_of(*runs, path=tmp_path / "report.html")
        # Sections with a name, navigation, and regions; a group is no landmark.
        landmarks = re.findall(r'<(?:section|nav)\b[^>]*aria-label="([^"]*)"', page)
        landmarks += re.findall(r'role="region"[^>]*aria-label="([^"]*)"', page)
        assert len(landmarks) > 5
        assert len(set(landmarks)) == len(landmarks)
        for element in ("main", "nav", "footer"):
            assert page.count(f"<{element}") == 1


def test_intervals_are_labelled_with_what_they_are_of(ease, comparison):
    text = visible_text(report_of(ease)[0])
    assert "95% interval of NDCG@10: 0." in text
    assert "95% interval on validation" in text
    assert "95% interval on test" in text
    assert "with 95% intervals of NDCG@10." in text
    text = visible_text(report_of(comparison)[0])
    assert "95% interval of NDCG@10 on test" in text
    assert "95% interval of the difference" in text
    assert "95% bootstrap intervals of NDCG@10" in text
    assert not re.search(r"95% interval (?!of|on)", text)


@pytest.mark.parametrize(
    ("values", "step"), [([1, 2, 3], 1), ([1], 1), ([], 1), (range(1, 10), 1), (range(1, 21), 5), (range(300), 50)]
)
def test_axis_of_whole_numbers_has_ticks_at_whole_numbers(values, step):
    axis = plots.whole_number_axis("Epoch", list(values))
    assert (axis["tick0"], axis["dtick"]) == (0, step)


def test_epochs_and_trials_have_ticks_at_whole_numbers(search, tmp_path):
    axes = []
    for run in (trained_run(tmp_path, "svdpp"), search):
        page, _ = report_of(run)
        axes += [json.loads(figure)["layout"]["xaxis"] for figure in embedded_json(page)]
    counts = [axis for axis in axes if axis["title"]["text"] in ("Epoch", "Trial", "data.min_user_interactions")]
    assert len(counts) == 4
    for axis in counts:
        assert axis["dtick"] == int(axis["dtick"]) >= 1
        assert axis["tick0"] == 0


# ---- safety


class _PageParser(HTMLParser):
    """Collects the elements of a page and the addresses it loads; refuses unclosed elements and event handlers."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.names: set[str] = set()
        self._open_elements: list[str] = []
        self.feed(page)
        assert not self._open_elements

    def handle_starttag(self, tag, attrs):
        self.names.add(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        assert not [name for name, _ in attrs if name.startswith("on")]
        if tag not in ("meta", "link", "img", "br"):
            self._open_elements.append(tag)

    def handle_endtag(self, tag):
        assert self._open_elements.pop() == tag


def test_page_loads_nothing_and_allows_only_its_own_scripts(ease):
    page, _ = report_of(ease)
    parser = _PageParser(page)
    assert all(address.startswith("#") for address in parser.addresses)
    assert not {"img", "link", "iframe", "object", "embed", "base", "form"} & parser.names
    scripts = re.findall(r"(?s)<script>(.*?)</script>", page)
    assert len(scripts) == 2
    assert sum("plotly.js v" in script[:200] for script in scripts) == 1
    policy = re.search(r'Content-Security-Policy" content="([^"]*)"', page)[1]
    for script in scripts:
        assert f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-")


def test_page_without_figures_allows_no_scripts():
    page = render_page("Title", Header(), [Section("Notes", [Note(HOSTILE)])], "Footer")
    assert HOSTILE in visible_text(page)
    assert "script-src 'none'" in page
    assert "<script" not in page


def test_search_figures_load_plotly_alone(search):
    paths = list((search.path / "figures").glob("*.html"))
    assert len(paths) == 4
    for path in paths:
        parser = _PageParser(path.read_text())
        loaded = [address for address in parser.addresses if not address.startswith("#")]
        assert loaded == ["plotly.min.js"]


def test_texts_of_data_are_escaped(tmp_path):
    page, _ = report_of(hostile_run(tmp_path))
    assert f"User {HOSTILE}u" in visible_text(page)
    assert {"img", "b"} & _PageParser(page).names == {"b"}  # <b> is the report's own
    assert "<script>alert" not in page
    assert "<b>&data" not in page
    for plot in embedded_json(page):
        json.loads(plot)
        assert "<" not in plot


def test_errors_and_labels_are_escaped(comparison, tmp_path):
    store = shutil.copytree(comparison.path.parent, tmp_path / "runs")
    run = Run.open(store / comparison.id)
    result = json.loads((run.path / "comparison.json").read_text().replace('"popularity"', json.dumps(HOSTILE)))
    result["best"] = result["compared"][0]["label"]
    result["reference"] = result["best"]
    (run.path / "comparison.json").write_text(json.dumps(result))
    run.end("failed", HOSTILE)
    page, _ = report_of(run)
    assert HOSTILE in visible_text(page)
    assert "img" not in _PageParser(page).names


def test_json_cannot_end_its_script_element():
    text = script_json({"x": [float("nan"), 1.23456789, "</script>&\u2028"]})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"x": [None, 1.23457, "</script>&\u2028"]}


# ---- tables


def test_markdown_rows_have_a_cell_for_every_heading(comparison):
    text, written = report_of(comparison, form="md")
    assert written.path.name == "report.md"
    tables = [block.splitlines() for block in text.split("\n\n") if block.startswith("|")]
    assert len(tables) == 2
    for table in tables:
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table}) == 1
    best = comparison_result(comparison)["compared"][0]
    assert f"**{best['metrics']['ndcg@10']['value']:.4f}" in text


def has_balanced_braces(text: str) -> bool:
    depth = 0
    for brace in re.findall(r"(?<!\\)[{}]", text):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


def test_latex_tables_are_well_formed(comparison):
    text, written = report_of(comparison, form="latex")
    assert written.path.name == "report.tex"
    assert has_balanced_braces(text)
    n_tables = text.count(r"\caption")
    assert n_tables >= 2
    for environment in ("table", "tabular"):
        assert text.count(f"\\begin{{{environment}}}") == text.count(f"\\end{{{environment}}}") == n_tables
    for columns, body in re.findall(r"(?s)\\begin\{tabular\}\{([lr]+)\}(.*?)\\end\{tabular\}", text):
        rows = [line for line in body.splitlines() if line.endswith("\\\\")]
        assert len(rows) > 1
        assert all(len(re.findall(r"(?<!\\)&", row)) + 1 == len(columns) for row in rows)
        assert all(f"\\{rule}rule" in body for rule in ("top", "mid", "bottom"))


def test_texts_of_data_are_escaped_in_tables(tmp_path):
    run = hostile_run(tmp_path)
    text, _ = report_of(run, form="latex")
    assert has_balanced_braces(text)
    assert not re.search(r"(?<!\\)[%#]", "".join(line for line in text.splitlines() if not line.startswith("%")))
    assert "<b>" not in report_of(run, form="md")[0].replace("\\<", "")


def test_tables_without_metrics_are_an_error(recctl):
    path = recctl("fit", "small.yaml", "-q", "--json").json["path"]
    done = recctl("report", path, "--format", "md")
    assert done.code == 4
    assert "no metrics" in done.err
    assert "recctl evaluate" in done.err


# ---- command line and arguments


def test_command_prints_path_of_report(recctl, workdir):
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


@pytest.mark.parametrize("form", ["html", "md", "latex"])
def test_report_replaces_a_report_and_no_other_file(recctl, comparison, workdir, form):
    (workdir / "page").write_text("")
    command = ("report", str(comparison.path), "--format", form, "-o")
    for _ in range(2):
        assert recctl(*command, "page").code == 0
    notes = workdir / "notes.txt"
    notes.write_text("Do not delete.\n" + "x" * 10_000)
    refused = recctl(*command, "notes.txt")
    assert refused.code == 2
    assert "notes.txt: already exists, and was not written by recctl report" in refused.err
    assert notes.read_text().startswith("Do not delete.")
    assert recctl(*command, "notes.txt", "--force").code == 0
    assert notes.read_text() == (workdir / "page").read_text()


@pytest.mark.parametrize("form", ["html", "latex"])
def test_report_of_an_earlier_version_is_replaced(recctl, comparison, workdir, form):
    command = ("report", str(comparison.path), "--format", form, "-o", "page")
    assert recctl(*command).code == 0
    page = workdir / "page"
    present = page.read_text()
    earlier = present.replace('<meta name="generator" content="recctl report">\n', "")
    page.write_text(earlier.removeprefix("% Written by recctl report\n"))
    assert page.read_text() != present
    assert recctl(*command).code == 0
    assert page.read_text() == present


def test_invalid_arguments_raise_config_error(ease):
    with pytest.raises(ConfigError, match="name at least one run"):
        write_report([])
    with pytest.raises(ConfigError, match="did you mean latex"):
        write_report([ease], form="latec")


def test_settings_are_shown_as_configs_have_them() -> None:
    shown = [formatting.setting(value) for value in (20_000, 1_700_000_000, 500.0, 0.0001, True, None, "cg")]
    assert shown == ["20000", "1700000000", "500", "0.0001", "yes", "–", "cg"]
