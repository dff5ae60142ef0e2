"""Tells a model file's format by its content, and for those that cannot be served, what to do instead."""

from __future__ import annotations

import enum
import json
import re
import struct
import zipfile
from pathlib import Path

from framewire_server.errors import ModelError

_HEAD_BYTES = 1 << 16
_MOST_PREFIX_BYTES = 1 << 24


class Format(enum.Enum):
    """A format that Framewire serves."""

    ONNX = enum.auto()
    PLAN = enum.auto()
    """A network that TensorRT built, for one kind of GPU."""


_EXPORT = {
    "pytorch": "it is a PyTorch checkpoint. Export it to ONNX: for an Ultralytics model\n"
    "    yolo export model={name} format=onnx dynamic=True\n"
    "  for any other network call torch.onnx.export(...) with a dynamic batch axis",
    "darknet": "it holds Darknet weights without the network. Convert weights and cfg to ONNX, for example with\n"
    "    python yolo_to_onnx.py --model {stem}        (jkjung-avt/tensorrt_demos)",
    "tlt": "it is an encrypted TAO model. Export it to ONNX with the key it was trained with:\n"
    "    tao model <network> export -m {name} -k $KEY -e SPEC -o {stem}.onnx",
    "etlt": "it is an encrypted TAO model for deployment, which cannot be converted. Export the model that it was made "
    "from to ONNX, with the key it was trained with:\n"
    "    tao model <network> export -m {stem}.tlt -k $KEY -e SPEC -o {stem}.onnx",
    "uff": "it is a UFF graph, which TensorRT dropped with version 9 and nothing converts. Export the original network "
    "to ONNX:\n    python -m tf2onnx.convert --saved-model DIR --opset 13 --output {stem}.onnx",
    "old-plan": "it is a TensorRT plan of version {version}. As a rule it runs in that version alone, and no network "
    "can be read back out of it. Export the network to ONNX again; of TAO for example with\n"
    "    tao model <network> export -m {stem}.tlt -k $KEY -e SPEC -o {stem}.onnx\n"
    "  and serve that:\n    framewire serve {stem}.onnx",
    "tensorrt": "it is a TensorRT plan, which runs on the kind of GPU that it was built for. Serve it there with\n"
    "    framewire serve {name} --device cuda\n"
    "  or anywhere the ONNX file that it was built from:\n    framewire serve {network}.onnx",
    "openvino": "it is an OpenVINO model description. Export the original network to ONNX instead",
    "tflite": "it is a TensorFlow Lite model. Convert it to ONNX:\n"
    "    python -m tf2onnx.convert --tflite {name} --opset 13 --output {stem}.onnx",
}


_PLAN_TAGS = (b"ptrt", b"ftrt")
_FIRST_PLAN_THAT_MAY_RUN = 10
_UFF = re.compile(rb"\x08[\x00-\x7f]\x10[\x00-\x7f]")
"""MetaGraph begins with two whole numbers, its version and its descriptors'; ONNX's second field is a text."""
_TENSOR_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_/:.-]{0,62}")

_BY_SUFFIX = {
    ".pt": "pytorch",
    ".pth": "pytorch",
    ".weights": "darknet",
}
_PLANS = (".engine", ".plan")


def sniff(path: Path, *, plans: bool = False) -> Format:
    """Returns the format of a model file. Raises ModelError saying what to do when it cannot be served: `plans` says
    whether plans can."""
    if not path.exists():
        raise ModelError(f"{path}: no such file")
    if path.is_dir():
        raise ModelError(
            f"{path}: is a directory; name the model file in it, or serve all with --models {path}"
        )
    head = _head(path)
    kind = _kind(path, head)
    if kind == "tensorrt" and plans:
        return Format.PLAN
    if kind in _EXPORT:
        advice = _EXPORT[kind].format(
            name=path.name, stem=path.stem, version=_plan_version(head), network=_network(head) or path.stem
        )
        raise ModelError(f"{path}: {advice}")
    if kind is None and path.suffix.lower() in _PLANS:
        raise ModelError(f"{path}: is no TensorRT plan, or is damaged: {_describe(head)}")
    if kind != "onnx":
        raise ModelError(
            f"{path}: is not a model: {_describe(head)}. Framewire serves ONNX files and TensorRT plans"
        )
    return Format.ONNX


