"""Write a score graph as an ONNX file, and open such a file with onnxruntime."""

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
from recctl.models.base.onnx_graph import Operation, ScoreGraph
from recctl.version import __version__

# Above this size, weights go to a separate file: ten times as fast to write, and protobuf is limited to 2 GiB.
MAX_EMBEDDED_BYTES = 1 << 26
# External weights are aligned to pages, so that they can be memory-mapped; smaller ones stay in the graph.
_PAGE = 4096
# IR version of the file: read by onnxruntime 1.14 and newer, and by all tools that support opset 18.
_IR_VERSION = 8


def write(graph: ScoreGraph, path: Path, name: str, description: str, properties: Mapping[str, str]) -> None:
    """Write a graph and check it with onnx; weights above `MAX_EMBEDDED_BYTES` go to `PATH.data`.

    Args:
        graph: The graph, whose inputs and outputs get their descriptions as `doc_string`.
        path: The file.
        name: Name of the graph.
        description: The `doc_string` of the file.
        properties: Metadata of the file, its `metadata_props`.
    """
    used_constants = {name for operation in graph.operations for name in operation.inputs}
    constants = {name: array for name, array in graph.constants.items() if name in used_constants}
    is_large = sum(array.nbytes for array in constants.values()) > MAX_EMBEDDED_BYTES
    data_path = path.with_name(f"{path.name}.data")
    if is_large:
        with data_path.open("wb") as file:
            tensors = [_tensor(name, array, file) for name, array in constants.items()]
    else:
        tensors = [_tensor(name, array, None) for name, array in constants.items()]
    graph_nodes = [_node(operation) for operation in graph.operations]
    inputs = _value_infos(graph.inputs, graph.descriptions)
    outputs = _value_infos(graph.outputs, graph.descriptions)
    onnx_model = helper.make_model(
        helper.make_graph(graph_nodes, name, inputs, outputs, tensors),
        opset_imports=[helper.make_opsetid("", graph.OPSET)],
        ir_version=_IR_VERSION,
        producer_name="recctl",
        producer_version=__version__,
        doc_string=description,
    )
    helper.set_model_props(onnx_model, dict(properties))
    path.write_bytes(onnx_model.SerializeToString(deterministic=True))
    onnx.checker.check_model(str(path), full_check=True)


def session(path: Path) -> Any:
    """Open a file as an `onnxruntime.InferenceSession` on the CPU that logs errors only."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def _value_infos(
    declared: Mapping[str, tuple[Any, tuple[int | str, ...]]], descriptions: Mapping[str, str]
) -> list[Any]:
    return [
        helper.make_tensor_value_info(value_name, _type(dtype), shape, descriptions[value_name])
        for value_name, (dtype, shape) in declared.items()
    ]


def _node(operation: Operation) -> Any:
    attributes = {
        name: _type(value) if isinstance(value, np.dtype) else value for name, value in operation.attributes.items()
    }
    return helper.make_node(
        operation.operator, operation.inputs, operation.outputs, name=operation.name or None, **attributes
    )


def _tensor(name: str, array: NDArray[Any], file: Any) -> Any:
    tensor = TensorProto(name=name, data_type=_type(array.dtype), dims=array.shape)
    if file is None or array.nbytes < _PAGE:
        tensor.raw_data = array.tobytes()
        return tensor
    file.write(b"\0" * (-file.tell() % _PAGE))
    tensor.data_location = TensorProto.EXTERNAL
    location = {"location": Path(file.name).name, "offset": file.tell(), "length": array.nbytes}
    for entry_key, value in location.items():
        tensor.external_data.add(key=entry_key, value=str(value))
    file.write(array.data)
    return tensor


def _type(dtype: np.dtype[Any]) -> int:
    tensor_type: int = helper.np_dtype_to_tensor_dtype(dtype)
    return tensor_type
