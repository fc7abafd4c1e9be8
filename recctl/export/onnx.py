"""The scoring function as an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from recctl.data.matrix import Int32Array, InteractionMatrix
from recctl.errors import ArtifactError, UnsupportedError
from recctl.export import _id_files, _scoring_graph
from recctl.export.base import Context, ExportFormat
from recctl.models.base import Recommender
from recctl.ranking import rank_block

_FILE = "model.onnx"
# Allowed difference from the model's scores, relative to the largest score: float32 sums are in another order.
_TOLERANCE = 1e-5
_MAX_CHECKED_USERS = 128
# Small batches: scores of a few users at a time bound the memory for large catalogs.
_USERS_PER_BATCH = 8
# Length of the longest history that is checked.
_LONG_HISTORY = 500


class OnnxFormat(ExportFormat):
    """The scoring function as an ONNX graph (opset 18), verified against the model with onnxruntime.

    `model.onnx` maps an input, whose first axis is the batch, to `scores` float32 `(batch, n_items)`; with `k` to the
    top k, `items` int64 and `scores` float32, both `(batch, k)`. The input is one of

        user      int64 (batch,)            codes of users that the model was fitted on
        history   float32 (batch, n_items)  weights of the items in each history, 1 or ratings; 0 for all others
        sequence  int64 (batch, length)     codes of these items, oldest first, padded with -1 on the left

    and defaults to the model's natural input: a history for linear models, a sequence for SASRec, a user for factor
    models. A code is the position, from 0, of an id in `items.json` or `users.json`, and its row in `items.parquet` or
    `users.parquet`. Running the graph fails for codes that do not exist. With `k`, items of the history, or those the
    user had in the training data, are left out unless `include_seen` is set; rows with fewer items end in -1 and minus
    infinity. Ties: of equal scores the lower code comes first, because ONNX has no hash of ids; all other
    recommendations of recctl order them by a hash of user and item. A rating of 0 in a history means no interaction.
    Weights above 64 MiB are in `model.onnx.data`. The `doc_string` of each input and output says what it holds, as do
    `facts.descriptions` of the manifest.

    The scores of up to 128 users, of an empty and of a very long history are compared with the model's; the export
    fails if they differ by more than 1e-5 of the largest score. Graphs contain the training interactions if the input
    is a user and the model is linear, if `k` is set and the input is a user, and for NCF with a history.
    """

    name = "onnx"
    extra = "onnx"
    needs = ("onnx", "onnxruntime")
    libraries = ("onnx", "onnxruntime", "pyarrow")
    read_with: ClassVar[Mapping[str, str]] = {
        "model.onnx": "onnxruntime 1.14 or later, or another runtime of ONNX opset 18",
        "model.onnx.data": "read with model.onnx, from the same folder",
        **_id_files.READ_WITH,
    }

    input: Literal["user", "history", "sequence"] | None = Field(
        None, description="Input of the graph: user, history or sequence; default: the model's natural input."
    )
    k: int | None = Field(None, ge=1, description="Output the codes and scores of the top k instead of all scores.")
    include_seen: bool = Field(False, description="With k: keep items that the user has interacted with.")

    def write(self, model: Recommender, folder: Path, context: Context) -> dict[str, Any]:
        """Write the graph and ids, and compare scores."""
        from recctl.export import _onnx_file

        input_kind = self._input_kind(model)
        graph = _scoring_graph.score_graph(model, input_kind, self.k, not self.include_seen)
        description = f"Recommender model {model.name}: from {input_kind} to {' and '.join(graph.outputs)}."
        properties = {"recctl.model": model.name, "recctl.input": input_kind}
        if context.run is not None:
            properties["recctl.run_id"] = context.run.id
        _onnx_file.write(graph, folder / _FILE, model.name, description, properties)
        sides = (_id_files.USERS, _id_files.ITEMS) if input_kind == "user" else (_id_files.ITEMS,)
        _id_files.write_parquet(folder, model, sides)
        _id_files.write_json(folder, model, sides)
        samples = _SampleUsers(model, input_kind)
        difference = self._largest_difference(_onnx_file.session(folder / _FILE), samples)
        if not difference <= _TOLERANCE:
            raise ArtifactError(
                f"onnx: scores of the graph differ from those of {model.name} by {difference:.1e} of the largest "
                f"score, more than {_TOLERANCE:.0e}; nothing was written"
            )
        facts: dict[str, Any] = {
            "opset": graph.OPSET,
            "input": input_kind,
            "inputs": _type_names(graph.inputs),
            "outputs": _type_names(graph.outputs),
            "descriptions": graph.descriptions,
            "people_checked": len(samples.rows),
            "largest_difference": float(f"{difference:.1e}"),
        }
        if self.k is not None:
            facts["ties"] = "lower item code first"
        return facts

    @classmethod
    def verify(cls, folder: Path, manifest: Mapping[str, Any], model: Recommender | None = None) -> None:
        """Load the graph and run it for an empty history, or for the first user."""
        from recctl.export import _onnx_file

        graph_path = folder / _FILE
        try:
            session = _onnx_file.session(graph_path)
            # Unpacking fails for a graph with another number of inputs, which is reported as damaged.
            (graph_input,) = session.get_inputs()
            outputs = session.run(None, {graph_input.name: _smallest_input(graph_input)})
        except Exception as error:  # onnxruntime's errors have no common class
            raise ArtifactError(f"{graph_path}: onnxruntime cannot run it: {error}") from error
        output_names = [output.name for output in session.get_outputs()]
        if output_names != list(manifest["facts"]["outputs"]) or any(len(output) != 1 for output in outputs):
            raise ArtifactError(f"{graph_path}: its outputs differ from the manifest's")
        _id_files.check_json(folder, manifest, model)

    def _input_kind(self, model: Recommender) -> _scoring_graph.Input:
        supported = _scoring_graph.supported_inputs(model)
        if self.input is None:
            return supported[0]
        if self.input not in supported:
            raise UnsupportedError(
                f"onnx: {model.name} has no graph for input={self.input}: choose input={' or '.join(supported)}"
            )
        return self.input

    def _largest_difference(self, session: Any, samples: _SampleUsers) -> float:
        """Largest difference from the model's scores, relative to the largest score."""
        difference = 0.0
        # Positive, so that the division at the end is safe if all scores are 0.
        largest_score = float(np.finfo(np.float32).tiny)
        for begin in range(0, len(samples.rows), _USERS_PER_BATCH):
            rows = samples.rows[begin : begin + _USERS_PER_BATCH]
            outputs = session.run(None, {samples.input_kind: samples.inputs(rows)})
            scores = samples.scores(rows)
            largest_score = max(largest_score, float(np.abs(scores).max(initial=0)))
            if self.k is None:
                difference = max(difference, _largest_gap(outputs[0], scores))
                continue
            items, top_scores = outputs
            seen = None if self.include_seen else samples.seen.take(rows)
            ties = samples.model.ties_of_histories(samples.seen.take(rows))
            _, expected = rank_block(scores, min(self.k, scores.shape[1]), seen, ties)
            # The graph breaks ties by code, and rounding may swap items with nearly equal scores. So compare the k best
            # scores, and compare the score of each chosen item, but not the items.
            scores_of_items = np.take_along_axis(scores, np.maximum(items, 0), 1)
            scores_of_items = np.where(items < 0, -np.inf, scores_of_items)
            difference = max(difference, _largest_gap(top_scores, expected), _largest_gap(top_scores, scores_of_items))
        return difference / largest_score


