"""Tells a model file's format by its content, and for those that cannot be served, what to do instead."""

from __future__ import annotations

import enum
import json
import struct
import zipfile
from pathlib import Path

from framewire_server.errors import ModelError

_HEAD_BYTES = 1 << 16


class Format(enum.Enum):
    """A format that Framewire serves."""

    ONNX = enum.auto()


_EXPORT = {
    "pytorch": "it is a PyTorch checkpoint. Export it to ONNX: for an Ultralytics model\n"
    "    yolo export model={name} format=onnx dynamic=True\n"
    "  for any other network call torch.onnx.export(...) with a dynamic batch axis",
    "darknet": "it holds Darknet weights without the network. Convert weights and cfg to ONNX, for example with\n"
    "    python yolo_to_onnx.py --model {stem}        (jkjung-avt/tensorrt_demos)",
    "tlt": "it is an encrypted TAO model. Export it to ONNX with the key it was trained with:\n"
    "    tao model <network> export -m {name} -k $KEY -o {stem}.onnx",
    "uff": "it is a UFF graph, which TensorRT dropped with version 9. Export the original network to ONNX:\n"
    "    python -m tf2onnx.convert --saved-model DIR --opset 13 --output {stem}.onnx",
    "tensorrt": "it is a TensorRT plan, which this version of Framewire does not run yet. Serve the ONNX file that "
    "the plan was built from:\n    framewire serve {stem}.onnx",
    "openvino": "it is an OpenVINO model description. Export the original network to ONNX instead",
    "tflite": "it is a TensorFlow Lite model. Convert it to ONNX:\n"
    "    python -m tf2onnx.convert --tflite {name} --opset 13 --output {stem}.onnx",
}


_BY_SUFFIX = {
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".weights": "darknet",
    ".engine": "tensorrt",
    ".plan": "tensorrt",
}


def sniff(path: Path) -> Format:
    """Returns the format of a model file. Raises ModelError saying what to do when it cannot be served."""
    if not path.exists():
        raise ModelError(f"{path}: no such file")
    if path.is_dir():
        raise ModelError(
            f"{path}: is a directory; name the model file in it, or serve all with --models {path}"
        )
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    kind = _kind(path, head)
    if kind in _EXPORT:
        raise ModelError(f"{path}: " + _EXPORT[kind].format(name=path.name, stem=path.stem))
    if kind != "onnx":
        raise ModelError(f"{path}: is not a model: {_describe(head)}. Framewire serves ONNX files")
    return Format.ONNX


def _kind(path: Path, head: bytes) -> str | None:
    suffix = path.suffix.lower()
    if head[:4] in (b"ptrt", b"ftrt") or _ultralytics_plan(head, path.stat().st_size):
        return "tensorrt"
    if zipfile.is_zipfile(path) or head[:2] == b"\x80\x02":
        return "pytorch"
    if suffix == ".weights" and len(head) >= 20 and struct.unpack_from("<i", head)[0] == 0:
        return "darknet"
    if suffix in (".tlt", ".etlt"):
        return "tlt"
    if suffix == ".uff":
        return "uff"
    if head[4:8] == b"TFL3":
        return "tflite"
    if head.lstrip()[:5] == b"<?xml" and b"<net" in head:
        return "openvino"
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    # ModelProto begins with field 1 (ir_version, a varint below 32) in every file written by known exporters.
    return "onnx" if len(head) > 2 and head[0] == 0x08 and 0 < head[1] < 32 else None


def _ultralytics_plan(head: bytes, size: int) -> bool:
    """Whether a JSON object of metadata stands before a plan: its length in 4 bytes, then the text."""
    if len(head) < 8 or head[4:5] != b"{":
        return False
    (length,) = struct.unpack_from("<i", head)
    if not 2 <= length <= min(size - 4, _HEAD_BYTES - 4):
        return False
    try:
        return isinstance(json.loads(head[4 : 4 + length]), dict)
    except ValueError:
        return False


def _describe(head: bytes) -> str:
    if not head:
        return "it is empty"
    if head.startswith((b"\xff\xd8", b"\x89PNG")):
        return "it is a picture"
    if head.startswith(b"version https://git-lfs"):
        return "it is a Git LFS pointer; fetch the real file with `git lfs pull`"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head[:256]):
        return "it is a text file"
    return f"it begins with the bytes {head[:8].hex(' ')}"
