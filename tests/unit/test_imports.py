"""Imports go one way, and the client is thin."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import framewire

ROOT = Path(__file__).resolve().parents[2]
SERVER = ROOT / "server/framewire_server"
CLIENT = ROOT / "client/python/framewire"

# What each part of the server may import, besides itself and what lies outside the project.
ALLOWED = {
    "errors": {"core"},
    "config": {"weights"},
    "tensors": {"errors"},
    "weights": set(),
    "threads": set(),
    "core": {"errors", "config", "threads"},
    "vision": {"core", "errors"},
    "engines": {"tensors", "vision", "errors", "threads"},
    "models": {"tensors", "vision", "errors"},
    "pipeline": {"core", "models", "vision", "engines", "tensors", "config", "errors"},
    "edge": {"core", "models", "vision", "config", "errors", "framewire.v1"},
    "app": {
        "edge",
        "lifecycle",
        "observe",
        "models",
        "engines",
        "pipeline",
        "core",
        "config",
        "errors",
        "weights",
        "framewire",
        "framewire.v1",
    },
    "lifecycle": {"core", "models", "config", "errors", "threads"},
    "quality": {"core", "models", "pipeline", "vision", "config", "errors", "framewire"},
    "demo": {"quality", "framewire"},
    "cli": {
        "app",
        "config",
        "engines",
        "errors",
        "models",
        "pipeline",
        "process",
        "demo",
        "quality",
        "framewire",
        "threads",
    },
    "__main__": {"cli", "threads"},
    "observe": set(),
    "process": set(),
}
# The same within models: a family decides by what was gathered, and nobody but the registry knows the families.
ALLOWED_IN_MODELS = {
    "labels": {"network"},
    "network": {"labels", "signature"},
    "stated": {"labels", "spec"},
    "sidecars": {"exporters", "labels", "stated"},
    "signature": {"sidecars", "stated"},
    "spec": {"decoding", "signature"},
    "decoding": {"labels", "network", "signature", "spec"},
    "exporters": {"decoding", "labels", "network", "signature", "stated"},
    "families": {"decoding", "exporters", "labels", "network", "sidecars", "signature", "spec", "stated"},
    "plans": {"fitting", "labels", "network", "places", "record", "sidecars", "signature", "spec", "stated"},
    "fitting": {"labels", "network", "sidecars", "signature", "spec", "stated"},
    "files": {"labels", "network", "places", "sidecars", "stated"},
    "finding": {"places"},
    "places": {"stated"},
    "record": {"exporters", "sidecars", "signature", "stated"},
    "registry": {"decoding", "families", "signature", "spec"},
    "recognition": {
        "families",
        "files",
        "fitting",
        "network",
        "places",
        "plans",
        "record",
        "registry",
        "sidecars",
        "signature",
        "spec",
        "stated",
    },
    "options": {"spec"},
    "repository": {"finding", "places", "spec"},
}
CORE_KNOWS_NOT = {"grpc", "numpy", "cv2", "onnx", "onnxruntime", "google"}


def imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def part_of(name: str) -> str | None:
    """The part of the project that a module name belongs to; None for what lies outside."""
    words = name.split(".")
    if words[0] == "framewire_server":
        return words[1] if len(words) > 1 else None
    if words[0] == "framewire":
        return "framewire.v1" if words[1:2] == ["v1"] else "framewire"
    return None


def files(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*.py")) if "v1" not in path.parts]


@pytest.mark.parametrize("file", files(SERVER), ids=lambda path: str(path.relative_to(SERVER)))
def test_the_server_imports_inward(file: Path) -> None:
    own = file.relative_to(SERVER).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    seen = {part for name in imported(file) if (part := part_of(name))} - {own}
    seen -= {name for name in seen if name.startswith("__version__")}
    assert seen <= ALLOWED[own], f"{own} may not import {', '.join(sorted(seen - ALLOWED[own]))}"


@pytest.mark.parametrize("file", files(SERVER / "models"), ids=lambda path: path.name)
def test_within_models_imports_go_one_way(file: Path) -> None:
    own = file.relative_to(SERVER / "models").parts[0].removesuffix(".py")
    if own == "__init__":
        return
    words = [name.split(".") for name in imported(file) if name.startswith("framewire_server.models.")]
    seen = {part[2] for part in words} - {own}
    assert seen <= ALLOWED_IN_MODELS[own], (
        f"{own} may not import {', '.join(sorted(seen - ALLOWED_IN_MODELS[own]))}"
    )


@pytest.mark.parametrize("file", files(SERVER / "core"), ids=lambda path: path.name)
def test_the_core_knows_neither_grpc_nor_tensors(file: Path) -> None:
    assert not {name.split(".")[0] for name in imported(file)} & CORE_KNOWS_NOT


@pytest.mark.parametrize("file", files(CLIENT), ids=lambda path: str(path.relative_to(CLIENT)))
def test_the_client_never_imports_the_server(file: Path) -> None:
    assert not {name for name in imported(file) if name.split(".")[0] == "framewire_server"}


def test_importing_the_client_loads_neither_numpy_nor_the_server() -> None:
    code = (
        "import sys, framewire, framewire.testing;"
        "print([m for m in ('numpy', 'cv2', 'av', 'PIL', 'typer', 'rich', 'onnxruntime', 'framewire_server')"
        " if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_exported_name_exists_and_every_public_name_is_exported() -> None:
    assert all(hasattr(framewire, name) for name in framewire.__all__)
    public = {
        name
        for name in vars(framewire)
        if not name.startswith("_")
        and getattr(vars(framewire)[name], "__module__", "").startswith("framewire._")
    }
    assert public <= set(framewire.__all__)
