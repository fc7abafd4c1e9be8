"""Pages in a real browser: figures are drawn, the page is accessible, fits a phone, and follows the color scheme."""

import re
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from recctl.reports.report import write_report
from recctl.runs import Run
from tests.conftest import skip_without
from tests.reports.example_runs import SYNTHETIC, comparison_run, hostile_run, trained_run, tuning_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
skip_without(BROWSER, "Chromium: apt install chromium")
skip_without("axe_playwright_python", "axe-core: pip install axe-playwright-python")  # brings Playwright

PHONE = 390
DESKTOP = 1280
# plotly.js redraws figures a tenth of a second after the width has changed, and when fonts are loaded.
SETTLED = """async () => {
  await document.fonts.ready;
  await new Promise((resolve) => setTimeout(resolve, 200));
  await new Promise(requestAnimationFrame);
}"""
FIGURES = """() => {
  const root = document.documentElement;
  const plots = [...document.querySelectorAll("div.plot")];
  return {
    overflow: root.scrollWidth - root.clientWidth,
    width: root.clientWidth,
    plots: plots.length,
    drawn: plots.filter((plot) => plot.querySelector("svg .xy")).length,
    background: getComputedStyle(document.body).backgroundColor,
    text: getComputedStyle(document.querySelector("svg text")).fill,
  };
}"""
# Each word of the text is a range of its own: one that is broken has a rectangle on each of its lines. Codes, such as
# hashes and paths, are no words, and longer words than these may not fit into a line of a phone.
BROKEN_WORDS = """() => {
  const broken = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT, (node) =>
    node.parentElement.closest("script, style, code, pre, svg, .visually-hidden")
      ? NodeFilter.FILTER_REJECT : NodeFilter.FILTER_ACCEPT);
  while (walker.nextNode()) {
    for (const match of walker.currentNode.textContent.matchAll(/[\\p{L}\\p{N}.@]{2,20}/gu)) {
      const range = document.createRange();
      range.setStart(walker.currentNode, match.index);
      range.setEnd(walker.currentNode, match.index + match[0].length);
      const lines = new Set([...range.getClientRects()].map((rectangle) => rectangle.top));
      if (lines.size > 1) broken.push(match[0]);
    }
  }
  return broken;
}"""
VIOLATIONS = """async () => {
  document.querySelectorAll("details").forEach((details) => { details.open = true; });
  const { violations } = await axe.run({ resultTypes: ["violations"] });
  return violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)]);
}"""


class Tab:
    """A page in a tab of its own, with a profile of its own.

    Attributes:
        page: The page, as Playwright shows it.
        messages: Messages of its console, and errors of its scripts.
    """

    def __init__(self, browser):
        context = browser.new_context(is_mobile=True, viewport={"width": PHONE, "height": 3000})
        self.page = context.new_page()
        self.messages = []
        self.page.on("console", lambda message: self.messages.append(message.text))
        self.page.on("pageerror", lambda error: self.messages.append(str(error)))

    def open(self, path):
        """Open a file from disk; its content security policy holds."""
        self.page.goto(path.as_uri())
        self.page.evaluate(SETTLED)

    def show(self, width=DESKTOP, colors="light"):
        """Change the width of the screen and the color scheme of the system."""
        self.page.set_viewport_size({"width": width, "height": 3000})
        self.page.emulate_media(color_scheme=colors)
        self.page.evaluate(SETTLED)


