"""Interactions that a run held out of the training data: its model may recommend what the users already have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recctl import engines, progress
from recctl.config.schema import source_label
from recctl.data.matrix import Int32Array, InteractionMatrix
from recctl.data.sources import catalog
from recctl.errors import DataError, RecctlError
from recctl.experiment import load_run_config, read_dataset
from recctl.experiment.run_config import require_files
from recctl.experiment.stages import ALL, TRAIN
from recctl.models.base import Recommender
from recctl.runs import Run
from recctl.runs.store import run_hashes

# Counting must not take much longer than the export. The run knows how long reading its data took.
_MAX_SECONDS_TO_READ = 15.0
# Per interaction, while the data are read: codes, rating, timestamp, and the matrix.
_BYTES_PER_INTERACTION = 45


class HeldOutPairs:
    """Counts exported pairs that the users already have in parts that the model was not fitted on.

    Args:
        run: The run of the model.
        entry: The entry of the model in the run's metadata.
        model: The model.
        overrides: Where and how the data of the run are read now, such as `data.source=FILE`.
    """

    def __init__(self, run: Run, entry: Mapping[str, Any], model: Recommender, overrides: Sequence[str] = ()) -> None:
        self.run = run
        self.fitted_on = str(entry["fitted_on"])
        self.n_found = 0
        self._why_unknown = ""
        self._pairs: InteractionMatrix | None = None
        if self.fitted_on == ALL:
            return
        try:
            self._pairs = _read_pairs(run, model, overrides)
        except RecctlError as error:
            self._why_unknown = str(error)

    @property
    def count(self) -> int | None:
        """The number of pairs found so far; None if the data can't be read."""
        return None if self._why_unknown else self.n_found

    def add(self, users: Int32Array, items: Int32Array) -> None:
        """Count the held-out pairs of a block of recommendations.

        Args:
            users: The model's code of each user, -1 for unknown users, `(n_users,)`.
            items: Recommended items, -1 at empty places, `(n_users, k)`.
        """
        if self._pairs is None:
            return
        known_items = items[users >= 0]
        is_filled = known_items >= 0
        rows = is_filled.nonzero()[0].astype("int32")
        shape = (len(known_items), self._pairs.n_columns)
        recommended = InteractionMatrix.from_pairs(rows, known_items[is_filled], None, shape)
        self.n_found += recommended.n_shared(self._pairs.take(users[users >= 0]))

    def report(self, n_rows: int) -> None:
        """Send a notice if the export holds such pairs, or may hold them.

        Args:
            n_rows: The number of exported pairs.
        """
        cause = f"the model was fitted on {self.fitted_on} alone"
        advice = f"fit it on everything: recctl fit {self.run.id} --all-data"
        held_out_parts = self.run.metadata.get("split", {}).get("leakage", {}).get("parts", {})
        if self.fitted_on == TRAIN and "validation" in held_out_parts:
            advice += ", or on train + validation: --set training.refit=true"
        if self._why_unknown:
            progress.notice(
                f"held-out items that users already have can be among the recommendations, since {cause}; "
                f"they can't be counted: {self._why_unknown}; {advice}"
            )
        elif self.n_found:
            progress.notice(
                f"{self.n_found:,} of {n_rows:,} exported pairs ({self.n_found / n_rows:.1%}) are held-out "
                f"interactions that the users already have, since {cause}; {advice}"
            )


def _read_pairs(run: Run, model: Recommender, overrides: Sequence[str]) -> InteractionMatrix:
    """All pairs of the run's data, by the codes of the model; what the model has seen is not exported anyway."""
    loaded = load_run_config(run, overrides)
    _require_cheap_reading(run, source_label(loaded.config.data.source))
    require_files(run, loaded)
    dataset, _, record = read_dataset(loaded)
    if record["hash"] != run_hashes(run)[0]:
        raise DataError(f"{source_label(loaded.config.data.source)}: the data have changed since the run was created")
    users = model.user_vocabulary.codes(dataset.user_vocabulary.ids)[dataset.users]
    items = model.item_vocabulary.codes(dataset.item_vocabulary.ids)[dataset.items]
    is_known = (users >= 0) & (items >= 0)
    shape = (len(model.user_vocabulary), len(model.item_vocabulary))
    return InteractionMatrix.from_pairs(users[is_known], items[is_known], None, shape)


def _require_cheap_reading(run: Run, source: str) -> None:
    seconds = run.metadata.get("timings", {}).get("prepare", 0.0)
    if seconds > _MAX_SECONDS_TO_READ:
        raise DataError(f"reading the data takes {seconds:.0f} s")
    n_bytes = _BYTES_PER_INTERACTION * run.metadata.get("data", {}).get("interactions", 0)
    if n_bytes > engines.available_memory():
        raise DataError(f"reading the data takes {engines.format_bytes(n_bytes)} of memory")
    for catalog_entry in catalog():
        if catalog_entry.name == source and not catalog_entry.cached:
            raise DataError(f"{source} is not in the cache; fetch it: recctl data fetch {source}")
