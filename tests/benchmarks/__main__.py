"""Run the benchmarks and write their figures into the README: `python -m tests.benchmarks [NAME ...]`.

Each `bench_NAME.py` prints a line of JSON for each measurement. They are kept in `results.json` beside this file, from
which the tables of the README are made, so that no figure there was typed.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
README = HERE.parents[1] / "README.md"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def measure(path: Path) -> list[dict[str, Any]]:
    """Run one benchmark, showing what it prints, and give its measurements."""
    print(f"# {path.name}", flush=True)
    process = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    found = []
    for line in process.stdout:
        print(line, end="", flush=True)
        if line.startswith("{"):
            found.append(json.loads(line))
    if process.wait():
        sys.exit(f"{path.name} ended with exit code {process.returncode}")
    return found


def table(results: dict[str, list[dict[str, Any]]]) -> str:
    """The measurements as a Markdown table: ours, the peer's where there is one, and their ratio."""
    lines = ["| what | data | recctl | against | there | recctl / there |", "|---|---|---:|---|---:|---:|"]
    for row in (row for rows in results.values() for row in rows):
        unit = row.get("unit", "s")
        cells = [
            row["bench"],
            row.get("data", ""),
            _number(row.get("seconds", row.get("value")), unit, row.get("spread")),
        ]
        if "peer" in row:
            theirs = row.get("peer_seconds", row.get("peer_value"))
            cells += [row["peer"], _number(theirs, unit, row.get("peer_spread")), f"**{row['ratio']:.2f}**"]
        else:
            cells += ["", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _number(value: float, unit: str, spread: float | None = None) -> str:
    if spread is not None:
        return f"{value:,.0f} ± {spread:,.0f}" if value >= 1000 else f"{value:.4f} ± {spread:.4f}"
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3g} {unit}" if unit else f"{value:.4g}"


def main(names: list[str]) -> None:
    """Measure, keep, and renew the README's table."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for path in sorted(HERE.glob("bench_*.py")):
        name = path.stem.removeprefix("bench_")
        if not names or name in names:
            results[name] = measure(path)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    head, _, rest = README.read_text().partition(BEGIN)
    README.write_text(f"{head}{BEGIN}\n{table(results)}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main(sys.argv[1:])
