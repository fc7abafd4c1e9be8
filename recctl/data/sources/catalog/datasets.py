"""The data sets that recctl knows by name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from recctl.data.columns import ITEM, RATING, TIMESTAMP, USER
from recctl.data.sources.catalog import cache
from recctl.data.sources.catalog.mirrors import Mirror, TitleFile, WebArchive, WheelMember
from recctl.data.sources.options import ReadOptions
from recctl.errors import DataError
from recctl.suggest import did_you_mean

RECORD = "source.json"
_BYTES_PER_MB = 10**6
_HOMEPAGE = "https://grouplens.org/datasets/movielens"
_LICENSE = (
    "MovieLens data belongs to GroupLens: research use only; no redistribution and no commercial or revenue-bearing "
    "use without their permission; no endorsement implied; no warranty. Publications cite Harper & Konstan 2015, The "
    "MovieLens Datasets, doi:10.1145/2827872"
)
# Names that mirrors had in earlier versions, which caches still contain.
_FORMER_MIRROR_NAMES = {"RecBole's wheel": "the RecBole package"}


@dataclass(frozen=True)
class CatalogDataset:
    """A data set that is downloaded when it is first used.

    Attributes:
        name: Its name in a config.
        rows: Number of interactions.
        users: Number of distinct users.
        items: Number of distinct items with an interaction.
        license: Summary of the terms of use.
        homepage: Web page with the full terms.
        limit: Maximum size of the unpacked archive in bytes; larger ones are rejected.
        mirrors: Where it can be downloaded from, in the order they are tried.
    """

    name: str
    rows: int
    users: int
    items: int
    license: str
    homepage: str
    limit: int
    mirrors: tuple[Mirror, ...]

    @property
    def cached(self) -> bool:
        """Whether the complete data set is in the cache."""
        return self.record() is not None

    @property
    def folder(self) -> Path:
        """Its folder in the cache, which may not exist."""
        return cache.home() / self.name

    def mirror(self, name: str) -> Mirror | None:
        """Return the mirror with this name, or None."""
        name = _FORMER_MIRROR_NAMES.get(name, name)
        return next((mirror for mirror in self.mirrors if mirror.name == name), None)

    def record(self) -> dict[str, Any] | None:
        """The provenance written by the download; None if the data set is not in the cache or is incomplete."""
        try:
            record: dict[str, Any] = json.loads((self.folder / RECORD).read_text(encoding="utf-8"))
            mirror = self.mirror(record["mirror"])
            # The size is checked at each use; hashing the file would take too long.
            if mirror is None or (self.folder / mirror.ratings).stat().st_size != record["bytes"]:
                return None
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return record


_POSITIONS = {USER: 0, ITEM: 1, RATING: 2, TIMESTAMP: 3}
_TABS = ReadOptions(format="csv", delimiter="\t", header=False, columns=_POSITIONS)
_COLONS = ReadOptions(format="csv", delimiter="::", header=False, columns=_POSITIONS)
_COMMAS = ReadOptions(format="csv", delimiter=",", header=True)

_RECBOLE = WheelMember(
    name="the RecBole package",
    requirement="recbole==1.2.1",
    archive="recbole-1.2.1-py3-none-any.whl",
    ratings="recbole/dataset_example/ml-100k/ml-100k.inter",
    options=ReadOptions(format="inter"),
    sha256="4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
    titles=TitleFile("recbole/dataset_example/ml-100k/ml-100k.item", "\t", header=True),
)


class _Size(NamedTuple):
    """The size of a MovieLens data set; items without ratings are not counted."""

    ratings: int
    users: int
    items: int


def _movielens(
    version: str,
    size: _Size,
    ratings: str,
    options: ReadOptions,
    md5: str | None,
    limit_megabytes: int,
    other_mirrors: tuple[Mirror, ...] = (),
) -> CatalogDataset:
    grouplens = WebArchive(
        name="GroupLens",
        url=f"https://files.grouplens.org/datasets/movielens/ml-{version}.zip",
        ratings=ratings,
        options=options,
        md5=md5,
        titles=_movielens_titles(ratings),
    )
    page = version if version[0].isdigit() else "latest"
    return CatalogDataset(
        name=f"movielens-{version}",
        rows=size.ratings,
        users=size.users,
        items=size.items,
        license=_LICENSE,
        homepage=f"{_HOMEPAGE}/{page}/",
        limit=limit_megabytes * _BYTES_PER_MB,
        mirrors=(grouplens, *other_mirrors),
    )


def _movielens_titles(ratings: str) -> TitleFile:
    """The file of the titles, which is in the same folder as the ratings."""
    folder, _, name = ratings.rpartition("/")
    if name == "u.data":
        return TitleFile(f"{folder}/u.item", "|", "latin-1")
    if name == "ratings.dat":
        return TitleFile(f"{folder}/movies.dat", "::", "latin-1" if folder == "ml-1m" else "utf-8")
    return TitleFile(f"{folder}/movies.csv", ",", header=True)


_ENTRIES = (
    _movielens(
        "100k",
        _Size(100_000, 943, 1_682),
        "ml-100k/u.data",
        _TABS,
        "0e33842e24a9c977be4e0107933c0723",
        limit_megabytes=100,
        other_mirrors=(_RECBOLE,),
    ),
    _movielens(
        "1m",
        _Size(1_000_209, 6_040, 3_706),
        "ml-1m/ratings.dat",
        _COLONS,
        "c4d9eecfca2ab87c1945afe126590906",
        limit_megabytes=200,
    ),
    _movielens(
        "10m",
        _Size(10_000_054, 69_878, 10_677),
        "ml-10M100K/ratings.dat",
        _COLONS,
        "ce571fd55effeba0271552578f2648bd",
        limit_megabytes=1000,
    ),
    _movielens(
        "20m",
        _Size(20_000_263, 138_493, 26_744),
        "ml-20m/ratings.csv",
        _COMMAS,
        "cd245b17a1ae2cc31bb14903e1204af3",
        limit_megabytes=3000,
    ),
    _movielens(
        "25m",
        _Size(25_000_095, 162_541, 59_047),
        "ml-25m/ratings.csv",
        _COMMAS,
        "6b51fb2759a8657d3bfcbfc42b592ada",
        limit_megabytes=3000,
    ),
    _movielens(
        "32m",
        _Size(32_000_204, 200_948, 84_432),
        "ml-32m/ratings.csv",
        _COMMAS,
        "d472be332d4daa821edc399621853b57",
        limit_megabytes=3000,
    ),
    # GroupLens updates this one from time to time: the size is that of 2018, and there is no checksum.
    _movielens(
        "latest-small",
        _Size(100_836, 610, 9_724),
        "ml-latest-small/ratings.csv",
        _COMMAS,
        None,
        limit_megabytes=100,
    ),
)


def catalog() -> list[CatalogDataset]:
    """All data sets known by name."""
    return list(_ENTRIES)


def find(name: str) -> CatalogDataset:
    """Return the data set with this name.

    Raises:
        DataError: There is no such data set.
    """
    names = [entry.name for entry in catalog()]
    if name not in names:
        raise DataError(f"data set {name!r}: not in the catalog{did_you_mean(name, names)}")
    return catalog()[names.index(name)]
