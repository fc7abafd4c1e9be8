"""A directory of runs: listing them, and finding the one a person means."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from recctl.errors import ArtifactError
from recctl.runs.directory import Run
from recctl.suggest import did_you_mean


class RunStore:
    """The runs of one directory.

    Args:
        root: The directory; by default `$RECCTL_RUNS_DIR`, else `./runs`.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or Path(os.environ.get("RECCTL_RUNS_DIR") or "runs")

    def ids(self) -> list[str]:
        """Ids of all runs, oldest first."""
        try:
            with os.scandir(self.root) as entries:
                return sorted(e.name for e in entries if e.is_dir() and os.path.exists(f"{e.path}/metadata.json"))
        except OSError:
            return []

    def runs(self) -> Iterator[Run]:
        """All runs that can be read, oldest first."""
        for run_id in self.ids():
            try:
                yield Run.open(self.root / run_id)
            except ArtifactError:
                continue

    def damaged(self) -> list[str]:
        """Ids of runs whose metadata can't be read."""
        readable = {run.id for run in self.runs()}
        return [run_id for run_id in self.ids() if run_id not in readable]

    def resolve(self, reference: str) -> Run:
        """The run that a reference means.

        Args:
            reference: A full id, a unique beginning of one, a path to a run, `latest`, or `best`: the best by the
                validation metric that its config monitors, among runs of one data and split.

        Raises:
            ArtifactError: None or several are meant.
        """
        if reference == "latest":
            ids = self.ids()
            if not ids:
                raise ArtifactError(f"latest: {self.root} has no runs yet; make one with `recctl train`")
            return Run.open(self.root / ids[-1])
        if reference == "best":
            return self._best()
        if os.sep in reference and Path(reference).is_dir():
            return Run.open(Path(reference))
        ids = self.ids()
        if reference in ids:
            return Run.open(self.root / reference)
        found = [run_id for run_id in ids if run_id.startswith(reference)] if reference else []
        if len(found) > 1:
            raise ArtifactError(f"run {reference!r}: several begin so: {', '.join(found[:5])}; give more of the id")
        if not found:
            raise ArtifactError(
                f"run {reference!r}: not in {self.root}{did_you_mean(reference, [*ids[::-1], 'latest', 'best'])}"
            )
        return Run.open(self.root / found[0])

    def test_looks(self, data_hash: str, split_hash: str) -> int:
        """How often test was read for this data and split, over all runs here."""
        return sum(
            run.metadata.get("test_looks", 0) for run in self.runs() if run_hashes(run) == (data_hash, split_hash)
        )

    def remove(self, run: Run) -> None:
        """Delete a run. It stops being one at once: its directory is renamed before it is emptied."""
        doomed = run.path.with_name(f".removed-{run.id}")
        run.path.rename(doomed)
        shutil.rmtree(doomed)

    def _best(self) -> Run:
        scored = [(run, score) for run in self.runs() if (score := monitored(run)) is not None]
        if not scored:
            raise ArtifactError(f"best: no complete run in {self.root} has validation metrics (split.val_size > 0)")
        groups = {(run_hashes(run), run.metadata["monitor"]["metric"]) for run, _ in scored}
        if len(groups) > 1:
            raise ArtifactError(
                f"best: the runs in {self.root} are of {len(groups)} different data, splits or metrics and can't be "
                "compared; name a run, or keep them apart with --runs-dir"
            )
        sign = 1 if scored[0][0].metadata["monitor"]["mode"] == "max" else -1
        return max(scored, key=lambda pair: sign * pair[1])[0]


def run_hashes(run: Run) -> tuple[str | None, str | None]:
    """The hashes of a run's data and split: runs with equal ones may be compared."""
    return run.metadata.get("data", {}).get("hash"), run.metadata.get("split", {}).get("hash")


def monitored(run: Run) -> float | None:
    """The validation value of the metric a run monitors; None if it is not complete or has none."""
    monitor = run.metadata.get("monitor")
    if run.metadata.get("status") != "complete" or not monitor:
        return None
    try:
        return run.metrics().get("validation", {}).get(monitor["metric"])
    except ArtifactError:
        return None
