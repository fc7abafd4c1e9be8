"""Generated text files are read as an independent reader reads them, or are refused with the place."""

from __future__ import annotations

import csv
import gzip
import io
import random
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from recctl import progress
from recctl.data.sources import ReadOptions, read_source
from recctl.errors import DataError
from tests.conftest import TEST_ALL

N_FILES = 2000 if TEST_ALL else 500
N_GROUPS = 5

_NAMES = {"user_id": "customer", "item_id": "sku", "rating": "grade", "timestamp": "moment", "title": "about"}
_PLAIN_INTEGER = re.compile(r"-?(0|[1-9][0-9]*)")
_ID_KINDS = ("int", "int", "padded_int", "leading_zero", "hex", "float", "text", "unicode", "mixed")
_TIME_KINDS = ("int", "int", "float", "iso", "day_first")
_DAY_FIRST = "%d.%m.%Y %H:%M"


@dataclass
class Layout:
    """How a generated file is written."""

    delimiter: str
    quoting: bool
    quote_all: bool
    encoding: str
    line_end: str
    header: bool
    decimal: str
    comment: str | None
    skip_lines: int
    blank_lines: bool
    columns: list[str]
    id_kinds: dict[str, str]
    time_kind: str
    n_rows: int
    n_parts: int
    compress: bool
    options: dict[str, Any] = field(default_factory=dict)


def make_layout(rng: random.Random) -> Layout:
    delimiter = rng.choice([",", ",", ",", "\t", ";", "|", "::", "whitespace"])
    columns = ["user_id", "item_id"]
    columns += [role for role in ("rating", "timestamp", "title") if rng.random() < 0.6]
    rng.shuffle(columns)
    id_kinds = {"user_id": rng.choice(_ID_KINDS), "item_id": rng.choice(_ID_KINDS)}
    quoting = delimiter != "whitespace" and len(delimiter) == 1 and rng.random() < 0.7
    decimal = "," if delimiter != "," and rng.random() < 0.2 else "."
    layout = Layout(
        delimiter=delimiter,
        quoting=quoting,
        quote_all=quoting and rng.random() < 0.3,
        encoding=rng.choice(["utf-8", "utf-8", "utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"]),
        line_end=rng.choice(["\n", "\n", "\r\n"]),
        header=rng.random() < 0.7,
        decimal=decimal,
        comment="%" if rng.random() < 0.2 else None,
        skip_lines=rng.choice([0, 0, 0, 0, 2]),
        blank_lines=rng.random() < 0.2,
        columns=columns,
        id_kinds=id_kinds,
        time_kind=rng.choice(_TIME_KINDS),
        n_rows=rng.choice([1, 3, 20, 20, 60, 60, 350]),
        n_parts=rng.choice([1, 1, 1, 1, 2, 3]),
        compress=rng.random() < 0.1,
    )
    # Words of whitespace-separated rows hold no spaces.
    if delimiter == "whitespace":
        layout.columns = [column for column in columns if column != "title"]
        layout.time_kind = "iso" if layout.time_kind == "day_first" else layout.time_kind
        layout.id_kinds = {role: "int" if kind == "padded_int" else kind for role, kind in id_kinds.items()}
    layout.options = make_options(layout)
    return layout


def make_options(layout: Layout) -> dict[str, Any]:
    keys: list[Any] = layout.columns
    mapping = {
        role: _NAMES[role] if layout.header else keys.index(role)
        for role in ("user_id", "item_id", "rating", "timestamp")
        if role in keys
    }
    mapping |= {role: None for role in ("rating", "timestamp") if role not in keys}
    options = {
        "format": "csv",
        "delimiter": layout.delimiter,
        "quoting": layout.quoting,
        "encoding": layout.encoding,
        "decimal": layout.decimal,
        "header": layout.header,
        "skip_lines": layout.skip_lines,
        "comment": layout.comment,
        "columns": mapping,
    }
    if "timestamp" in keys and layout.time_kind == "day_first":
        options["timestamp_format"] = _DAY_FIRST
    return options


def make_id(rng: random.Random, kind: str, is_odd: bool) -> str:
    number = rng.randrange(40)
    if kind == "int" or (kind != "text" and kind != "unicode" and not is_odd):
        return str(number - 2)
    if kind == "padded_int":
        return f" {number} "
    if kind == "leading_zero":
        return f"0{number}"
    if kind == "hex":
        return f"0x{number}"
    if kind == "float":
        return f"{number}.0"
    if kind == "unicode":
        return rng.choice(["José", "Zoë", "naïve", "x", "ß"]) + str(number)
    if kind == "mixed":
        return rng.choice(["x1", "+5", "1_000", "1e3", "1.5", "--1", "NaN5"])
    return "u" + str(number)


def make_title(rng: random.Random, layout: Layout) -> str:
    words = ["the", "long", "title", "part 3", "1", "5.0"]
    if layout.quoting:
        words += [layout.delimiter, '"quoted"', "two\nlines", "a, b; c | d"]
    else:
        words += ['6" nails', '"open', 'close"']
    return " ".join(rng.choice(words) for _ in range(rng.randint(1, 4)))


def make_cell(rng: random.Random, layout: Layout, role: str) -> str:
    if role in layout.id_kinds:
        return make_id(rng, layout.id_kinds[role], rng.random() < 0.1)
    if role == "rating":
        return rng.choice(["1", "2.5", "4.0", "0.5", "5", "1e0"]).replace(".", layout.decimal)
    if role == "title":
        return make_title(rng, layout)
    seconds = 1_577_836_800 + 60 * rng.randrange(500_000)
    if layout.time_kind == "int":
        return str(seconds)
    if layout.time_kind == "float":
        return f"{seconds}.5".replace(".", layout.decimal)
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment.strftime(_DAY_FIRST if layout.time_kind == "day_first" else "%Y-%m-%dT%H:%M:%S")