class _SampleUsers:
    """Users whose scores are compared, as input of the graph and as input of the model."""

    def __init__(self, model: Recommender, input_kind: _scoring_graph.Input) -> None:
        self.model = model
        self.input_kind = input_kind
        n_users = model.seen.n_rows
        n_items = model.seen.n_columns
        n_samples = min(n_users, _MAX_CHECKED_USERS)
        self.users = np.unique(np.linspace(0, n_users - 1, n_samples).astype(np.int32))
        seen = model.seen.take(self.users)
        if input_kind != "user":
            empty_history = np.empty(0, np.int32)
            # The step is rounded up: at most _LONG_HISTORY items, spread over the whole catalog.
            spread = np.arange(0, n_items, -(-n_items // _LONG_HISTORY), dtype=np.int32)
            # Models that read order see repeated items in real data; a small catalog must be repeated to get a long
            # history.
            long_history = np.resize(spread, _LONG_HISTORY) if model.reads_order else spread
            seen = _append_rows(seen, [empty_history, long_history])
        if input_kind == "sequence":
            # A sequence has no weights: the model is compared on the same binary histories.
            seen = InteractionMatrix(seen.starts, seen.columns, seen.values[:0], n_items)
        self.seen = seen
        self.rows: Int32Array = np.arange(seen.n_rows, dtype=np.int32)

    def scores(self, rows: Int32Array) -> Any:
        """The model's scores."""
        if self.input_kind == "user":
            return self.model.score_users(self.users[rows])
        return self.model.score_histories(self.seen.take(rows))

    def inputs(self, rows: Int32Array) -> Any:
        """The input of the graph."""
        if self.input_kind == "user":
            return self.users[rows].astype(np.int64)
        seen = self.seen.take(rows)
        if self.input_kind == "history":
            weights = np.zeros((len(rows), seen.n_columns), np.float32)
            weights[seen.rows, seen.columns] = 1 if seen.is_binary else seen.values
            return weights
        lengths = np.diff(seen.starts)
        longest = max(1, lengths.max())
        codes = np.full((len(rows), longest), -1, np.int64)
        # Aligned to the right, with the padding in front, as models that read order expect.
        codes[np.arange(longest) >= longest - lengths[:, None]] = seen.columns
        return codes


def _append_rows(matrix: InteractionMatrix, rows: list[Int32Array]) -> InteractionMatrix:
    """The matrix with binary rows appended."""
    appended = InteractionMatrix.from_rows(rows, matrix.n_columns)
    starts = np.concatenate((matrix.starts, matrix.starts[-1] + appended.starts[1:]))
    item_codes = np.concatenate((matrix.columns, appended.columns))
    values = matrix.values
    if not matrix.is_binary:
        values = np.concatenate((matrix.values, np.ones(appended.nnz, np.float32)))
    return InteractionMatrix(starts, item_codes, values, matrix.n_columns)


def _smallest_input(graph_input: Any) -> Any:
    """A batch of one: user 0, an empty sequence, or an empty history."""
    if graph_input.name == "user":
        return np.zeros(1, np.int64)
    if graph_input.name == "sequence":
        return np.full((1, 1), -1, np.int64)
    return np.zeros((1, graph_input.shape[-1]), np.float32)


def _largest_gap(actual: Any, expected: Any) -> float:
    """Largest absolute difference; infinite where a value is NaN, or only one of them is infinite."""
    with np.errstate(invalid="ignore"):
        # Equal infinities, of excluded items, differ by NaN when subtracted.
        differences = np.where(actual == expected, 0, np.abs(actual - expected))
    return float(np.nan_to_num(differences, nan=np.inf).max(initial=0))


def _type_names(declared: Mapping[str, tuple[Any, tuple[int | str, ...]]]) -> dict[str, str]:
    return {value_name: f"{dtype} ({', '.join(map(str, shape))})" for value_name, (dtype, shape) in declared.items()}
