"""Quantises an ONNX detector to INT8, calibrated on pictures that are prepared as the server prepares them.

python examples/python/quantise.py yolov8n.onnx photos/ yolov8n-int8.onnx --keep /dfl/
framewire models build yolov8n-int8.onnx --precision int8
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from onnx import version_converter
from onnxruntime.quantization import (
    CalibrationDataReader,
    CalibrationMethod,
    QuantFormat,
    QuantType,
    quantize_static,
)

from framewire_server.models.recognition import read
from framewire_server.pipeline.building import feeds

PER_CHANNEL_OPSET = 13


class Pictures(CalibrationDataReader):  # type: ignore[misc]  # ONNX Runtime ships no types
    """What the network is fed for each picture."""

    def __init__(self, fed: Iterator[Any]) -> None:
        self.fed = fed

    def get_next(self) -> Any:
        """The next picture's inputs, None after the last."""
        return next(self.fed, None)


def quantise(model: Path, pictures: list[Path], target: Path, keep: tuple[str, ...] = ()) -> None:
    """Writes the network with all convolutions in INT8 but those with one of `keep` in their name."""
    spec, network = read(model)
    opset = next(entry.version for entry in network.opset_import if entry.domain in ("", "ai.onnx"))
    if opset < PER_CHANNEL_OPSET:
        network = version_converter.convert_version(network, PER_CHANNEL_OPSET)
    quantize_static(
        network,
        target,
        Pictures(iter(feeds(spec, tuple(pictures)))),
        quant_format=QuantFormat.QDQ,
        activation_type=QuantType.QInt8,
        weight_type=QuantType.QInt8,
        per_channel=True,
        calibrate_method=CalibrationMethod.Percentile,
        op_types_to_quantize=["Conv"],
        nodes_to_exclude=[
            node.name for node in network.graph.node if any(part in node.name for part in keep)
        ],
        # TensorRT knows scales alone: zero is zero, and biases stay as they are.
        extra_options={"ActivationSymmetric": True, "WeightSymmetric": True, "QuantizeBias": False},
    )


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("model", type=Path, help="an ONNX file that the server recognises")
    parser.add_argument("pictures", type=Path, help="a folder of a few hundred pictures of the camera's kind")
    parser.add_argument("target", type=Path, help="the ONNX file to write")
    parser.add_argument(
        "--keep", action="append", default=[], help="part of the names of nodes to leave alone"
    )
    arguments = parser.parse_args()
    suffixes = (".jpg", ".jpeg", ".png")
    pictures = sorted(path for path in arguments.pictures.iterdir() if path.suffix.lower() in suffixes)
    quantise(arguments.model, pictures, arguments.target, tuple(arguments.keep))
    print(f"{arguments.target}: calibrated on {len(pictures)} pictures")


if __name__ == "__main__":
    main()
