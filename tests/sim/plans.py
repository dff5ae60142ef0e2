"""Fake plans: the head of a real one, what an engine must know, and the ONNX network that it runs."""

from __future__ import annotations

import json
import struct
from dataclasses import asdict, dataclass, field

_TAG = b"ftrt"
_HEAD_BYTES = 32
_VERSION_AT = 24
Range = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]
"""The smallest, usual and largest shape of an input in a profile."""


@dataclass
class PlanSpec:
    """What stands in a plan beside the network."""

    version: tuple[int, int, int, int]
    gpu_name: str
    compute_capability: tuple[int, int]
    profiles: list[dict[str, Range]] = field(default_factory=lambda: [{}])
    plugins: list[str] = field(default_factory=list)
    version_compatible: bool = False
    hardware_compatible: bool = False
    num_aux_streams: int = 0
    name: str = "Unnamed Network 0"
    num_layers: int = 1
    detailed: bool = False
    weight_streaming: bool = False


class PlanError(Exception):
    """A plan cannot be read; its text is what TensorRT's logger says."""


def encode(spec: PlanSpec, network: bytes) -> bytes:
    """The bytes of a plan."""
    text = json.dumps(asdict(spec)).encode()
    head = bytearray(_HEAD_BYTES)
    head[:4] = _TAG
    head[_VERSION_AT : _VERSION_AT + 4] = bytes(spec.version)
    return bytes(head) + struct.pack("<QQ", len(text), len(network)) + text + network


def decode(plan: bytes) -> tuple[PlanSpec, bytes]:
    """The spec and the network of a plan. Raises PlanError."""
    if plan[:4] != _TAG:
        raise PlanError(
            "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (magicTag does not match.)"
        )
    start = _HEAD_BYTES + 16
    sizes = struct.unpack_from("<QQ", plan, _HEAD_BYTES) if len(plan) >= start else (0, 1)
    if len(plan) != start + sum(sizes):
        raise PlanError(
            "IRuntime::deserializeCudaEngine: Error Code 1: Serialization (the plan is truncated: "
            f"{len(plan)} bytes.)"
        )
    stated = json.loads(plan[start : start + sizes[0]])
    stated["profiles"] = [
        {name: tuple(map(tuple, range_)) for name, range_ in profile.items()}
        for profile in stated["profiles"]
    ]
    for name in ("version", "compute_capability"):
        stated[name] = tuple(stated[name])
    return PlanSpec(**stated), plan[start + sizes[0] :]


def refusal(
    spec: PlanSpec, version: tuple[int, int, int, int], compute_capability: tuple[int, int]
) -> str | None:
    """Why a TensorRT of `version` on a GPU of `compute_capability` does not run a plan, or None."""
    if spec.version != version and not (spec.version_compatible and spec.version <= version):
        return (
            "IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error (The engine plan file is not compatible "
            f"with this version of TensorRT, expecting library version {_text(version)} got {_text(spec.version)}, "
            "please rebuild.)"
        )
    newer = spec.hardware_compatible and compute_capability >= spec.compute_capability >= (8, 0)
    if spec.compute_capability != compute_capability and not newer:
        return (
            "IRuntime::deserializeCudaEngine: Error Code 6: API Usage Error (The engine plan file is generated on an "
            f"incompatible device, expecting compute {_text(compute_capability)} got compute "
            f"{_text(spec.compute_capability)}, please rebuild.)"
        )
    return None


def _text(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
