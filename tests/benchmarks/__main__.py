"""Run the benchmarks and write their figures into docs/speed.md: `python -m tests.benchmarks [NAME ...]`.

Each `bench_NAME.py` prints a line of JSON for each measurement. They are kept in `results.json` beside this file, from
which the tables there and of the README, which has some of them, are made, so that no figure there was typed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS = HERE / "results.json"
README = HERE.parents[1] / "README.md"
ALL = README.parent / "docs" / "speed.md"
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"

# What the README has: patterns of `what | data | against`.
SHOWN = [
    r"recctl (--help|train)",
    r"EASE: fit .goodbooks",
    r"evaluate: full ranking",
    r"item-knn: fit",
    r"read (CSV|Parquet) .20M rows, int",
    r"svdpp?: (fit|the same|defaults)",
    r"ALS, (64|256) factors, 15 iterations: fit .*(irspack|one thread)$",
    r"ALS, (64|256) factors: fit to the peer's .*(irspack|one thread)$",
    r"ALS, (64|256) factors: (objective|NDCG@10) .*(irspack|one thread)$",
    r"SLIM, l1 1, l2 10",
    r"(slim|als): (recall|ndcg)@20",
    r"(ncf|lightgcn): (an )?(epoch|ranking)",
    r"(ncf|lightgcn): NDCG@10 on test",
    r"sasrec: (targets|hit rate|NDCG)",
    r"\[.* on test",
    r"tuning: (50 trials|24 trials|a trial)",
    r"model file",
    r"export: 10 best",
    r"scale: recctl train",
    r"Ray",
]


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


def is_shown(row: dict[str, Any]) -> bool:
    """Whether the README has a measurement."""
    what = f"{row['bench']} |{row.get('data', '')} |{row.get('peer', '')}"
    return any(re.match(pattern, what) for pattern in SHOWN)


def table(rows: list[dict[str, Any]]) -> str:
    """Measurements as a Markdown table: ours, the peer's where there is one, and their ratio."""
    lines = ["| what | data | recctl | against | there | recctl / there |", "|---|---|---:|---|---:|---:|"]
    for row in rows:
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
    rows = [row for found in results.values() for row in found]
    write(README, table([row for row in rows if is_shown(row)]))
    write(ALL, table(rows).replace("](", "](../"))


def write(page: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Put a text between the marks of a page."""
    head, _, rest = page.read_text().partition(begin)
    page.write_text(f"{head}{begin}\n{text}\n{end}{rest.partition(end)[2]}")


if __name__ == "__main__":
    main(sys.argv[1:])
