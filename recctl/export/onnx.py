"""The scoring function as an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field

from recctl.data import columns
from recctl.data.matrix import Int32Array, InteractionMatrix
from recctl.data.vocabulary import Vocabulary
from recctl.errors import ArtifactError, UnsupportedError
from recctl.export import _scoring_graph
from recctl.export.base import Context, ExportFormat
from recctl.models.base import Recommender
from recctl.ranking import rank_block

_FILE = "model.onnx"
# How far scores may be from the model's, as a part of the largest: float32 sums come in another order.
_TOLERANCE = 1e-5
_MOST_CHECKED, _AT_ONCE, _MUCH = 128, 8, 500


class OnnxFormat(ExportFormat):
    """The scoring function as an ONNX graph (opset 18), checked against the model by onnxruntime.

    `model.onnx` maps an input, whose first axis is a batch of people, to `scores` float32 `(batch, n_items)`; or with
    `k` to the best, `items` int64 and `scores` float32, both `(batch, k)`. The input is one of

        user      int64 (batch,)          codes of users the model was fitted on
        history   float32 (batch, n_items)  weights of the items somebody had, 1 or ratings; 0 for all others
        sequence  int64 (batch, length)   codes of these items, oldest first, behind as many -1 as a row is short of
                                          the longest

    by default what the model itself looks at: a history for linear models, a sequence for SASRec, a user for models of
    factors. A code is the row, from 0, of an id in `items.parquet` or `users.parquet`. With `k`, items of the history
    are left out, or those the user had in the data the model was fitted on, unless `include_seen`; rows with fewer
    items left end in -1 and minus infinity. A rating of 0 in a history is no interaction. Weights lie in
    `model.onnx.data` if they are more than 64 MiB.

    Scores of up to 128 users, and of people who had nothing or very much, are compared with the model's; an export
    that differs by more than 1e-5 of the largest score is not left. The interactions the model was fitted on are in
    graphs for users of linear models, or with `k` of any model, and in NCF's for a history.
    """

    name = "onnx"
    extra = "onnx"
    needs = ("onnx", "onnxruntime")

    input: Literal["user", "history", "sequence"] | None = Field(
        None, description="What it is asked with: user, history or sequence; the model's own way unless given."
    )
    k: int | None = Field(None, ge=1, description="Give the codes and scores of the k best items, not all scores.")
    include_seen: bool = Field(False, description="With k: keep items the person has already.")

    def write(self, model: Recommender, folder: Path, context: Context) -> dict[str, Any]:
        """Write the graph and ids, and compare scores."""
        from recctl.export import _onnx_file

        given = self._input(model)
        graph = _scoring_graph.score_graph(model, given, self.k, not self.include_seen)
        shown = {"recctl.model": model.name, "recctl.input": given}
        _onnx_file.write(graph, folder / _FILE, model.name, shown)
        _write_ids(folder / "items.parquet", columns.ITEM, model.item_vocabulary)
        if given == "user":
            _write_ids(folder / "users.parquet", columns.USER, model.user_vocabulary)
        people = _People(model, given)
        difference = self._difference(_onnx_file.session(folder / _FILE), model, people)
        if not difference <= _TOLERANCE:
            raise ArtifactError(
                f"onnx: scores of the graph differ from those of {model.name} by {difference:.1e} of the largest, more "
                f"than {_TOLERANCE:.0e}: it is not written"
            )
        return {
            "opset": graph.OPSET,
            "input": given,
            "inputs": _in_words(graph.inputs),
            "outputs": _in_words(graph.outputs),
            "people_checked": len(people.rows),
            "largest_difference": float(f"{difference:.1e}"),
        }

    @classmethod
    def verify(cls, folder: Path, manifest: Mapping[str, Any], model: Recommender | None = None) -> None:
        """Load the graph, and run it for one person of whom nothing is known, or for the first user."""
        from recctl.export import _onnx_file

        path = folder / _FILE
        try:
            session = _onnx_file.session(path)
            (asked,) = session.get_inputs()
            shapes = {"user": (1,), "sequence": (1, 1)}
            shape = shapes.get(asked.name, (1, asked.shape[-1]))
            row = np.full(
                shape, -1 if asked.name == "sequence" else 0, np.float32 if asked.name == "history" else np.int64
            )
            given = session.run(None, {asked.name: row})
        except Exception as error:  # whatever onnxruntime raises: its errors have no common class
            raise ArtifactError(f"{path}: onnxruntime can't run it: {error}") from error
        names = [output.name for output in session.get_outputs()]
        if names != list(manifest["facts"]["outputs"]) or any(len(part) != 1 for part in given):
            raise ArtifactError(f"{path}: its outputs are others than the manifest says")

    def _input(self, model: Recommender) -> _scoring_graph.Input:
        there = _scoring_graph.inputs_of(model)
        if self.input is None:
            return there[0]
        if self.input not in there:
            raise UnsupportedError(
                f"onnx: {model.name} has no graph for input={self.input}: choose input={' or '.join(there)}"
            )
        return self.input

    def _difference(self, session: Any, model: Recommender, people: _People) -> float:
        """How far scores are from the model's at most, as a part of the largest."""
        apart, largest = 0.0, float(np.finfo(np.float32).tiny)
        for begin in range(0, len(people.rows), _AT_ONCE):
            rows = people.rows[begin : begin + _AT_ONCE]
            given = session.run(None, {people.given: people.asked(rows)})
            scores = people.scores(rows)
            largest = max(largest, float(np.abs(scores).max(initial=0)))
            if self.k is None:
                apart = max(apart, _largest_gap(given[0], scores))
                continue
            best = rank_block(
                scores, min(self.k, scores.shape[1]), None if self.include_seen else people.had.take(rows)
            )
            # Which of two items comes first may differ where scores are equal but for rounding: what an item that was
            # given scores must be right, and what the k best score.
            chosen = np.where(given[0] < 0, -np.inf, np.take_along_axis(scores, np.maximum(given[0], 0), 1))
            apart = max(apart, _largest_gap(given[1], best[1]), _largest_gap(given[1], chosen))
        return apart / largest