def network_of_plan(path: Path) -> str:
    """What the ONNX file is called, without its suffix, that a plan was built from; the plan's own name where nothing
    is noted of it."""
    return _network(_head(path)) or path.stem


def is_plan(path: Path) -> bool:
    """Whether a file holds a TensorRT plan, of whatever version; not so of one that cannot be read."""
    try:
        return _is_plan(_head(path), path.stat().st_size)
    except OSError:
        return False


def _head(path: Path) -> bytes:
    """A file's first bytes; what may stand before a plan is read whole."""
    with path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
        if head[4:5] == b"{":
            (length,) = struct.unpack_from("<I", head)
            head += file.read(length if length <= _MOST_PREFIX_BYTES else 0)
        return head


def _kind(path: Path, head: bytes) -> str | None:
    suffix = path.suffix.lower()
    if not head:
        return None
    if _is_plan(head, path.stat().st_size):
        return "old-plan" if _plan_version(head) else "tensorrt"
    if suffix in (".tlt", ".etlt"):  # before zip archives: newer .tlt files are such
        return suffix[1:]
    if zipfile.is_zipfile(path) or head[:2] == b"\x80\x02":
        return "pytorch"
    if suffix == ".weights" and len(head) >= 20 and struct.unpack_from("<i", head)[0] == 0:
        return "darknet"
    if suffix == ".uff" or _UFF.match(head):
        return "uff"
    if head[4:8] == b"TFL3":
        return "tflite"
    if _is_etlt(head):
        return "etlt"
    if head.lstrip()[:5] == b"<?xml" and b"<net" in head:
        return "openvino"
    if suffix in _BY_SUFFIX:
        return _BY_SUFFIX[suffix]
    # ModelProto begins with field 1 (ir_version, a varint below 32) in every file written by known exporters.
    return "onnx" if len(head) > 2 and head[0] == 0x08 and 0 < head[1] < 32 else None


def _is_plan(head: bytes, size: int) -> bool:
    return head[:4] in _PLAN_TAGS or _has_prefix(head, size)


def _plan_version(head: bytes) -> str | None:
    """The version of TensorRT that built a plan, where it is too old to run in one that Framewire would use.

    From 8.6 on a plan begins with `ftrt`, a 0 of 4 bytes, and at byte 24 the version's four numbers (NVIDIA TensorRT,
    samples/common/sampleEngines.cpp, printPlanVersion); older ones begin with `ptrt`.
    """
    start = 0 if head[:4] in _PLAN_TAGS else 4 + struct.unpack_from("<i", head.ljust(4, b"\0"))[0]
    plan = head[start : start + 28] if 0 <= start < len(head) else b""
    if plan[:4] == b"ptrt":
        return "8.5 or older"
    if len(plan) < 28 or plan[:8] != b"ftrt" + bytes(4) or not 0 < plan[24] < _FIRST_PLAN_THAT_MAY_RUN:
        return None
    return ".".join(map(str, plan[24:27]))


def _network(head: bytes) -> str | None:
    """The name of the model that a plan of ours was built from."""
    if head[4:5] != b"{":
        return None
    (length,) = struct.unpack_from("<I", head)
    try:
        name = json.loads(head[4 : 4 + length])["framewire"]["name"]
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return name if isinstance(name, str) else None


def _is_etlt(head: bytes) -> bool:
    """Whether the name of the input stands before what is encrypted: its length in 4 bytes, then the name
    (NVIDIA tao_deploy, utils/decoding.py)."""
    if len(head) < 8:
        return False
    (length,) = struct.unpack_from("<i", head)
    return 0 < length < 64 and bool(_TENSOR_NAME.fullmatch(head[4 : 4 + length]))


def _has_prefix(head: bytes, size: int) -> bool:
    """Whether a JSON object of metadata stands before a plan, as Ultralytics writes it: its length in 4 bytes, then
    the text."""
    if len(head) < 8 or head[4:5] != b"{":
        return False
    (length,) = struct.unpack_from("<i", head)
    if not 2 <= length <= min(size - 4, _MOST_PREFIX_BYTES):
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
