"""ONNX files: run through onnxruntime, which is an extra."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pairwright.weights import WeightsError

ON_DEVICE = {"cuda": "CUDAExecutionProvider"}
"""What onnxruntime calls a device, where its build may have it; everything else runs on the CPU."""


def session(path: Path, *, threads: int, device: str = "cpu") -> Any:
    """An ``onnxruntime.InferenceSession``.

    Args:
        path: the file.
        threads: for one run. Sums are split among them, so that another number may change a result's last digit.
        device: type of torch's device; the CPU stands in where this onnxruntime has no provider for it.

    Raises:
        WeightsError: onnxruntime is not installed, or the file is not an ONNX graph.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise WeightsError(f"{path} needs onnxruntime: pip install 'pairwright[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # what goes wrong comes as an exception; onnxruntime would also print it
    wanted = [ON_DEVICE[device]] if device in ON_DEVICE else []
    providers = [each for each in wanted if each in onnxruntime.get_available_providers()]
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=[*providers, "CPUExecutionProvider"])
    except Exception as error:
        raise WeightsError(f"{path} is not an ONNX file that onnxruntime can run: {str(error).splitlines()[0]}") from error
