"""MI-GAN's exported pipeline with its true inputs and outputs: the hole is filled with the mean of what is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def write_migan(path: Path, *, image: str = "image") -> Path:
    """``image`` and ``mask`` (``uint8``, 0 = hole) -> ``result``; like the real one for a batch of one only."""
    picture = helper.make_tensor_value_info(image, TensorProto.UINT8, ["batch_size", 3, "height", "width"])
    mask = helper.make_tensor_value_info("mask", TensorProto.UINT8, ["batch_size", 1, "height", "width"])
    result = helper.make_tensor_value_info("result", TensorProto.UINT8, ["b", 3, "h", "w"])
    # A batch of one is written into the shape: of a larger one there is more than fits, which is an error.
    constants = {"half": np.float32(127.5), "axes": np.array([2, 3]), "one": np.float32(1), "alone": np.array([1, 3])}
    nodes = [
        helper.make_node("Cast", [image], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["mask"], ["levels"], to=TensorProto.FLOAT),
        helper.make_node("Greater", ["levels", "half"], ["kept"]),
        helper.make_node("Cast", ["kept"], ["weights"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "weights"], ["seen"]),
        helper.make_node("ReduceSum", ["seen", "axes"], ["total"]),
        helper.make_node("ReduceSum", ["weights", "axes"], ["count"]),
        helper.make_node("Max", ["count", "one"], ["some"]),
        helper.make_node("Div", ["total", "some"], ["mean"]),
        helper.make_node("Where", ["kept", "pixels", "mean"], ["filled"]),
        helper.make_node("Shape", [image], ["sides"], start=2),
        helper.make_node("Concat", ["alone", "sides"], ["shape"], axis=0),
        helper.make_node("Reshape", ["filled", "shape"], ["checked"]),
        helper.make_node("Cast", ["checked"], ["result"], to=TensorProto.UINT8),
    ]
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "migan", [picture, mask], [result], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path
