"""The site is built without a warning, loads nothing from other hosts, and its search finds what readers look for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import skip_without

skip_without("mkdocs", "pip install 'recctl[docs]'")

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. Warnings of links, anchors, the navigation or docstrings would fail the build."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stderr
    assert built.stderr == ""
    return folder


@pytest.mark.parametrize(
    ("word", "page"),
    [
        ("ndcg", "reference/metrics/"),
        ("resume", "guides/tuning/"),
        ("007", "guides/data/"),
        ("AWS", "guides/data/"),
    ],
)
def test_search_finds_word_on_its_page(site: Path, word: str, page: str) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())
    separator = re.compile(index["config"]["separator"])
    found = set()
    for entry in index["docs"]:
        text = re.sub(r"<[^>]*>", " ", f"{entry['title']} {entry['text']}")
        words = separator.split(text.lower())
        if any(entry_word.startswith(word.lower()) for entry_word in words if entry_word):
            found.add(entry["location"].partition("#")[0])
    assert page in found


def test_site_loads_nothing_from_other_hosts(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        loaded = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"', page.read_text())
        loaded += re.findall(r'<link[^>]*rel="(?:stylesheet|preconnect|icon)"[^>]*href="([^"]+)"', page.read_text())
        loaded += re.findall(r'<link[^>]*href="([^"]+)"[^>]*rel="(?:stylesheet|preconnect|icon)"', page.read_text())
        assert [address for address in loaded if "//" in address] == [], page