@pytest.fixture(scope="module")
def browser():
    """A browser that all tests share: starting one takes seconds."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox", "--disable-gpu"])
        yield browser
        browser.close()


def epochs_run(folder):
    """A run of a model that is trained in epochs, on items with titles."""
    folder.mkdir()
    (folder / "events.csv").write_text(
        "user_id,item_id,rating\n"
        + "".join(f"{user},{(user * step) % 30},{step % 5 + 1}\n" for user in range(40) for step in range(12))
    )
    titles = "".join(f"{item},Extraordinarily comfortable armchair no. {item}\n" for item in range(30))
    (folder / "items.csv").write_text(f"item_id,title\n{titles}")
    return trained_run(folder, "svdpp", "data: {source: events.csv, items: {file: items.csv}}\n")


def runs_that_are_shown_apart(folder):
    other_data = SYNTHETIC.replace("n_users: 80", "n_users: 90")
    return [trained_run(folder / "ease", "ease"), trained_run(folder / "popularity", "popularity", other_data)]


KINDS = {
    "comparison": lambda folder: [comparison_run(folder)],
    "search": lambda folder: [tuning_run(folder)],
    "hostile": lambda folder: [hostile_run(folder)],
    "epochs": lambda folder: [epochs_run(folder)],
    "apart": runs_that_are_shown_apart,
}


class Report(NamedTuple):
    kind: str
    runs: list[Run]
    path: Path


@pytest.fixture(scope="module")
def report(request, tmp_path_factory):
    """The report of runs of a kind; a parameter of the test names the kind."""
    folder = tmp_path_factory.mktemp("runs")
    runs = KINDS[request.param](folder / "work")
    return Report(request.param, runs, write_report(runs, folder / "report.html").path)


@pytest.fixture(scope="module")
def tab(browser, report):
    """The report, open in the browser; a test shows it as it needs it."""
    tab = Tab(browser)
    tab.open(report.path)
    yield tab
    tab.page.context.close()


def show_reports(*kinds):
    """Run a test with the reports of these kinds, each of which is made and loaded once for all tests."""
    return pytest.mark.parametrize("report", kinds, indirect=True, scope="module")


def brightness(color):
    return sum(map(int, re.findall(r"\d+", color)))


@show_reports("comparison", pytest.param("search", marks=pytest.mark.slow), "hostile")
def test_page_draws_all_figures_and_fits_a_phone(tab, report):
    tab.show(PHONE)
    measured = tab.page.evaluate(FIGURES)
    assert not tab.messages
    assert (measured["width"], measured["overflow"]) == (PHONE, 0)
    assert measured["drawn"] == measured["plots"] == report.path.read_text().count("<figcaption>") >= 5
    assert measured["background"] == "rgb(255, 255, 255)"


@show_reports("comparison")
def test_page_follows_dark_color_scheme(tab):
    tab.show(PHONE, "dark")
    measured = tab.page.evaluate(FIGURES)
    assert not tab.messages
    assert brightness(measured["background"]) < 120
    assert brightness(measured["text"]) > 600  # of the figures


@show_reports("epochs")
def test_no_word_is_broken(tab, report):
    assert "armchair" in report.path.read_text()
    for width in (DESKTOP, 500):
        tab.show(width)
        assert tab.page.evaluate(BROKEN_WORDS) == []


SLOW_KINDS = [pytest.param(kind, marks=pytest.mark.slow) for kind in ("search", "apart")]


@show_reports("comparison", "epochs", *SLOW_KINDS)
def test_page_has_no_violations_of_accessibility_rules(tab, report):
    tab.page.evaluate(Path(find_spec("axe_playwright_python").origin).with_name("axe.min.js").read_text())
    colors = "dark" if report.kind in ("comparison", "apart") else "light"
    tab.show(colors=colors)
    assert tab.page.evaluate(VIOLATIONS) == []


@show_reports("search")
def test_search_figures_draw_when_opened_from_disk(browser, report):
    pages = sorted((report.runs[0].path / "figures").glob("*.html"))
    names = {"history.html", "importances.html", "parallel.html", "slices.html"}
    assert {path.name for path in pages} == names
    tab = Tab(browser)  # the same one for all pages: the browser compiles plotly.js once
    for path in pages:
        tab.open(path)
        assert not tab.messages
        assert tab.page.locator(".main-svg").count() >= path.read_text().count("<figcaption>") >= 1


def test_console_messages_are_captured(browser, tmp_path):
    (tmp_path / "page.html").write_text("<script>console.log('printed'); nosuch()</script>")
    tab = Tab(browser)
    tab.open(tmp_path / "page.html")
    printed, error = tab.messages
    assert printed == "printed"
    assert "nosuch is not defined" in error
