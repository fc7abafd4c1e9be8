"""Item titles are read if the data set has them; missing titles are never an error."""

import json

import pytest

from recctl.data.sources import item_titles
from recctl.data.sources.catalog.datasets import RECORD, find


def place_in_cache(name, mirror_name, text, encoding="utf-8"):
    """Put a data set into the cache, as a download does."""
    entry = find(name)
    mirror = entry.mirror(mirror_name)
    ratings, titles = entry.folder / mirror.ratings, entry.folder / mirror.titles.path
    for path in (ratings, titles):
        path.parent.mkdir(parents=True, exist_ok=True)
    ratings.write_text("1\t1\t5\t0\n")
    if text is not None:
        titles.write_bytes(text.encode(encoding))
    record = {"mirror": mirror_name, "bytes": ratings.stat().st_size}
    (entry.folder / RECORD).write_text(json.dumps(record))


@pytest.mark.parametrize(
    ("name", "mirror", "text", "encoding"),
    [
        ("movielens-100k", "GroupLens", "1|Misérables, Les (1995)|01-Jan-1995\n2|GoldenEye|x\n", "latin-1"),
        (
            "movielens-100k",
            "the RecBole package",
            "id\ttitle\tyear\n1\tMisérables, Les (1995)\t95\n2\tGoldenEye\t95\n",
            "utf-8",
        ),
        ("movielens-1m", "GroupLens", "1::Misérables, Les (1995)::Drama\n2::GoldenEye::Action\n", "latin-1"),
        (
            "movielens-25m",
            "GroupLens",
            'movieId,title,genres\r\n1,"Misérables, Les (1995)",Drama\r\n2,GoldenEye,x\r\n',
            "utf-8",
        ),
    ],
)
def test_titles_are_read_from_the_cache(name, mirror, text, encoding):
    place_in_cache(name, mirror, text, encoding)
    assert item_titles(name) == {1: "Misérables, Les (1995)", 2: "GoldenEye"}


@pytest.mark.parametrize("text", [None, "no number\tTitle\nx\ty\n", "\x00"])
def test_unreadable_titles_give_an_empty_result(text):
    place_in_cache("movielens-100k", "the RecBole package", text)
    assert item_titles("movielens-100k") == {}


def test_uncached_or_unknown_data_sets_have_no_titles():
    assert item_titles("movielens-1m") == item_titles("some/file.csv") == item_titles("synthetic") == {}


def test_mirror_name_of_an_earlier_version_is_still_found():
    place_in_cache("movielens-100k", "RecBole's wheel", "id\ttitle\n1\tGoldenEye\n")
    assert item_titles("movielens-100k") == {1: "GoldenEye"}
