"""Scoring functions as graphs of ONNX's operators, which other programs can run: what models build them with.

Nothing is computed here, and onnx is not needed: a graph is a list of operations on named values.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recctl.data.matrix import InteractionMatrix
from recctl.engines import require_memory

Array = NDArray[Any]
Shape = tuple[int | str, ...]

# A weight that is gathered takes about as long as this many of a dense matrix, for one person or many.
_COST_OF_GATHERING = 4


class Operation(NamedTuple):
    """An operator of ONNX, what it is applied to, and what its result is called."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]


@dataclass(frozen=True, eq=False)
class Value:
    """What an input, a constant or an operation of a graph is at run time; comparisons give booleans, elementwise."""

    graph: ScoreGraph
    name: str

    def __add__(self, other: Operand) -> Value:
        return self.graph.apply("Add", self, other)

    def __sub__(self, other: Operand) -> Value:
        return self.graph.apply("Sub", self, other)

    def __mul__(self, other: Operand) -> Value:
        return self.graph.apply("Mul", self, other)

    def __truediv__(self, other: Operand) -> Value:
        return self.graph.apply("Div", self, other)

    def __matmul__(self, other: Operand) -> Value:
        return self.graph.apply("MatMul", self, other)

    def matmul_transposed(self, other: Value) -> Value:
        """`value @ other.T`, both of two axes."""
        return self.graph.apply("Gemm", self, other, transB=1)

    def __xor__(self, other: Operand) -> Value:
        return self.graph.apply("BitwiseXor", self, other)

    def __and__(self, other: Operand) -> Value:
        return self.graph.apply("And", self, other)

    def __or__(self, other: Operand) -> Value:
        return self.graph.apply("Or", self, other)

    def __ge__(self, other: Operand) -> Value:
        return self.graph.apply("GreaterOrEqual", self, other)

    def __lt__(self, other: Operand) -> Value:
        return self.graph.apply("Less", self, other)

    def cast(self, dtype: type[np.generic]) -> Value:
        """The same in another type."""
        return self.graph.apply("Cast", self, to=np.dtype(dtype))

    def is_nonzero(self) -> Value:
        """Where a float32 value is not 0."""
        return self.graph.apply("Not", self.graph.apply("Equal", self, 0.0))

    def slice(self, axis: int, begin: int, end: int = np.iinfo(np.int64).max) -> Value:
        """`value[begin:end]` along one axis."""
        return self.graph.apply("Slice", self, *(np.array([number], np.int64) for number in (begin, end, axis)))

    def reshape(self, *shape: int) -> Value:
        """In another shape; 0 keeps a size, -1 takes what is left."""
        return self.graph.apply("Reshape", self, np.array(shape, np.int64))

    def unsqueeze(self, axis: int) -> Value:
        """With an axis of length 1 put in."""
        return self.graph.apply("Unsqueeze", self, np.array([axis], np.int64))

    def transpose(self, *axes: int) -> Value:
        """With its axes in another order."""
        return self.graph.apply("Transpose", self, perm=list(axes))

    def sum(self, axis: int, keepdims: bool = False) -> Value:
        """The sum along an axis."""
        return self.graph.apply("ReduceSum", self, np.array([axis], np.int64), keepdims=int(keepdims))

    def gather(self, indices: Operand, axis: int = 0) -> Value:
        """`numpy.take`: the entries at some places of an axis."""
        return self.graph.apply("Gather", self, indices, axis=axis)

    def dim_size(self, axis: int) -> Value:
        """The length of an axis, a number."""
        return self.graph.apply("Shape", self, start=axis, end=axis + 1).reshape()


Operand = Value | Array | np.generic | float | int


