"""A directory of runs: list them, and resolve references to them."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import groupby, islice
from pathlib import Path

from recctl import arguments, locking, progress
from recctl.arguments import of_type, optional, text, validated
from recctl.errors import ArtifactError, ConfigError
from recctl.runs import index, layout, liveness
from recctl.runs.aliases import RESERVED, RunAliases
from recctl.runs.directory import Run, Status
from recctl.runs.evaluations import EvaluationRecord, comparability
from recctl.runs.summary import RunSummary, second_of, summarize
from recctl.suggest import did_you_mean

REMOVED = ".removed-"  # prefix of the directory of a run that is being deleted
_RUN_ID = re.compile(r"\d{8}-\d{6}-.+-[0-9a-f]{4}")
_MAX_LISTED = 5  # ids in an error message
_MAX_OLDER_RUNS = 50  # among which the comparison of a run is searched


class RunStore:
    """The runs of one directory.

    Args:
        root: The directory; by default `$RECCTL_RUNS_DIR`, else `./runs`.

    Attributes:
        aliases: The aliases of these runs.

    Examples:
        ```python
        from recctl import RunStore

        store = RunStore("runs")
        run = store.resolve("latest")  # an id, a prefix of one, an alias, "latest" or "best"
        store.promote(run, "production")
        ```
    """

    @validated(root=optional(arguments.path))
    def __init__(self, root: str | os.PathLike[str] | None = None) -> None:
        self.root = Path(root or os.environ.get("RECCTL_RUNS_DIR") or "runs")
        self.aliases = RunAliases(self.root)

    def __repr__(self) -> str:
        return f"RunStore({str(self.root)!r})"

    def _repr_html_(self) -> str:
        from recctl.runs.html_view import store_html

        return store_html(self)

    @property
    def names(self) -> RunAliases:
        """Deprecated name of `aliases`; removed in 0.4."""
        warnings.warn("RunStore.names is deprecated, use RunStore.aliases; removed in 0.4", FutureWarning, stacklevel=2)
        return self.aliases

    def ids(self) -> list[str]:
        """Return the ids of all runs, oldest first."""
        return [directory.name for directory in self._directories() if (directory / layout.METADATA).exists()]

    def scan(self) -> tuple[list[Run], dict[str, str]]:
        """Return all readable runs, oldest first, and the problem of metadata.json of each other run, by id."""
        runs = []
        problems = {}
        for directory in self._directories():
            try:
                run = self._open_listed(directory)
            except ArtifactError as error:
                problems[directory.name] = str(error).removeprefix(f"{directory / layout.METADATA}: ")
                continue
            if run is not None:
                runs.append(run)
        return sorted(runs, key=_creation_order), problems

    def summaries(self) -> tuple[list[RunSummary], dict[str, str]]:
        """Return the summaries of all readable runs, oldest first, and the problem of each other run, as `scan` does.

        Runs whose files have not changed since the last call, by any program, are not read again; see
        `recctl.runs.index`.
        """
        indexed = index.read(self.root)
        summaries = []
        problems = {}
        entries = {}
        for directory in self._directories():
            run_id = directory.name
            signature = index.signature_of(str(directory))
            entry = indexed.get(run_id)
            if entry is None or entry.signature != signature:
                try:
                    run = self._open_listed(directory)
                except ArtifactError as error:
                    problems[run_id] = str(error).removeprefix(f"{directory / layout.METADATA}: ")
                    continue
                if run is None:
                    continue
                entry = index.Entry(signature, summarize(run))
            summaries.append(entry.summary)
            # A file that can't be read now, such as another user's, may be readable the next time, without any change.
            if entry.summary.is_whole and index.is_settled(signature):
                entries[run_id] = entry
        if entries != indexed:
            index.write(self.root, entries)
        return sorted(summaries, key=lambda summary: summary.creation_order), problems

    def status(self, summary: RunSummary) -> Status:
        """Return the status of a run as `Run.status` does: "died" instead of "running" if its process has ended."""
        if summary.recorded_status == "running" and liveness.has_died(summary.process, self.root / summary.run_id):
            return "died"
        status: Status = summary.recorded_status
        return status

    def _open_listed(self, directory: Path) -> Run | None:
        """Open the run in a folder; None if the folder is no run, or a run that is being created.

        Raises:
            ArtifactError: Its metadata are missing or damaged.
        """
        if (directory / layout.METADATA).exists():
            return Run.open(directory)
        if _has_results(directory):
            raise ArtifactError(f"missing; restore it, or delete it with `recctl runs rm {directory.name}`")
        return None

    def incomplete(self) -> list[Path]:
        """Return the directories of runs whose creation did not end: it goes on, or its process was killed."""
        return [
            directory
            for directory in self._directories()
            if is_run_id(directory.name) and not (directory / layout.METADATA).exists() and not _has_results(directory)
        ]

    def runs(self) -> list[Run]:
        """Return all readable runs, oldest first."""
        runs, _ = self.scan()
        return runs

    @validated(reference=of_type(str, "a text: an id, an alias, 'latest' or 'best'"))
    def resolve(self, reference: str) -> Run:
        """Return the run that a reference means.

        Args:
            reference: An id, a unique beginning of an id, a path to a run, an alias, `latest`: the newest complete run
                that has a model, or `best`: the best run by the validation metric that its config monitors, if all runs
                have the same data and split.

        Raises:
            ArtifactError: The reference means no run, or several.
        """
        if reference == "latest":
            return self._latest()
        if reference == "best":
            return self._best()
        # A plain name is never a path, so that a folder in the working directory can't shadow a run.
        if os.sep in reference and Path(reference).is_dir():
            return Run.open(Path(reference))
        move = self.aliases.current(reference)
        if move is not None:
            return self._open_alias(reference, move.run)
        run_ids = self.ids()
        if reference in run_ids or self._has_lost_metadata(reference):
            return Run.open(self.root / reference)
        matching = [run_id for run_id in run_ids if run_id.startswith(reference)] if reference else []
        if not matching:
            newest_first = run_ids[::-1]
            known_names = [*newest_first, *self.aliases.all(), *RESERVED]
            raise ArtifactError(f"run {reference!r}: not found in {self.root}{did_you_mean(reference, known_names)}")
        if len(matching) > 1:
            listed = ", ".join(matching[:_MAX_LISTED])
            raise ArtifactError(f"run {reference!r}: several ids begin with this: {listed}; give more of the id")
        return Run.open(self.root / matching[0])

    def resolve_model(self, reference: str) -> Run:
        """Return the run whose model a reference means: that of the winner if the reference is a comparison.

        Args:
            reference: See `resolve`.

        Raises:
            ArtifactError: The reference means no run, or several; or the comparison is not complete.
        """
        return self.run_of_model(self.resolve(reference))

    @validated(run=of_type(Run, "a Run"))
    def run_of_model(self, run: Run) -> Run:
        """Return the run of a comparison's winner, which a notice names; any other run itself.

        Raises:
            ArtifactError: The comparison is not complete, or the run of its winner was deleted.
        """
        if run.metadata.get("kind") != "compare":
            return run
        winner_id = run.winner_id
        if winner_id is None:
            raise ArtifactError(f"{run.id}: this comparison is {run.status} and has no winner; complete it first")
        # Next to the comparison, which may be in another directory than this one.
        try:
            winner = Run.open(run.path.parent / winner_id)
        except ArtifactError as error:
            raise ArtifactError(f"{run.id}: the run of its winner can't be read: {error}") from None
        progress.notice(f"{run.id} is a comparison; using its winner {run.metadata['best']}: {winner.id}")
        return winner

    def resolve_to_show(self, reference: str) -> Run:
        """Return the run that a reference means where a run is only looked at: `latest` may be one without a model.

        Args:
            reference: See `resolve`. `latest` is the newest run if none is complete and has a model, which a notice
                says.
        """
        if reference == "latest":
            runs = list(self._newest_first())
            if runs and not any(_has_final_model(run) for run in runs):
                progress.notice(f"no run in {self.root} is complete and has a model; latest is the newest run")
                return runs[0]
        return self.resolve(reference)

    def resolve_to_resume(self, reference: str, kinds: Collection[str]) -> Run:
        """Return the run that a reference means where runs are resumed: `latest` need not be complete.

        Args:
            reference: See `resolve`.
            kinds: `latest` is the newest run of these kinds.
        """
        if reference != "latest":
            return self.resolve(reference)
        for run in self._newest_first():
            if run.metadata.get("kind") in kinds:
                return run
        raise ArtifactError(f"latest: {self.root} has no runs of {' or '.join(kinds)} yet; give the id of a run")

    def count_test_evaluations(self, data_hash: str, split_hash: str) -> int:
        """Return how often the test set of a split was evaluated, over all runs in this directory.

        The runs of one comparison count once: it evaluates each of its models on test at the end, when none of them can
        be chosen by it any more.
        """
        n_evaluations = 0
        counted_parents: set[str] = set()
        summaries, _ = self.summaries()
        for summary in summaries:
            n_of_run = summary.test_looks
            if not n_of_run or (summary.data_hash, summary.split_hash) != (data_hash, split_hash):
                continue
            n_evaluations += n_of_run
            parent = summary.parent_run
            if parent is None:
                continue
            if parent in counted_parents:
                n_evaluations -= 1
            counted_parents.add(parent)
        return n_evaluations

    @validated(run=of_type(Run, "a Run"), name=text)
    def promote(self, run: Run, name: str) -> Run:
        """Point an alias to a run, after checking its model. Of a comparison, the winner is promoted.

        Returns:
            The promoted run.

        Raises:
            ConfigError: The name is not valid.
            ArtifactError: The run is not complete or not in this directory, or its newest model is missing or damaged.
        """
        from recctl import artifacts  # imports NumPy, for which listing runs must not wait

        run = self.run_of_model(run)
        if run.status != "complete":
            raise ArtifactError(f"{run.id}: is {run.status}; only complete runs can be promoted to {name}")
        if run.path.parent.resolve() != self.root.resolve():
            raise ArtifactError(
                f"{run.path}: is not in {self.root}; an alias can only point to runs of its own directory"
            )
        model_entry = run.model_entry()
        artifacts.load(run.path / model_entry["file"], "model", model_entry["sha256"])
        self.aliases.promote(name, run.id)
        return run

    @validated(run=of_type(Run, "a Run"))
    def remove(self, run: Run) -> None:
        """Delete a run. Its directory is renamed first, so that a partly deleted run is never listed.

        Raises:
            ConfigError: An alias points to the run, or a process works on it.
        """
        run.require_idle()
        self._remove(run.path)

    def remove_damaged(self, run_id: str) -> None:
        """Delete a run with missing or damaged metadata, one of those that `scan` returns.

        Raises:
            ConfigError: An alias points to the run, or a process works on it.
        """
        directory = self.root / run_id
        if locking.is_locked(directory):
            raise ConfigError(f"{run_id}: another process is working on it")
        self._remove(directory)

    def _remove(self, directory: Path) -> None:
        alias_names = self.aliases.runs().get(directory.name)
        if alias_names:
            raise ConfigError(f"{directory.name}: is {', '.join(alias_names)}; promote another run or roll back first")
        removed = directory.with_name(f"{REMOVED}{directory.name}")
        directory.rename(removed)
        shutil.rmtree(removed)

    def _directories(self) -> list[Path]:
        """Return all folders of the runs directory that can be runs, in alphabetical order."""
        try:
            with os.scandir(self.root) as entries:
                names = [entry.name for entry in entries if entry.is_dir() and not entry.name.startswith(".")]
        except OSError:
            return []
        return [self.root / name for name in sorted(names)]

    def _has_lost_metadata(self, reference: str) -> bool:
        directory = self.root / reference
        is_name = bool(reference) and os.sep not in reference and not reference.startswith(".")
        return is_name and not (directory / layout.METADATA).exists() and _has_results(directory)

    def _open_alias(self, name: str, run_id: str) -> Run:
        try:
            return Run.open(self.root / run_id)
        except ArtifactError as error:
            raise ArtifactError(f"{name}: {error}; return to the previous run: recctl runs rollback {name}") from None

    def _latest(self) -> Run:
        unfinished: list[Run] = []
        newest = None
        newer_comparison = None
        runs = self._newest_first()
        for run in runs:
            newest = newest or run
            if _has_final_model(run):
                # A comparison is created before the runs of its models.
                older_runs = islice(runs, _MAX_OLDER_RUNS)
                comparison = newer_comparison or next((older for older in older_runs if _compares(older, run)), None)
                if comparison is not None:
                    progress.notice(
                        f"latest is {run.id}, the newest run with a model, and not the comparison {comparison.id}, "
                        f"whose winner is {comparison.metadata['best']}; give the id of the comparison if it is meant"
                    )
                if unfinished:
                    listed = ", ".join(f"{skipped.id} ({skipped.status})" for skipped in unfinished[:_MAX_LISTED])
                    progress.notice(f"latest is {run.id}; newer runs are not complete: {listed}")
                return run
            if newer_comparison is None and run.winner_id is not None:
                newer_comparison = run
            if run.metadata["status"] != "complete":
                unfinished.append(run)
        if newest is None:
            raise ArtifactError(f"latest: {self.root} has no runs yet; train a model first")
        raise ArtifactError(
            f"latest: no run in {self.root} is complete and has a model; the newest is {newest.id} "
            f"({newest.metadata.get('kind')}, {newest.status}); give its id if it is meant"
        )

    def _newest_first(self) -> Iterator[Run]:
        """Yield all readable runs, newest first. Only those that are consumed are read."""
        # Ids are ordered by second; within a second, the metadata have more digits.
        for _, ids_of_second in groupby(reversed(self.ids()), key=second_of):
            runs = []
            for run_id in ids_of_second:
                with suppress(ArtifactError):  # `recctl runs list` reports damaged runs
                    runs.append(Run.open(self.root / run_id))
            yield from sorted(runs, key=_creation_order, reverse=True)

    def _best(self) -> Run:
        # Imported here: it imports pandas, which other references to runs do not need.
        from recctl.runs.rating_models import meaningful_metrics

        scored: list[RunSummary] = []
        without_meaning: list[str] = []
        summaries, _ = self.summaries()
        for summary in summaries:
            if summary.validation is None or summary.monitor is None:
                continue
            metric = summary.monitor["metric"]
            if meaningful_metrics(self.root / summary.run_id, {metric: summary.validation}):
                scored.append(summary)
            else:
                without_meaning.append(f"{summary.run_id} ({metric})")
        if without_meaning:
            progress.notice(
                f"best: left out, because the scores of their models are not ratings: {', '.join(without_meaning)}"
            )
        if not scored:
            raise ArtifactError(f"best: no complete run in {self.root} has validation metrics (split.val_size > 0)")
        first = scored[0]
        for summary in scored[1:]:
            reasons = self._why_not_comparable(first, summary)
            if reasons:
                raise ArtifactError(
                    f"best: the runs in {self.root} can't be compared, such as {first.run_id} and {summary.run_id}: "
                    f"{'; '.join(reasons)}; give the id of a run, or use one directory for each with --runs-dir"
                )
        assert first.monitor is not None
        sign = 1 if first.monitor["mode"] == "max" else -1
        best = max(scored, key=lambda summary: sign * summary.validation)
        return Run.open(self.root / best.run_id)

    def _why_not_comparable(self, first: RunSummary, second: RunSummary) -> list[str]:
        """The reasons why the monitored scores of two runs can't be compared; empty if they can."""
        assert first.monitor is not None
        assert second.monitor is not None
        first_metric = first.monitor["metric"]
        second_metric = second.monitor["metric"]
        reasons = []
        if first_metric != second_metric:
            reasons.append(f"they monitor {first_metric} and {second_metric}")
        first_record = self._validation_record(first)
        second_record = self._validation_record(second)
        if first_record is not None and second_record is not None:
            reasons += comparability(first_record, second_record).reasons
        return reasons

    def _validation_record(self, summary: RunSummary) -> EvaluationRecord | None:
        if summary.validation_record is None:
            return Run.open(self.root / summary.run_id).evaluation("validation")
        return EvaluationRecord.from_json(summary.validation_record)


