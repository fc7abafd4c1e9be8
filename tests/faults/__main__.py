"""Inject faults into commands and report losses.

python -m tests.faults                      all faults
python -m tests.faults kill:tune:17 ...     these faults; a prefix selects all faults that start with it
python -m tests.faults --write              all faults, and write the table of docs/explanation/faults.md
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.faults.checks import LossError
from tests.faults.harness import Harness

DOCS = Path(__file__).parents[2] / "docs" / "explanation" / "faults.md"
_TABLE_BEGIN = "<!-- table -->\n"
_TABLE_END = "<!-- end of table -->\n"

# Description of each kind of fault, in the order of the table.
DESCRIPTIONS = {
    "kill": "`kill -9` before a file operation: open, write, sync, rename, link, delete, commit",
    "torn": "`kill -9` after half of a write, or right after another operation",
    "fresh-process": "`kill -9` before a file operation, in a process that is not forked",
    "kill-any-time": "`kill -9` at a random time",
    "full": "no space left, from one operation on",
    "full-once": "no space left, for one operation",
    "disk-full": "a disk with 4 to 160 kB of free space",
    "file-limit": "a file size limit of 1 to 40 kB",
    "error": "an input/output error of one operation",
    "dead-disk": "input/output errors of all operations from one on",
    "read-only": "a file system that becomes read-only",
    "forbidden": "permission denied, from one operation on",
    "folder-read-only": "a user with read permission only",
    "term": "SIGTERM before a file operation",
    "term-any-time": "SIGTERM at a random time",
    "int": "Ctrl-C before a file operation",
    "int-any-time": "Ctrl-C at a random time",
    "clock": "the clock jumps back by a day",
    "two-at-once": "the same command twice at the same time",
    "two-resumes": "two processes resume the same run",
    "concurrent-writes": "three evaluations and three tags of one run at the same time",
    "many-at-once": "50 trainings at the same time in one folder",
    "damage": "a file of a run is truncated, emptied, changed in one bit, zeroed, replaced, or deleted",
    "source": "a source file is truncated, emptied, changed, zeroed, replaced, or deleted, before or during training",
    "server": "a server stalls, disconnects, sends a wrong length, an HTML page, another archive, or an error",
    "worker-dies": "a worker process of `tune --jobs 2` is killed",
    "database": "PostgreSQL restarts during a search",
    "ray": "a Ray node or a Ray worker is killed during `tune`",
}


def main() -> int:
    """Inject faults; returns 1 if there was a loss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="names of faults; default: all")
    parser.add_argument("--write", action="store_true", help="write the table of docs/explanation/faults.md")
    options = parser.parse_args()
    n_faults: Counter[str] = Counter()
    n_losses: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="recctl-faults-") as folder, Harness(Path(folder) / "arena") as harness:
        begin = time.monotonic()
        for name in _select_names(harness, options.names):
            kind = name.partition(":")[0]
            n_faults[kind] += 1
            try:
                harness.inject(name)
            except Exception as error:
                n_losses[kind] += 1
                message = str(error) if isinstance(error, LossError) else repr(error)
                print(f"\n{name}: {message}\nrepeat: python -m tests.faults {name}", flush=True)
            if n_faults.total() % 50 == 0:
                seconds = time.monotonic() - begin
                print(f"{n_faults.total()} faults, {n_losses.total()} losses, {seconds:.0f} s", flush=True)
    table = _format_table(n_faults, n_losses)
    print(f"\n{table}\n{n_faults.total()} faults, {n_losses.total()} losses")
    if options.write:
        before, _, rest = DOCS.read_text(encoding="utf-8").partition(_TABLE_BEGIN)
        after = rest.partition(_TABLE_END)[2]
        DOCS.write_text(before + _TABLE_BEGIN + table + _TABLE_END + after, encoding="utf-8")
    return int(n_losses.total() > 0)


def _select_names(harness: Harness, names: list[str]) -> list[str]:
    # Complete names need no list of all faults, for which every scenario would have to run first.
    if names and all(":" in name and name[-1].isdigit() for name in names):
        return names
    return [name for name in harness.names() if not names or name.startswith(tuple(names))]


def _format_table(n_faults: Counter[str], n_losses: Counter[str]) -> str:
    lines = ["| kind | fault | number | losses |", "|---|---|---:|---:|"]
    for kind, description in DESCRIPTIONS.items():
        if n_faults[kind]:
            lines.append(f"| {kind} | {description} | {n_faults[kind]} | {n_losses[kind]} |")
    lines.append(f"| | all | {n_faults.total()} | {n_losses.total()} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
