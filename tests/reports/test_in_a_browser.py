"""The page in a real browser: it draws, fits a narrow screen, and is dark where that is wanted."""

import json
import re
import shutil
import subprocess
from html import unescape

import pytest
from recctl.reports.render.html import to_json

from recctl.reports.report import write_report
from tests.conftest import skip_without
from tests.reports.some_runs import compared, hostile, tuned

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
skip_without(BROWSER, "Chromium: apt install chromium")

QUIET = [
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
# A frame as wide as a telephone: a window can't be that narrow.
FRAME = """<!DOCTYPE html><meta name="color-scheme" content="light dark">
<iframe style="width: 390px; height: 3000px; border: 0"></iframe>
<script type="application/json">{page}</script>
<script>
const frame = document.querySelector("iframe");
frame.onload = () => {{
  const inside = frame.contentDocument, root = inside.documentElement;
  const plots = [...inside.querySelectorAll("div.plot")];
  document.body.dataset.seen = JSON.stringify({{
    overflow: root.scrollWidth - root.clientWidth,
    width: root.clientWidth,
    plots: plots.length,
    drawn: plots.filter((plot) => plot.querySelector("svg .xy")).length,
    background: frame.contentWindow.getComputedStyle(inside.body).backgroundColor,
    text: frame.contentWindow.getComputedStyle(inside.querySelector("svg text")).fill,
  }});
}};
frame.srcdoc = JSON.parse(document.querySelector("script").textContent);
</script>
"""


def look(path, profile, *options):
    """The page's DOM after its scripts have run, and what the console said."""
    command = [BROWSER, *QUIET, *options, f"--user-data-dir={profile}", "--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, re.findall(r".*CONSOLE.*", done.stderr)


def look_through_a_frame(page, folder, *options):
    path = folder / "frame.html"
    path.write_text(FRAME.format(page=to_json(page)))
    dom, said = look(path, folder / "profile", "--window-size=800,3000", *options)
    assert not said
    return json.loads(unescape(re.search(r'data-seen="([^"]*)"', dom)[1]))


@pytest.mark.parametrize("make", [compared, tuned, hostile])
def test_a_page_draws_without_complaint_and_fits_a_telephone(tmp_path, make):
    page = write_report([make(tmp_path)]).path.read_text()
    seen = look_through_a_frame(page, tmp_path, "--blink-settings=preferredColorScheme=1")
    assert (seen["width"], seen["overflow"]) == (390, 0)
    assert seen["drawn"] == seen["plots"] == page.count("<figcaption>") >= 5
    assert seen["background"] == "rgb(255, 255, 255)"


def test_a_page_is_dark_where_that_is_wanted_and_draws_as_a_file_of_its_own(tmp_path):
    path = write_report([compared(tmp_path)]).path
    seen = look_through_a_frame(path.read_text(), tmp_path, "--blink-settings=preferredColorScheme=0")
    assert sum(map(int, re.findall(r"\d+", seen["background"]))) < 120
    assert sum(map(int, re.findall(r"\d+", seen["text"]))) > 600  # the figures' too
    dom, said = look(path, tmp_path / "profile")
    assert not said
    assert dom.count('class="main-svg"') >= path.read_text().count("<figcaption>")


def test_complaints_of_a_page_are_heard(tmp_path):
    (tmp_path / "page.html").write_text("<script>nosuch()</script>")
    assert "nosuch is not defined" in look(tmp_path / "page.html", tmp_path / "profile")[1][0]
