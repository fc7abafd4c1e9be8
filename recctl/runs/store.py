"""A directory of runs: listing them, and finding the one a person means."""

from __future__ import annotations

import os
import shutil
import warnings
from pathlib import Path

from recctl import artifacts
from recctl.errors import ArtifactError, ConfigError
from recctl.runs.aliases import RESERVED, RunAliases
from recctl.runs.directory import Run
from recctl.suggest import did_you_mean

REMOVED = ".removed-"  # a run that is being deleted


class RunStore:
    """The runs of one directory.

    Args:
        root: The directory; by default `$RECCTL_RUNS_DIR`, else `./runs`.

    Attributes:
        names: The names that runs here were promoted to.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = root or Path(os.environ.get("RECCTL_RUNS_DIR") or "runs")
        self.aliases = RunAliases(self.root)

    @property
    def names(self) -> RunAliases:
        """Deprecated name of `aliases`; removed in 0.4."""
        warnings.warn("RunStore.names is RunStore.aliases now; removed in 0.4", FutureWarning, stacklevel=2)
        return self.aliases

    def ids(self) -> list[str]:
        """Ids of all runs, oldest first."""
        try:
            with os.scandir(self.root) as entries:
                found = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
                return sorted(name for name in found if (self.root / name / "metadata.json").exists())
        except OSError:
            return []

    def scan(self) -> tuple[list[Run], list[str]]:
        """All runs that can be read, and the ids of those whose metadata can't be; oldest first."""
        runs, damaged = [], []
        for run_id in self.ids():
            try:
                runs.append(Run.open(self.root / run_id))
            except ArtifactError:
                damaged.append(run_id)
        return sorted(runs, key=_made), damaged

    def runs(self) -> list[Run]:
        """All runs that can be read, oldest first."""
        return self.scan()[0]

    def resolve(self, reference: str) -> Run:
        """The run that a reference means.

        Args:
            reference: A full id, a unique beginning of one, a path to a run, a name a run was promoted to, `latest`,
                or `best`: the best by the validation metric that its config monitors, among runs of one data and split.

        Raises:
            ArtifactError: None or several are meant.
        """
        if reference == "latest":
            ids = self.ids()
            if not ids:
                raise ArtifactError(f"latest: {self.root} has no runs yet; make one with `recctl train`")
            last = _second(ids[-1])
            return max((Run.open(self.root / run_id) for run_id in ids if _second(run_id) == last), key=_made)
        if reference == "best":
            return self._best()
        if os.sep in reference and Path(reference).is_dir():
            return Run.open(Path(reference))
        if (promoted := self.aliases.current(reference)) is not None:
            return self._promoted(reference, promoted.run)
        ids = self.ids()
        if reference in ids:
            return Run.open(self.root / reference)
        found = [run_id for run_id in ids if run_id.startswith(reference)] if reference else []
        if len(found) > 1:
            raise ArtifactError(f"run {reference!r}: several begin so: {', '.join(found[:5])}; give more of the id")
        if not found:
            near = did_you_mean(reference, [*ids[::-1], *self.aliases.all(), *RESERVED])
            raise ArtifactError(f"run {reference!r}: not in {self.root}{near}")
        return Run.open(self.root / found[0])

    def count_test_evaluations(self, data_hash: str, split_hash: str) -> int:
        """How often test was read for this data and split, over all runs here."""
        return sum(
            run.metadata.get("test_looks", 0) for run in self.runs() if run_hashes(run) == (data_hash, split_hash)
        )

    def promote(self, run: Run, name: str) -> None:
        """Point a name to a run.

        Raises:
            ConfigError: It can't be a name.
            ArtifactError: The run is not complete, or its newest model is missing or damaged.
        """
        if run.status != "complete":
            raise ArtifactError(f"{run.id}: is {run.status}, not complete: it can't become {name}")
        if run.path.parent.resolve() != self.root.resolve():
            raise ArtifactError(f"{run.path}: is not in {self.root}: names are of one directory's runs")
        entry = run.model_entry()
        artifacts.load(run.path / entry["file"], "model", entry["sha256"])
        self.aliases.promote(name, run.id)

    def remove(self, run: Run) -> None:
        """Delete a run. It stops being one at once: its directory is renamed before it is emptied.

        Raises:
            ConfigError: A name points to it, or it is being worked on.
        """
        names = self.aliases.runs().get(run.id)
        if names:
            raise ConfigError(f"{run.id}: is {', '.join(names)}; promote another run or roll back first")
        run.require_idle()
        doomed = run.path.with_name(f"{REMOVED}{run.id}")
        run.path.rename(doomed)
        shutil.rmtree(doomed)

    def _promoted(self, name: str, run_id: str) -> Run:
        try:
            return Run.open(self.root / run_id)
        except ArtifactError as error:
            raise ArtifactError(f"{name}: {error}; `recctl runs rollback {name}` goes back") from None

    def _best(self) -> Run:
        scored = [(run, score) for run in self.runs() if (score := monitored_score(run)) is not None]
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


def monitored_score(run: Run, metrics: dict[str, dict[str, float]] | None = None) -> float | None:
    """The validation value of the metric a run monitors, among its metrics; None if it is not complete or has none."""
    monitor = run.metadata.get("monitor")
    if run.metadata.get("status") != "complete" or not monitor:
        return None
    try:
        return (run.metrics() if metrics is None else metrics).get("validation", {}).get(monitor["metric"])
    except ArtifactError:
        return None


def _second(run_id: str) -> str:
    return run_id[: len("20241124-031502")]


def _made(run: Run) -> tuple[str, str]:
    """What orders runs by age: ids do to the second."""
    return _second(run.id), str(run.metadata.get("created"))
