"""What a command needs beyond the thin client."""

from __future__ import annotations

import importlib.util
import sys

from framewire_server.errors import installing

_SERVER = (
    "numpy",
    "cv2",
    "onnx",
    "onnxruntime",
    "pydantic_settings",
    "yaml",
    "grpc_health",
    "grpc_reflection",
)
_NEEDS = {
    "server": _SERVER,
    "eval": (*_SERVER, "faster_coco_eval"),
    "demo": ("numpy", "cv2", "onnx", "onnxruntime", "av", "faster_coco_eval"),
}


def require(extra: str, command: str) -> None:
    """Ends the program with the line that installs what `command` needs, if it is missing."""
    missing = [name for name in _NEEDS[extra] if importlib.util.find_spec(name) is None]
    if missing:
        sys.exit(f"`framewire {command}` needs an extra: {installing(extra)} (missing: {', '.join(missing)})")