def write_cell(rng: random.Random, layout: Layout, cell: str) -> str:
    special = (layout.delimiter, '"', "\n", "\r")
    if layout.quoting and (layout.quote_all or any(text in cell for text in special)):
        return '"' + cell.replace('"', '""') + '"'
    return cell


def write_part(rng: random.Random, layout: Layout, rows: list[list[str]]) -> bytes:
    lines = []
    records = [[_NAMES[role] for role in layout.columns], *rows] if layout.header else rows
    for number, record in enumerate(records):
        if layout.comment and rng.random() < 0.05:
            lines.append(f"{layout.comment} a remark, with {layout.delimiter} in it")
        if layout.blank_lines and number and rng.random() < 0.05:
            lines.append("")
        delimiter = layout.delimiter
        if delimiter == "whitespace":
            delimiter = rng.choice([" ", "  ", "\t", " \t"])
        lines.append(delimiter.join(write_cell(rng, layout, cell) for cell in record))
    preamble = ["Report, of 2020; all | rows", "x"][: layout.skip_lines]
    text = layout.line_end.join(preamble + lines)
    if rng.random() < 0.8:
        text += layout.line_end
    return text.encode(layout.encoding)


def read_independently(content: bytes, layout: Layout) -> list[dict[str, str]]:
    """The cells of each row by role, as Python's csv module or str.split read them."""
    text = content.decode(layout.encoding)
    lines = text.splitlines(keepends=True)[layout.skip_lines :]
    if layout.comment:
        lines = [line for line in lines if not line.startswith(layout.comment)]
    if layout.delimiter == "whitespace":
        records = [line.split() for line in lines]
    elif len(layout.delimiter) > 1:
        records = [line.rstrip("\r\n").split(layout.delimiter) for line in lines if line.strip()]
    else:
        quoting = csv.QUOTE_MINIMAL if layout.quoting else csv.QUOTE_NONE
        stream = io.StringIO("".join(lines), newline="")
        records = list(csv.reader(stream, delimiter=layout.delimiter, quoting=quoting))
    records = [record for record in records if record]
    if layout.header:
        records = records[1:]
    return [dict(zip(layout.columns, record, strict=True)) for record in records]


def parse_ids(cells: list[str]) -> list[Any]:
    stripped = [cell.strip() for cell in cells]
    without_fraction = [cell.removesuffix(".0") for cell in stripped]
    if all(_PLAIN_INTEGER.fullmatch(cell) for cell in without_fraction):
        return [int(cell) for cell in without_fraction]
    return stripped


def parse_time(cell: str, layout: Layout) -> float:
    if layout.time_kind in ("int", "float"):
        return float(cell.replace(layout.decimal, "."))
    if layout.time_kind == "day_first":
        return datetime.strptime(cell, _DAY_FIRST).replace(tzinfo=UTC).timestamp()
    return datetime.fromisoformat(cell).replace(tzinfo=UTC).timestamp()


def expected_columns(rows: list[dict[str, str]], layout: Layout) -> dict[str, list[Any]]:
    columns: dict[str, list[Any]] = {
        "user_id": parse_ids([row["user_id"] for row in rows]),
        "item_id": parse_ids([row["item_id"] for row in rows]),
    }
    if "rating" in layout.columns:
        columns["rating"] = [float(row["rating"].replace(layout.decimal, ".")) for row in rows]
    if "timestamp" in layout.columns:
        columns["timestamp"] = [parse_time(row["timestamp"], layout) for row in rows]
    return columns


def generate(seed: int, folder: Path) -> tuple[str, Layout, dict[str, list[Any]]]:
    """Write the files of a seed; returns the source, its layout, and the rows that must be read from it."""
    rng = random.Random(seed)
    layout = make_layout(rng)
    suffix = ".csv.gz" if layout.compress else ".csv"
    folder = folder / str(seed)
    folder.mkdir()
    rows: list[dict[str, str]] = []
    for part in range(layout.n_parts):
        cells = [[make_cell(rng, layout, role) for role in layout.columns] for _ in range(layout.n_rows)]
        content = write_part(rng, layout, cells)
        rows += read_independently(content, layout)
        path = folder / f"part-{part}{suffix}"
        path.write_bytes(gzip.compress(content) if layout.compress else content)
    source = folder if layout.n_parts > 1 else folder / f"part-0{suffix}"
    return str(source), layout, expected_columns(rows, layout)


@pytest.mark.parametrize("group", range(N_GROUPS))
def test_generated_files_are_read_as_by_the_csv_module_or_refused_with_the_row(group: int, tmp_path: Path) -> None:
    n_refused = 0
    seeds = range(group, N_FILES, N_GROUPS)
    for seed in seeds:
        source, layout, expected = generate(seed, tmp_path)
        try:
            with progress.silence():
                frame = read_source(source, ReadOptions(**layout.options)).frame
        except DataError as error:
            has_place = re.search(r"(row|line) \d", str(error))
            if not has_place:
                raise
            n_refused += 1
            continue
        found = {name: frame[name].tolist() for name in frame}
        assert found == expected, f"seed {seed}: {layout}"
    assert n_refused <= 0.02 * len(seeds)
