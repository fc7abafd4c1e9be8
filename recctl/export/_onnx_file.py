"""A graph as an ONNX file, and running such a file by onnxruntime."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper

from recctl.engines import threads
from recctl.models.base.onnx_graph import ScoreGraph
from recctl.version import __version__

# Above this, weights lie in a file of their own: that is written ten times as fast, and protobuf ends at 2 GiB.
MOST_EMBEDDED = 1 << 26
# Those that do are found at multiples of this, so that they can be mapped; smaller ones stay in the graph.
_PAGE = 4096
# Of the file format; what onnxruntime 1.14 and newer read, as do all that know opset 18.
_IR_VERSION = 8


def write(graph: ScoreGraph, path: Path, name: str, notes: Mapping[str, str]) -> None:
    """Write a graph, checked by onnx: `path`, and beside it `path.data` if it has more than `MOST_EMBEDDED` bytes."""
    used = {name for operation in graph.operations for name in operation.inputs}
    constants = {name: array for name, array in graph.constants.items() if name in used}
    apart = sum(array.nbytes for array in constants.values()) > MOST_EMBEDDED
    data = path.with_name(f"{path.name}.data")
    if apart:
        with data.open("wb") as file:
            tensors = [_tensor(name, array, file) for name, array in constants.items()]
    else:
        tensors = [_tensor(name, array, None) for name, array in constants.items()]
    nodes = [_node(*operation) for operation in graph.operations]
    values = [
        [helper.make_tensor_value_info(name, _type(dtype), shape) for name, (dtype, shape) in declared.items()]
        for declared in (graph.inputs, graph.outputs)
    ]
    model = helper.make_model(
        helper.make_graph(nodes, name, *values, tensors),
        opset_imports=[helper.make_opsetid("", graph.OPSET)],
        ir_version=_IR_VERSION,
        producer_name="recctl",
        producer_version=__version__,
    )
    helper.set_model_props(model, dict(notes))
    path.write_bytes(model.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(path), full_check=True)


def session(path: Path) -> Any:
    """An `onnxruntime.InferenceSession` of a file, on the processor; it says nothing but errors."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads(), 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _node(operator: str, inputs: tuple[str, ...], outputs: tuple[str, ...], attributes: Mapping[str, Any]) -> Any:
    named = {name: _type(value) if isinstance(value, np.dtype) else value for name, value in attributes.items()}
    return helper.make_node(operator, inputs, outputs, **named)


def _tensor(name: str, array: NDArray[Any], file: Any) -> Any:
    tensor = TensorProto(name=name, data_type=_type(array.dtype), dims=array.shape)
    if file is None or array.nbytes < _PAGE:
        tensor.raw_data = array.tobytes()
        return tensor
    file.write(b"\0" * (-file.tell() % _PAGE))
    tensor.data_location = TensorProto.EXTERNAL
    where = {"location": Path(file.name).name, "offset": file.tell(), "length": array.nbytes}
    for key, value in where.items():
        tensor.external_data.add(key=key, value=str(value))
    file.write(array.data)
    return tensor


def _type(dtype: np.dtype[Any]) -> int:
    found: int = helper.np_dtype_to_tensor_dtype(dtype)
    return found
