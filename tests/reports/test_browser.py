"""Pages in a real browser: figures are drawn, the page is accessible, fits a phone, and follows the color scheme."""

import json
import os
import re
import shutil
import subprocess
from html import unescape
from importlib.util import find_spec
from pathlib import Path

import pytest

from recctl.reports.render.page import script_json
from recctl.reports.report import write_report
from tests.conftest import skip_without
from tests.reports.example_runs import SYNTHETIC, comparison_run, hostile_run, trained_run, tuning_run

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next(filter(None, map(shutil.which, BROWSERS)), None)
skip_without(BROWSER, "Chromium: apt install chromium")

OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--enable-logging=stderr",
    "--virtual-time-budget=20000",
]
LIGHT = "--blink-settings=preferredColorScheme=1"
DARK = "--blink-settings=preferredColorScheme=0"
# A frame as wide as a phone: the browser's window has a larger minimum width.
FRAME = """<!DOCTYPE html><meta name="color-scheme" content="light dark">
<iframe style="width: 390px; height: 3000px; border: 0"></iframe>
<script type="application/json">{page}</script>
<script>
const frame = document.querySelector("iframe");
frame.onload = () => {{
  const inner = frame.contentDocument, root = inner.documentElement;
  const plots = [...inner.querySelectorAll("div.plot")];
  document.body.dataset.measured = JSON.stringify({{
    overflow: root.scrollWidth - root.clientWidth,
    width: root.clientWidth,
    plots: plots.length,
    drawn: plots.filter((plot) => plot.querySelector("svg .xy")).length,
    background: frame.contentWindow.getComputedStyle(inner.body).backgroundColor,
    text: frame.contentWindow.getComputedStyle(inner.querySelector("svg text")).fill,
  }});
}};
frame.srcdoc = JSON.parse(document.querySelector("script").textContent);
</script>
"""


# Each word of the text is a range of its own: one that is broken has a rectangle on each of its lines. Codes, such as
# hashes and paths, are no words, and longer words than these may not fit into a line of a phone.
BROKEN_WORDS = """<script>
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
document.body.dataset.measured = JSON.stringify(broken);
</script>"""
AXE = """<script>
document.querySelectorAll("details").forEach((details) => { details.open = true; });
axe.run({ resultTypes: ["violations"] }).then(({ violations }) => {
  document.body.dataset.measured = JSON.stringify(violations.map(({ id, nodes }) =>
    [id, nodes.map((node) => node.html)]));
});
</script>"""


def measure(page, folder, scripts, *options):
    """What scripts at the end of a page have measured; its content security policy, which forbids them, is removed."""
    page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page)
    path = folder / "measured.html"
    path.write_text(page.replace("</body>", f"{scripts}</body>"))
    dom, _ = open_page(path, folder / "profile", *options)
    return json.loads(unescape(re.search(r'data-measured="([^"]*)"', dom)[1]))


def open_page(path, profile, *options):
    """The DOM after all scripts have run, and the messages of the console."""
    command = [BROWSER, *OPTIONS, *options, f"--user-data-dir={profile}", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, re.findall(r".*CONSOLE.*", done.stderr)


def measure_on_phone(page, folder, *options):
    path = folder / "frame.html"
    path.write_text(FRAME.format(page=script_json(page)))
    dom, messages = open_page(path, folder / "profile", "--window-size=800,3000", *options)
    assert not messages
    return json.loads(unescape(re.search(r'data-measured="([^"]*)"', dom)[1]))


def brightness(color):
    return sum(map(int, re.findall(r"\d+", color)))


@pytest.mark.parametrize("make_run", [comparison_run, tuning_run, hostile_run])
def test_page_draws_all_figures_and_fits_a_phone(tmp_path, make_run):
    page = write_report([make_run(tmp_path)]).path.read_text()
    measured = measure_on_phone(page, tmp_path, LIGHT)
    assert (measured["width"], measured["overflow"]) == (390, 0)
    assert measured["drawn"] == measured["plots"] == page.count("<figcaption>") >= 5
    assert measured["background"] == "rgb(255, 255, 255)"


def runs_that_are_shown_apart(folder):
    other_data = SYNTHETIC.replace("n_users: 80", "n_users: 90")
    return [trained_run(folder / "ease", "ease"), trained_run(folder / "popularity", "popularity", other_data)]


@pytest.mark.parametrize(
    ("make_runs", "colors"),
    [
        (lambda folder: [comparison_run(folder)], LIGHT),
        (lambda folder: [tuning_run(folder)], DARK),
        (lambda folder: [trained_run(folder, "svdpp")], LIGHT),
        (runs_that_are_shown_apart, DARK),
    ],
    ids=["comparison", "search", "epochs", "apart"],
)
def test_page_has_no_violations_of_accessibility_rules(tmp_path, make_runs, colors):
    package = find_spec("axe_playwright_python")
    if package is None:
        assert not os.environ.get("RECCTL_TEST_ALL"), "axe-playwright-python must be installed"
        pytest.skip("needs axe-core: pip install axe-playwright-python")
    axe = Path(package.origin).with_name("axe.min.js").read_text()
    page = write_report(make_runs(tmp_path), tmp_path / "report.html").path.read_text()
    assert measure(page, tmp_path, f"<script>{axe}</script>{AXE}", "--window-size=1280,3000", colors) == []


@pytest.mark.parametrize("width", [1280, 500])
def test_no_word_is_broken(tmp_path, width):
    (tmp_path / "events.csv").write_text(
        "user_id,item_id\n" + "".join(f"{user},{(user * step) % 30}\n" for user in range(40) for step in range(12))
    )
    titles = "".join(f"{item},Extraordinarily comfortable armchair no. {item}\n" for item in range(30))
    (tmp_path / "items.csv").write_text(f"item_id,title\n{titles}")
    run = trained_run(tmp_path, "ease", "data: {source: events.csv, items: {file: items.csv}}\n")
    page = write_report([run]).path.read_text()
    assert "armchair" in page
    assert measure(page, tmp_path, BROKEN_WORDS, f"--window-size={width},3000") == []


def test_page_follows_dark_color_scheme_and_draws_when_opened_from_disk(tmp_path):
    path = write_report([comparison_run(tmp_path)]).path
    measured = measure_on_phone(path.read_text(), tmp_path, DARK)
    assert brightness(measured["background"]) < 120
    assert brightness(measured["text"]) > 600  # of the figures
    dom, messages = open_page(path, tmp_path / "profile")
    assert not messages
    assert dom.count('class="main-svg"') >= path.read_text().count("<figcaption>")


def test_search_figures_draw_when_opened_from_disk(tmp_path):
    folder = tuning_run(tmp_path).path / "figures"
    pages = sorted(folder.glob("*.html"))
    names = {"history.html", "importances.html", "parallel.html", "slices.html"}
    assert {path.name for path in pages} == names
    for path in pages:
        dom, messages = open_page(path, tmp_path / "profile")
        assert not messages
        assert dom.count('class="main-svg"') >= path.read_text().count("<figcaption>") >= 1


def test_console_messages_are_captured(tmp_path):
    (tmp_path / "page.html").write_text("<script>nosuch()</script>")
    assert "nosuch is not defined" in open_page(tmp_path / "page.html", tmp_path / "profile")[1][0]
