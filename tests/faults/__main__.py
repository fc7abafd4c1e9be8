"""Hurt the command line some hundred times, and tell what came of it.

python -m tests.faults                      all faults
python -m tests.faults kill:tune:17 ...     these again; a name's beginning means all that begin so
python -m tests.faults --write              all, and the table of docs/faults.md
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

DOCS = Path(__file__).parents[2] / "docs" / "faults.md"
_BEGIN, _END = "<!-- table -->\n", "<!-- end of table -->\n"

# What the kinds are, in the order of the table.
MEANING = {
    "kill": "`kill -9` before a change of a file: opening, writing, syncing, renaming, linking, deleting, committing",
    "torn": "`kill -9` with half of a write done, or right after another change",
    "anew": "`kill -9` before a change, in a process of its own",
    "kill-any-time": "`kill -9` at a random time",
    "full": "no space left, from a change on",
    "full-once": "no space left, for one change",
    "disk-full": "a disk on which 4 to 160 kB are left",
    "file-limit": "no file may grow over 1 to 40 kB",
    "error": "an input/output error of one change",
    "dead-disk": "an input/output error of every change from one on",
    "read-only": "a file system that becomes read-only",
    "forbidden": "permission denied, from a change on",
    "folder-read-only": "a user who may only read",
    "term": "SIGTERM before a change",
    "term-any-time": "SIGTERM at a random time",
    "int": "Ctrl-C before a change",
    "int-any-time": "Ctrl-C at a random time",
    "clock": "the clock goes back a day",
    "two-at-once": "the same command twice at once",
    "both-go-on": "two processes go on with one run",
    "figures-at-once": "three evaluations and three tags of one run at once",
    "crowd": "50 trainings at once in one folder",
    "damage": "a file of a run is cut, emptied, changed in one bit, zeroed, replaced, or gone",
    "source": "a source is cut, emptied, changed, zeroed, replaced, or gone, before a training or on the way",
    "server": "a server stalls, breaks off, lies about lengths, sends a web page, another archive, or an error",
    "worker-dies": "a worker process of `tune --jobs 2` is killed",
    "database": "PostgreSQL restarts in mid-study",
    "ray": "a Ray node or a worker on it is killed during `tune`",
}


def main() -> int:
    """Do faults; the exit code says whether there was a loss."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="faults; all, if none is named")
    parser.add_argument("--write", action="store_true", help="write the table of docs/faults.md")
    chosen = parser.parse_args()
    done: Counter[str] = Counter()
    losses: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="recctl-faults-") as folder, Harness(Path(folder) / "arena") as harness:
        begin = time.monotonic()
        for name in _chosen(harness, chosen.names):
            kind = name.partition(":")[0]
            done[kind] += 1
            try:
                harness.do(name)
            except Exception as error:
                losses[kind] += 1
                what = str(error) if isinstance(error, LossError) else repr(error)
                print(f"\n{name}: {what}\nagain: python -m tests.faults {name}", flush=True)
            if done.total() % 50 == 0:
                print(f"{done.total()} faults, {losses.total()} losses, {time.monotonic() - begin:.0f} s", flush=True)
    table = _table(done, losses)
    print(f"\n{table}\n{done.total()} faults, {losses.total()} losses")
    if chosen.write:
        before, _, rest = DOCS.read_text(encoding="utf-8").partition(_BEGIN)
        DOCS.write_text(before + _BEGIN + table + _END + rest.partition(_END)[2], encoding="utf-8")
    return int(losses.total() > 0)


def _chosen(harness: Harness, names: list[str]) -> list[str]:
    if all(name.count(":") and name[-1].isdigit() for name in names) and names:
        return names
    return [name for name in harness.names() if not names or name.startswith(tuple(names))]


def _table(done: Counter[str], losses: Counter[str]) -> str:
    lines = ["| kind | fault | how many | losses |", "|---|---|---:|---:|"]
    lines += [f"| {kind} | {MEANING[kind]} | {done[kind]} | {losses[kind]} |" for kind in MEANING if done[kind]]
    lines.append(f"| | all | {done.total()} | {losses.total()} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
