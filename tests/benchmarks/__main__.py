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

QUALITY_BEGIN = "<!-- quality: begin -->"
QUALITY_END = "<!-- quality: end -->"

# Rows of the README's two tables: patterns of `bench | data | peer`.
SPEED_ROWS = [
    r"item-knn: fit .goodbooks .implicit",
    r"SLIM, l1 1, l2 10, full support: fit .goodbooks .irspack",
    r"svdpp: fit, 20 factors, 20 epochs .MovieLens-100K .Surprise",
    r"lightgcn: an epoch of bpr .MovieLens-100K .RecBole",
    r"evaluate: full ranking, .*.goodbooks, .*.irspack",
]
QUALITY_ROWS = [
    r"\[LightGCN, .*: ndcg@20 on test .Gowalla, .*.the paper",
    r"\[EASE, tuned.*: ndcg@20 on test .Gowalla, .*.rerun in BARS",
    r"\[SASRec, 64 dim, .*, without refit.*: ndcg@10 on test .Beauty, leave-one-out .SASRec, ",
    r"svdpp: defaults, 5 folds, RMSE .MovieLens-100K .Surprise's table",
    r"\[User-kNN, tuned.*: ndcg@10 on test .MovieLens-100K, .*.irspack",
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


def select_rows(rows: list[dict[str, Any]], patterns: list[str]) -> list[dict[str, Any]]:
    """The measurements that match one of the patterns, in the order of the patterns."""
    keys = [f"{row['bench']} |{row.get('data', '')} |{row.get('peer', '')}" for row in rows]
    return [row for pattern in patterns for row, key in zip(rows, keys, strict=True) if re.match(pattern, key)]


def format_table(rows: list[dict[str, Any]]) -> str:
    """Format measurements as a Markdown table, with the value of the peer and the ratio if there is a peer."""
    lines = ["| benchmark | data | recctl | compared with | its value | ratio |", "|---|---|---:|---|---:|---:|"]
    for row in rows:
        unit = row.get("unit", "s")
        cells = [row["bench"], row.get("data", "")]
        cells.append(_format_number(row.get("seconds", row.get("value")), unit, row.get("spread")))
        if "peer" in row:
            peer_value = row.get("peer_seconds", row.get("peer_value"))
            cells.append(_peer_with_version(row))
            cells.append(_format_number(peer_value, unit, row.get("peer_spread")))
            cells.append(f"**{row['ratio']:.2f}**")
        else:
            cells += ["", "", ""]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _peer_with_version(row: dict[str, Any]) -> str:
    """`RecBole NeuMF` of version 1.2.1 as `RecBole 1.2.1 NeuMF`."""
    if "peer_version" not in row:
        return str(row["peer"])
    package = re.match(r"\w+", row["peer"])[0]
    return f"{package} {row['peer_version']}{row['peer'].removeprefix(package)}"


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
    replace_section(README, linked_table(select_rows(rows, SPEED_ROWS)))
    replace_section(README, linked_table(select_rows(rows, QUALITY_ROWS)), QUALITY_BEGIN, QUALITY_END)
    replace_section(ALL, linked_table(rows))


def linked_table(rows: list[dict[str, Any]]) -> str:
    """A table whose links lead to the repository from any page."""
    return format_table(rows).replace("](", f"]({REPOSITORY}/")


def replace_section(page: Path, text: str, begin: str = BEGIN, end: str = END) -> None:
    """Replace the text between two marker comments of a page."""
    before, _, rest = page.read_text().partition(begin)
    page.write_text(f"{before}{begin}\n{text}\n{end}{rest.partition(end)[2]}")


if __name__ == "__main__":
    main(sys.argv[1:])