def _has_final_model(run: Run) -> bool:
    return run.metadata["status"] == "complete" and bool(run.metadata.get("models"))


def _compares(comparison: Run, run: Run) -> bool:
    compared = comparison.metadata.get("compared", []) if comparison.winner_id is not None else []
    return any(record.get("run_id") == run.id for record in compared)


def _has_results(directory: Path) -> bool:
    """Whether a folder without metadata was a run, and not one that is being created, which has no results yet."""
    results = (layout.LOG, layout.MODELS, layout.HISTORY, layout.EVALUATIONS, layout.METRICS, layout.COMPARISON)
    has_config = (directory / layout.CONFIG).exists() or is_run_id(directory.name)
    return has_config and any((directory / name).exists() for name in results)


def is_run_id(name: str) -> bool:
    """Whether a name looks like the id of a run."""
    return _RUN_ID.fullmatch(name) is not None


def run_hashes(run: Run) -> tuple[str | None, str | None]:
    """Return the hashes of a run's data and split. Metrics of runs with equal hashes can be compared."""
    return run.metadata.get("data", {}).get("hash"), run.metadata.get("split", {}).get("hash")


def _creation_order(run: Run) -> tuple[str, str]:
    """Sort key: ids give the second of creation, the metadata more digits."""
    return second_of(run.id), str(run.metadata.get("created"))
