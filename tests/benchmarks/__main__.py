"""Run the benchmarks and update the tables of docs/explanation/speed.md and the README.

    python -m tests.benchmarks [NAME ...]

Each `bench_NAME.py` prints a line of JSON for each measurement. The lines are stored in `results.json`, and the tables
are generated from it: all lines in docs/explanation/speed.md, a selection in the README.
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
ALL = README.parent / "docs" / "explanation" / "speed.md"
REPOSITORY = "https://github.com/recctl/recctl/blob/main"
BEGIN = "<!-- benchmarks: begin -->"
END = "<!-- benchmarks: end -->"

# Rows of the README's table: patterns of `bench | data | peer`.
README_ROWS = [
    r"recctl (--help|train)",
    r"EASE: fit .goodbooks",
    r"evaluate: full ranking",
    r"(item-knn|user-knn|rp3beta): fit",
    r"read (CSV|Parquet) .*20M rows, int",
    r"svdpp?: (fit|the same|defaults)",
    r"ALS, (64|256) factors, 15 iterations: fit .*(irspack|one thread)$",
    r"ALS, (64|256) factors: fit to the peer's .*(irspack|one thread)$",
    r"ALS, (64|256) factors: (objective|NDCG@10) .*(irspack|one thread)$",
    r"SLIM, l1 1, l2 10",
    r"(slim|als): (recall|ndcg)@20",
    r"(ncf|lightgcn): (an )?(epoch |ranking)",
    r"(ncf|lightgcn): NDCG@10 on test",
    r"sasrec: (targets|hit rate|NDCG)",
    r"\[.* on test",
    r"tuning: (50 trials|24 trials|a trial)",
    r"model file",
    r"export: 10 best",
    r"scale: recctl train",
    r"Ray",
]


def run_benchmark(path: Path) -> list[dict[str, Any]]:
    """Run a benchmark, print its output, and return its measurements."""
    print(f"# {path.name}", flush=True)
    process = subprocess.Popen([sys.executable, str(path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    measurements = []
    for line in process.stdout:
        print(line, end="", flush=True)
        if line.startswith("{"):
            measurements.append(json.loads(line))
    if process.wait():
        sys.exit(f"{path.name} ended with exit code {process.returncode}")
    return measurements


def is_in_readme(row: dict[str, Any]) -> bool:
    """Whether the README's table has a measurement."""
    key = f"{row['bench']} |{row.get('data', '')} |{row.get('peer', '')}"
    return any(re.match(pattern, key) for pattern in README_ROWS)


def format_table(rows: list[dict[str, Any]]) -> str:
    """Format measurements as a Markdown table, with the value of the peer and the ratio if there is a peer."""
    lines = ["| benchmark | data | recctl | compared with | its value | ratio |", "|---|---|---:|---|---:|---:|"]
    for row in rows:
        unit = row.get("unit", "s")
        cells = [row["bench"], row.get("data", "")]
        cells.append(_format_number(row.get("seconds", row.get("value")), unit, row.get("spread")))
        if "peer" in row:
            peer_value = row.get("peer_seconds", row.get("peer_value"))
            cells.append(row["peer"])
            cells.append(_format_number(peer_value, unit, row.get("peer_spread")))
            cells.append(f"**{row['ratio']:.2f}**")
        else:
            cells += ["", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _format_number(value: float, unit: str, spread: float | None = None) -> str:
    if spread is not None:
        return f"{value:,.0f} ± {spread:,.0f}" if value >= 1000 else f"{value:.4f} ± {spread:.4f}"
    if value >= 1000:
        return f"{value:,.0f} {unit}"
    return f"{value:.3g} {unit}" if unit else f"{value:.4g}"


def main(names: list[str]) -> None:
    """Run these benchmarks, or all; store the results and update the tables."""
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for path in sorted(HERE.glob("bench_*.py")):
        name = path.stem.removeprefix("bench_")
        if not names or name in names:
            results[name] = run_benchmark(path)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    write_tables(results)


def write_tables(results: dict[str, list[dict[str, Any]]]) -> None:
    """Generate the tables of the README and docs/explanation/speed.md."""
    rows = [row for measurements in results.values() for row in measurements]
    replace_section(README, format_table([row for row in rows if is_in_readme(row)]))
    replace_section(ALL, format_table(rows).replace("](", f"]({REPOSITORY}/"))


def replace_section(page: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Replace the text between two marker comments of a page."""
    before, _, rest = page.read_text().partition(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")


if __name__ == "__main__":
    main(sys.argv[1:])
