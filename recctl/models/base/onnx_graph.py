"""Builder of scoring functions as graphs of ONNX operators, which run outside of Python.

A graph is a list of operations on named values. Building one computes nothing and does not need the package onnx.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from recctl.data.matrix import InteractionMatrix
from recctl.engines import require_memory
from recctl.kernels.counter_rng import GOLDEN_GAMMA, MIX_1, MIX_2

Array = NDArray[Any]
Shape = tuple[int | str, ...]

# Gathering one weight takes about as long as multiplying this many weights of a dense matrix.
_GATHER_COST = 4


class Operation(NamedTuple):
    """One ONNX operation: the operator, the names of its inputs and outputs, its attributes, and its name if any."""

    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    name: str = ""


@dataclass(frozen=True, eq=False)
class Value:
    """A tensor of a graph: an input, a constant, or the result of an operation. Operators are elementwise."""

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
        """`value @ other.T` for two matrices."""
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
        """Convert to another type."""
        return self.graph.apply("Cast", self, to=np.dtype(dtype))

    def is_nonzero(self) -> Value:
        """True where a float32 value is not 0."""
        return self.graph.apply("Not", self.graph.apply("Equal", self, 0.0))

    def slice(self, axis: int, begin: int, end: int = np.iinfo(np.int64).max) -> Value:
        """`value[begin:end]` along one axis."""
        begins, ends, axes = (np.array([number], np.int64) for number in (begin, end, axis))
        return self.graph.apply("Slice", self, begins, ends, axes)

    def reshape(self, *shape: int) -> Value:
        """Reshape; 0 keeps the size of an axis, -1 is inferred from the other sizes."""
        return self.graph.apply("Reshape", self, np.array(shape, np.int64))

    def unsqueeze(self, axis: int) -> Value:
        """Insert an axis of length 1."""
        return self.graph.apply("Unsqueeze", self, np.array([axis], np.int64))

    def transpose(self, *axes: int) -> Value:
        """Permute the axes."""
        return self.graph.apply("Transpose", self, perm=list(axes))

    def sum(self, axis: int, keepdims: bool = False) -> Value:
        """Sum over an axis."""
        return self.graph.apply("ReduceSum", self, np.array([axis], np.int64), keepdims=int(keepdims))

    def gather(self, indices: Operand, axis: int = 0) -> Value:
        """Gather entries along an axis, as `numpy.take` does."""
        return self.graph.apply("Gather", self, indices, axis=axis)

    def dim_size(self, axis: int) -> Value:
        """The length of an axis, a scalar."""
        return self.graph.apply("Shape", self, start=axis, end=axis + 1).reshape()

    def require_range(self, begin: int, end: int, name: str) -> Value:
        """These int64 values, after a node that fails unless `begin <= value < end` for all of them.

        ONNX has no assertions, and a negative index of `Gather` counts from the end. So each value becomes an index
        into an array of one element: 0 if the value is valid, or 1, which is out of range. Runtimes on a CPU refuse
        that with an error that contains the name of the node.

        Args:
            begin: The lowest valid value.
            end: One more than the highest valid value.
            name: What the values are, such as `user_code`; the name of the node adds the valid range.
        """
        is_invalid = (self < begin) | (self >= end)
        lowest = str(begin).replace("-", "minus_")
        operands = np.zeros(1, np.int64), is_invalid.cast(np.int64)
        (zeros,) = self.graph._apply("Gather", operands, 1, {"axis": 0}, f"{name}_must_be_{lowest}_to_{end - 1}")
        return self + zeros


Operand = Value | Array | np.generic | float | int


class ScoreGraph:
    """A computation as ONNX operations (of opset `OPSET`) in topological order.

    Attributes:
        inputs: Type and shape of each input by name; sizes that are known at run time only are names.
        outputs: Type and shape of each output by name.
        descriptions: What each input and output holds, by name.
        constants: Arrays by name: the weights.
        operations: The operations.
    """

    OPSET = 18

    def __init__(self) -> None:
        self.inputs: dict[str, tuple[np.dtype[Any], Shape]] = {}
        self.outputs: dict[str, tuple[np.dtype[Any], Shape]] = {}
        self.descriptions: dict[str, str] = {}
        self.constants: dict[str, Array] = {}
        self.operations: list[Operation] = []

    def input(self, name: str, dtype: type[np.generic], shape: Shape, description: str = "") -> Value:
        """Declare an input."""
        self.inputs[name] = np.dtype(dtype), shape
        self.descriptions[name] = description
        return Value(self, name)

    def output(self, name: str, value: Value, dtype: type[np.generic], shape: Shape, description: str = "") -> None:
        """Declare an output."""
        self.operations.append(Operation("Identity", (value.name,), (name,), {}))
        self.outputs[name] = np.dtype(dtype), shape
        self.descriptions[name] = description

    def constant(self, value: Array | np.generic | float | int, name: str = "constant") -> Value:
        """Add an array or number; Python numbers become int64 or float32."""
        if not isinstance(value, np.ndarray | np.generic):
            value = np.int64(value) if isinstance(value, int) else np.float32(value)
        array = np.ascontiguousarray(value).reshape(np.shape(value))
        if name == "constant" and array.size <= 1:
            name = f"{array.dtype}_{array.ndim}_{array.tobytes().hex()}"
        else:
            name = f"{name}_{len(self.constants)}"  # the number avoids the names of inputs and outputs
        self.constants[name] = array
        return Value(self, name)

    def apply(self, operator: str, *operands: Operand, **attributes: Any) -> Value:
        """Apply an ONNX operator with one output. Operands that are not values of the graph become constants."""
        (result,) = self._apply(operator, operands, 1, attributes)
        return result

    def apply_two_outputs(self, operator: str, *operands: Operand, **attributes: Any) -> tuple[Value, Value]:
        """Apply an ONNX operator with two outputs."""
        first, second = self._apply(operator, operands, 2, attributes)
        return first, second

    def _apply(
        self, operator: str, operands: Iterable[Operand], n_outputs: int, attributes: dict[str, Any], name: str = ""
    ) -> list[Value]:
        values = [value if isinstance(value, Value) else self.constant(value) for value in operands]
        inputs = tuple(value.name for value in values)
        outputs = tuple(f"{operator.lower()}_{len(self.operations)}_{output}" for output in range(n_outputs))
        self.operations.append(Operation(operator, inputs, outputs, attributes, name))
        return [Value(self, output) for output in outputs]

    @property
    def n_bytes(self) -> int:
        """The size of the constants in bytes."""
        return sum(array.nbytes for array in self.constants.values())


def normalize_rows(vectors: Value) -> Value:
    """Scale each row of `(n, d)` to length 1; rows of zeros remain zeros."""
    lengths = vectors.graph.apply("Sqrt", (vectors * vectors).sum(1, keepdims=True))
    return vectors / vectors.graph.apply("Max", lengths, np.finfo(np.float32).tiny)


def solve_spd(systems: Value, n: int) -> Value:
    """Solve `A x = b` for symmetric positive definite matrices `A`.

    ONNX has no operator that solves linear systems. This is Gauss-Jordan elimination, unrolled; positive definite
    systems do not need pivoting.

    Args:
        systems: The augmented matrices `A | b`, `(n_systems, n, n + 1)`.
        n: The size of each system.

    Returns:
        The solutions, `(n_systems, n)`.
    """
    for row in range(n):
        column = systems.slice(2, 0, 1)
        rest = systems.slice(2, 1)
        pivot_row = rest.slice(1, row, row + 1) / column.slice(1, row, row + 1)
        unit = (np.arange(n) == row).astype(np.float64)[:, None]
        systems = rest - (column - unit) * pivot_row
    return systems.reshape(0, -1)


def splitmix64(counter: Value) -> Value:
    """SplitMix64 of an int64 value, as in `recctl.kernels.counter_rng`.

    The product of two int64 has the same bits as the product of the same bits as uint64.
    """
    z = counter * GOLDEN_GAMMA.astype(np.int64)
    z = (z ^ shift_right(z, 30)) * MIX_1.astype(np.int64)
    z = (z ^ shift_right(z, 27)) * MIX_2.astype(np.int64)
    return z ^ shift_right(z, 31)


def shift_right(value: Value, n_bits: int) -> Value:
    """The logical right shift of an int64: vacated bits are 0, whatever the sign."""
    shifted = value.graph.apply("BitShift", value.cast(np.uint64), np.uint64(n_bits), direction="RIGHT")
    return shifted.cast(np.int64)


def matmul_sparse(
    histories: Value, weights: InteractionMatrix, hint: str = "fit with fewer weights per item (n_neighbors)"
) -> Value:
    """`histories @ weights` for sparse weights.

    If every item has few weights, they are gathered: a padded table of them is smaller than a dense matrix, and faster
    for few users. Otherwise the weights become a dense matrix.

    Args:
        histories: Weights of the items in each history, `(n, n_items)`.
        weights: A row for each item of a history, `(n_items, n_columns)`.
        hint: What to do if the dense matrix exceeds the available memory.

    Returns:
        Scores, `(n, n_columns)`.

    Raises:
        TrainingError: The dense matrix would exceed the available memory.
    """
    graph = histories.graph
    by_item = weights.transpose()
    counts = np.diff(by_item.starts)
    max_count = int(counts.max(initial=1)) or 1
    if max_count * _GATHER_COST > weights.n_rows:
        require_memory(
            4 * weights.n_rows * weights.n_columns,
            f"a graph of weights of {weights.n_rows:,} x {weights.n_columns:,}, up to {max_count:,} in a column",
            hint,
        )
        dense = np.zeros((weights.n_rows, weights.n_columns), np.float32)
        dense[weights.rows, weights.columns] = 1 if weights.is_binary else weights.values
        return histories @ graph.constant(dense, "weights")
    is_weight = np.arange(max_count) < counts[:, None]
    items = np.zeros(is_weight.shape, np.int32)
    values = np.zeros(is_weight.shape, np.float32)
    items[is_weight] = by_item.columns
    values[is_weight] = 1 if by_item.is_binary else by_item.values
    # Users are the last axis: the weights gathered for one item are then contiguous, and multiplied as a matrix.
    gathered = histories.transpose(1, 0).gather(graph.constant(items, "neighbours"))  # (n_items, max_count, n)
    scores = graph.constant(values[:, None], "weights") @ gathered  # (n_items, 1, n)
    return scores.sum(1).transpose(1, 0)
