"""Exported tables are read by DuckDB and Polars, with ids in their types."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from tests.clients.guide import Exports
from tests.conftest import skip_without

HEADING = "Tables: DuckDB, Polars, databases"

skip_without("duckdb", "recctl[sql]")
skip_without("polars", "recctl[polars]")


@pytest.mark.parametrize("text", [False, True], ids=["integers", "text"])
@pytest.mark.parametrize("client", ["duckdb", "polars"])
def test_table_has_the_recommendations_of_recctl(client: str, text: bool, recctl: Any) -> None:
    exports = Exports(recctl, text)
    exports.export(HEADING)
    assert exports.run_python(HEADING, client) == exports.recommended()


TEXT = "{'user_id': 'VARCHAR', 'item_id': 'VARCHAR'}"
READERS = {
    "duckdb csv": f"""duckdb.sql("from read_csv('FILE', types={TEXT})").fetchall()""",
    "duckdb jsonl": """duckdb.sql("from read_json('FILE')").fetchall()""",
    "polars csv": "polars.read_csv('FILE', schema_overrides={'user_id': str, 'item_id': str}).rows()",
    "polars jsonl": "polars.read_ndjson('FILE').rows()",
    "pandas csv": "pandas.read_csv('FILE', dtype={'user_id': str, 'item_id': str}).values.tolist()",
    "pandas jsonl": "pandas.read_json('FILE', lines=True, dtype=False).values.tolist()",
}


def test_text_ids_with_zeros_stay_text_in_each_file_format(recctl: Any) -> None:
    exports = Exports(recctl, text=True)
    for file_format in ("csv", "jsonl"):
        arguments = ["--format", "recommendations", "--file-format", file_format, "-o", file_format]
        assert recctl("export", "latest", *arguments).code == 0
    lines = ["import sys", "sys.modules['recctl'] = None", "import duckdb, pandas, polars"]
    for name, code in READERS.items():
        file = f"{name.split()[1]}/recommendations.{name.split()[1]}"
        lines.append(f"rows = {code.replace('FILE', file)}")
        lines.append("print([row[1] for row in rows if row[0] == '0196'])")
    done = subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [str(exports.recommended())] * len(READERS)