class ScoreGraph:
    """A computation from inputs to outputs, as operations of ONNX (`OPSET`) in the order in which they can be done.

    Attributes:
        inputs: Type and shape of each input; sizes that are known at run time only have names.
        outputs: The same of each output.
        constants: Arrays by name: the weights.
        operations: What is done.
    """

    OPSET = 18

    def __init__(self) -> None:
        self.inputs: dict[str, tuple[np.dtype[Any], Shape]] = {}
        self.outputs: dict[str, tuple[np.dtype[Any], Shape]] = {}
        self.constants: dict[str, Array] = {}
        self.operations: list[Operation] = []

    def input(self, name: str, dtype: type[np.generic], shape: Shape) -> Value:
        """Declare an input."""
        self.inputs[name] = np.dtype(dtype), shape
        return Value(self, name)

    def output(self, name: str, value: Value, dtype: type[np.generic], shape: Shape) -> None:
        """Declare an output."""
        self.operations.append(Operation("Identity", (value.name,), (name,), {}))
        self.outputs[name] = np.dtype(dtype), shape

    def constant(self, value: Array | np.generic | float | int, name: str = "constant") -> Value:
        """An array or number of the model; Python's numbers are int64 or float32."""
        if not isinstance(value, np.ndarray | np.generic):
            value = np.int64(value) if isinstance(value, int) else np.float32(value)
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        if name == "constant" and array.size <= 1:
            name = f"{array.dtype}_{array.ndim}_{array.tobytes().hex()}"
        else:
            name = f"{name}_{len(self.constants)}"  # never that of an input or output
        self.constants[name] = array
        return Value(self, name)

    def apply(self, operator: str, *operands: Operand, **attributes: Any) -> Value:
        """The result of one of ONNX's operators that gives one; what is no value of the graph becomes a constant."""
        return self._apply(operator, operands, 1, attributes)[0]

    def apply_two_outputs(self, operator: str, *operands: Operand, **attributes: Any) -> tuple[Value, Value]:
        """The results of an operator that gives two."""
        first, second = self._apply(operator, operands, 2, attributes)
        return first, second

    def _apply(self, operator: str, operands: Iterable[Operand], n: int, attributes: dict[str, Any]) -> list[Value]:
        values = [value if isinstance(value, Value) else self.constant(value) for value in operands]
        names = tuple(f"{operator.lower()}_{len(self.operations)}_{at}" for at in range(n))
        self.operations.append(Operation(operator, tuple(value.name for value in values), names, attributes))
        return [Value(self, name) for name in names]

    @property
    def n_bytes(self) -> int:
        """Size of the constants."""
        return sum(array.nbytes for array in self.constants.values())


def normalize_rows(vectors: Value) -> Value:
    """Each row of `(n, d)` at length 1; rows of zeros stay so."""
    length = vectors.graph.apply("Sqrt", (vectors * vectors).sum(1, keepdims=True))
    return vectors / vectors.graph.apply("Max", length, np.finfo(np.float32).tiny)


def solve_spd(systems: Value, n: int) -> Value:
    """`x` of `A x = b` for symmetric positive definite systems `A | b`, `(n_systems, n, n + 1)`, as `(n_systems, n)`.

    By Gauss and Jordan, written out, as ONNX solves nothing; such systems need no exchange of rows.
    """
    for at in range(n):
        column, rest = systems.slice(2, 0, 1), systems.slice(2, 1)
        pivot = rest.slice(1, at, at + 1) / column.slice(1, at, at + 1)
        unit = (np.arange(n) == at).astype(np.float64)[:, None]
        systems = rest - (column - unit) * pivot
    return systems.reshape(0, -1)


def matmul_sparse(histories: Value, weights: InteractionMatrix) -> Value:
    """`histories @ weights`, `(n, n_items)`, for sparse weights with a row for each item of a history.

    Where every item has few weights, they are gathered: a table of them takes less room than a square matrix of which
    most is 0, and less time for a few people.
    """
    graph, by_item = histories.graph, weights.transpose()
    counts = np.diff(by_item.starts)
    longest = int(counts.max(initial=1)) or 1
    if longest * _COST_OF_GATHERING > weights.n_rows:
        require_memory(
            4 * weights.n_rows * weights.n_columns,
            f"a graph of weights of {weights.n_rows:,} x {weights.n_columns:,} items, up to {longest:,} each",
            "fit with fewer weights an item (n_neighbors)",
        )
        dense = np.zeros((weights.n_rows, weights.n_columns), np.float32)
        dense[weights.rows, weights.columns] = weights.values
        return histories @ graph.constant(dense, "weights")
    filled = np.arange(longest) < counts[:, None]
    items, values = np.zeros(filled.shape, np.int32), np.zeros(filled.shape, np.float32)
    items[filled], values[filled] = by_item.columns, by_item.values
    # People last: what is gathered for one item then lies together, and is multiplied as a matrix.
    taken = histories.transpose(1, 0).gather(graph.constant(items, "neighbours"))  # (n_items, longest, n)
    return (graph.constant(values[:, None], "weights") @ taken).sum(1).transpose(1, 0)