class _People:
    """Whom scores are compared for, in the form the graph is asked in and in that the model is."""

    def __init__(self, model: Recommender, given: _scoring_graph.Input) -> None:
        self.model, self.given = model, given
        n_users, n_items = model.seen.n_rows, model.seen.n_columns
        self.users = np.unique(np.linspace(0, n_users - 1, min(n_users, _MOST_CHECKED)).astype(np.int32))
        had = model.seen.take(self.users)
        if given != "user":
            much = np.arange(0, n_items, -(-n_items // _MUCH), dtype=np.int32)
            had = _with_rows(had, [much[:0], np.resize(much, _MUCH) if model.reads_order else much])
        if given == "sequence":
            had = InteractionMatrix(had.starts, had.columns, had.values[:0], n_items)
        self.had = had
        self.rows: Int32Array = np.arange(had.n_rows, dtype=np.int32)

    def scores(self, rows: Int32Array) -> Any:
        """The model's."""
        if self.given == "user":
            return self.model.score_users(self.users[rows])
        return self.model.score_histories(self.had.take(rows))

    def asked(self, rows: Int32Array) -> Any:
        """The input of the graph."""
        if self.given == "user":
            return self.users[rows].astype(np.int64)
        had = self.had.take(rows)
        if self.given == "history":
            weights = np.zeros((len(rows), had.n_columns), np.float32)
            weights[had.rows, had.columns] = 1 if had.is_binary else had.values
            return weights
        lengths = np.diff(had.starts)
        longest = max(1, lengths.max())
        codes = np.full((len(rows), longest), -1, np.int64)
        codes[np.arange(longest) >= longest - lengths[:, None]] = had.columns
        return codes


def _with_rows(matrix: InteractionMatrix, rows: list[Int32Array]) -> InteractionMatrix:
    more = InteractionMatrix.from_rows(rows, matrix.n_columns)
    values = matrix.values if matrix.is_binary else np.concatenate((matrix.values, np.ones(more.nnz, np.float32)))
    starts = np.concatenate((matrix.starts, matrix.starts[-1] + more.starts[1:]))
    return InteractionMatrix(starts, np.concatenate((matrix.columns, more.columns)), values, matrix.n_columns)


def _largest_gap(given: Any, wanted: Any) -> float:
    """The largest difference; infinite where one is NaN, or only one is infinite."""
    with np.errstate(invalid="ignore"):
        gap = np.where(given == wanted, 0, np.abs(given - wanted))
    return float(np.nan_to_num(gap, nan=np.inf).max(initial=0))


def _write_ids(path: Path, column: str, vocabulary: Vocabulary) -> None:
    ids = pa.array(vocabulary.ids, pa.string() if vocabulary.is_text else pa.int64())
    pq.write_table(pa.table({column: ids}), path)


def _in_words(declared: Mapping[str, tuple[Any, tuple[int | str, ...]]]) -> dict[str, str]:
    return {name: f"{dtype} ({', '.join(map(str, shape))})" for name, (dtype, shape) in declared.items()}
