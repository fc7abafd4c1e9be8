"""Detecting the format of a file from its first bytes and its name, and refusing formats that are not read.

Content decides before the name. What remains is delimited text, whose reader refuses what is no table.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

from recctl.data.sources.options import Format
from recctl.data.sources.readers import arrow, parquet
from recctl.data.sources.readers.compression import ReadableStream, open_decompressed, uncompressed_name
from recctl.errors import DataError

_SAMPLE_BYTES = 1 << 16
_UTF8_BOM = b"\xef\xbb\xbf"

_PARQUET_SUFFIXES = (".parquet", ".pq", ".parq")
_ARROW_SUFFIXES = (".arrow", ".feather", ".ipc", ".arrows")
_JSON_LINES_SUFFIXES = (".jsonl", ".ndjson", ".jsonlines")

_AS_CSV = "export its table as CSV or Parquet"
_QUERY_IT = "query it with data.source.sql and data.source.url:"
_WITH_PANDAS = "read it with Python and save the table by pandas' DataFrame.to_parquet"
_UNPACK = "unpack it and use the file with the interactions"
_EXCEL = "an Excel workbook; export the sheet with the interactions as CSV"
_SPREADSHEET = "an OpenDocument spreadsheet; export the sheet with the interactions as CSV"

# The first bytes of formats that are not read -> what they are, and what to do.
_FOREIGN_MAGIC = {
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": f"an old Excel or other Office file; {_AS_CSV}",
    b"SQLite format 3\0": f"an SQLite database; {_QUERY_IT} sqlite:///FILE",
    b"\x89HDF\r\n\x1a\n": f"an HDF5 file; {_WITH_PANDAS}",
    b"\x93NUMPY": f"a NumPy array; {_WITH_PANDAS}",
    b"Obj\x01": f"an Avro file; {_WITH_PANDAS}",
    b"%PDF-": f"a PDF document; {_AS_CSV}",
    b"7z\xbc\xaf\x27\x1c": f"a 7z archive; {_UNPACK}",
    b"Rar!\x1a\x07": f"a RAR archive; {_UNPACK}",
    b"FEA1": "a Feather file of version 1; save it again in version 2: pyarrow.feather.write_feather(table, FILE)",
    b"MATLAB 5.0": f"a MATLAB file; {_AS_CSV}",
    b"RDX2\n": f"an R data file; {_AS_CSV}, by write.csv",
    b"RDX3\n": f"an R data file; {_AS_CSV}, by write.csv",
    b"$FL2": f"an SPSS file; {_AS_CSV}",
    b"<stata_dta>": f"a Stata file; {_AS_CSV}",
    b"\x04\x22\x4d\x18": "compressed by LZ4; decompress it first: lz4 -d FILE",
    b"\xff\x06\x00\x00sNaPpY": "compressed by Snappy; decompress it first",
    b"\x1f\x9d": "compressed by compress; decompress it first: gunzip FILE",
    b"\x89PNG": "a picture, not a table of interactions",
    b"\xff\xd8\xff": "a picture, not a table of interactions",
    b"GIF8": "a picture, not a table of interactions",
}
_PICKLE = re.compile(rb"\x80[\x02-\x05]")
_ORC_MAGIC = b"ORC"
_TAR_MAGIC = b"ustar"
_TAR_MAGIC_OFFSET = 257
_DUCKDB_MAGIC = b"DUCK"
_DUCKDB_MAGIC_OFFSET = 8
_ZIP_MAGIC = b"PK\x03\x04"
_HTML = re.compile(rb"(<!--.*?-->\s*)*<(!doctype\s+html|html|head|body|table)\b", re.IGNORECASE | re.DOTALL)
_PYTHON_DICT = re.compile(rb"\{\s*u?'[^'\n]*'\s*:")
_XML = re.compile(rb"<\?xml\b", re.IGNORECASE)


def detect_format(path: Path) -> Format:
    """The format of a file, compressed or not.

    Raises:
        DataError: The file is in a format that is not read; the message says what to do. Or it can't be opened.
    """
    with path.open("rb") as file:
        start = file.read(_SAMPLE_BYTES)
    if start.startswith(_ZIP_MAGIC):
        _refuse_documents(path)
    elif start:
        found = _from_magic(start, path)
        if found:
            return found
    with open_decompressed(path) as stream:
        sample = _read_sample(stream)
    found = _from_magic(sample, path)
    if found:
        return found
    name = uncompressed_name(path)
    if name.endswith(_PARQUET_SUFFIXES):
        return "parquet"
    if name.endswith(_ARROW_SUFFIXES):
        return "arrow"
    return _text_format(sample, name, path.name)


def _read_sample(stream: ReadableStream) -> bytes:
    sample = b""
    while len(sample) < _SAMPLE_BYTES:  # a decompressor may return less than requested
        block = stream.read(_SAMPLE_BYTES - len(sample))
        if not block:
            break
        sample += bytes(block)
    return sample


def _from_magic(sample: bytes, path: Path) -> Format | None:
    """The format that the first bytes show; None if they show none."""
    if sample.startswith(parquet.MAGIC):
        return "parquet"
    if sample.startswith((arrow.FILE_MAGIC, arrow.STREAM_MAGIC)):
        return "arrow"
    for magic, explanation in _FOREIGN_MAGIC.items():
        if sample.startswith(magic):
            raise _foreign(path, explanation)
    if _PICKLE.match(sample):
        raise _foreign(path, f"a pickle; {_WITH_PANDAS}")
    if sample.startswith(_ORC_MAGIC) and (b"\0" in sample or path.name.lower().endswith(".orc")):
        raise _foreign(path, f"an ORC file; {_WITH_PANDAS}")
    if sample[_TAR_MAGIC_OFFSET:].startswith(_TAR_MAGIC):
        raise _foreign(path, f"a tar archive; {_UNPACK}")
    if sample[_DUCKDB_MAGIC_OFFSET:].startswith(_DUCKDB_MAGIC):
        raise _foreign(path, f"a DuckDB database; {_QUERY_IT} duckdb:///FILE")
    return None


def _refuse_documents(path: Path) -> None:
    """Refuse documents that are zip archives inside. Archives of tables are left to `open_decompressed`."""
    import zipfile

    from recctl.data.sources.catalog.unzip import ARCHIVE_ERRORS

    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            mimetype = archive.read("mimetype")[:100] if "mimetype" in names else b""
    except ARCHIVE_ERRORS:
        return  # it is damaged; the reader says so
    if b"opendocument" in mimetype:
        raise _foreign(path, _SPREADSHEET)
    if "[Content_Types].xml" in names:
        raise _foreign(path, _EXCEL)
    if names and all(name.endswith(".npy") for name in names):
        raise _foreign(path, f"an archive of NumPy arrays; {_WITH_PANDAS}")


def _text_format(sample: bytes, name: str, source: str) -> Format:
    """The format of a text file."""
    text = sample.removeprefix(_UTF8_BOM).lstrip()
    if _HTML.match(text):
        raise DataError(f"{source}: is an HTML page, perhaps of a failed download; open it in a browser to see")
    if _XML.match(text):
        raise DataError(f"{source}: is an XML file; {_AS_CSV}")
    if _PYTHON_DICT.match(text):
        raise DataError(
            f"{source}: is written as Python dictionaries, not as JSON; convert it: python -c 'import ast, json, sys; "
            f"[print(json.dumps(ast.literal_eval(line))) for line in sys.stdin]' < {source} > rows.jsonl"
        )
    if name.endswith(_JSON_LINES_SUFFIXES):
        if text.startswith(b"["):
            raise _json_array(source)
        return "json_lines"
    if name.endswith(".json") or _is_json(text):
        return _json_format(text, len(sample) == _SAMPLE_BYTES, source)
    return "inter" if name.endswith(".inter") else "csv"


def _is_json(text: bytes) -> bool:
    """Whether a text begins like an object with a key, or like an array of objects or arrays."""
    return re.match(rb'\{\s*("|\})|\[\s*[\[{]', text) is not None


def _json_format(text: bytes, is_cut: bool, source: str) -> Format:
    """JSON lines, if the first line is an object."""
    if text.startswith(b"["):
        raise _json_array(source)
    first_line, newline, _ = text.partition(b"\n")
    if not newline and is_cut:
        # A first line longer than the sample: a row with a long text, or a document on one line. The reader tells.
        return "json_lines"
    try:
        value = json.loads(first_line)
    except (ValueError, RecursionError):
        value = None
    if isinstance(value, dict):
        return "json_lines"
    if text.startswith(b"{"):
        raise DataError(
            f"{source}: is a JSON document over several lines; JSON is read with one object a line, one for each "
            f"interaction. If the objects follow each other, write them so: jq -c . {source} > rows.jsonl"
        )
    raise DataError(f"{source}: is not JSON with one object a line; if it is another format, set data.format, e.g. csv")


def _json_array(source: str) -> DataError:
    return DataError(
        f"{source}: is a JSON array; JSON is read with one object a line: jq -c '.[]' {source} > rows.jsonl, or "
        "frame.to_json('rows.jsonl', orient='records', lines=True) in pandas"
    )


def _foreign(path: Path, explanation: str) -> DataError:
    return DataError(f"{path.name}: is {explanation}")
