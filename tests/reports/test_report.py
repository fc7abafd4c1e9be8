"""`recctl report`: one page, or tables, of what runs came to."""

import re
from html import unescape
from pathlib import Path


def train(recctl, *options):
    return Path(recctl("train", "small.yaml", "-q", "--json", *options).json["path"])


def text_of(page: str) -> str:
    """What a page says, without scripts and markup."""
    return unescape(re.sub(r"<[^>]+>", " ", re.sub(r"(?s)<(script|style).*?</\1>", " ", page)))


def test_a_report_is_one_page_that_loads_nothing(recctl):
    run = train(recctl)
    done = recctl("report", run.name)
    assert done.code == 0, done.err
    page = (run / "report.html").read_text()
    assert len(page) < 8_000_000
    assert page.count("plotly.js v") == 1
    assert not re.search(r"""<(script|img|link|iframe)[^>]+(src|href)=""", page)
    assert "Trade-offs over k" in text_of(page)
