"""Signatures as JSON, to be kept with what has no graph to look at any more: a plan is recognised by the signature of
the network that it was built from, exactly as that network."""

from __future__ import annotations

import base64
import dataclasses
import io
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from framewire_server.errors import ModelError
from framewire_server.models.exporters.darknet_table import YoloLayer
from framewire_server.models.sidecars import Sidecar
from framewire_server.models.signature import Signature
from framewire_server.models.stated.model_file import ModelFile
from framewire_server.tensors import Outputs, Tensor
from framewire_server.vision.geometry import Resize

_CLASSES: dict[str, type[Any]] = {kind.__name__: kind for kind in (Tensor, Sidecar, YoloLayer)}
_APART = frozenset({"probe", "stated"})


def dump(signature: Signature, answer: Outputs | None) -> dict[str, Any]:
    """All of a signature, as values of JSON. `answer` is what its probe says to those who ask the record."""
    fields = {field.name for field in dataclasses.fields(Signature)} - _APART
    return {
        **{name: _dump(getattr(signature, name)) for name in sorted(fields)},
        "stated": _dump(signature.stated.stated()),
        "answer": _dump(answer),
    }


def load(record: Mapping[str, Any]) -> Signature:
    """The signature of a record. Raises ModelError when it was not written by `dump`, or by a newer one."""
    try:
        values = {name: _load(value) for name, value in record.items()}
        answer, stated = values.pop("answer"), ModelFile(schema=1, **values.pop("stated"))
        return Signature(**values, stated=stated, probe=lambda: answer)
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise ModelError(
            f"it cannot be read what it was built from ({type(error).__name__}: {error}); build it again with this "
            "version of Framewire"
        ) from error


def _dump(value: Any) -> Any:
    """JSON knows lists and texts; what else there is goes into an object with one key that says what it is."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return {"mapping": [[_dump(key), _dump(item)] for key, item in value.items()]}
    if isinstance(value, (tuple, list, frozenset)):
        items = sorted(value) if isinstance(value, frozenset) else value
        return {type(value).__name__: [_dump(item) for item in items]}
    if isinstance(value, Resize):
        return {"resize": value.value}
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, np.ndarray):
        return {"array": _dump_array(value)}
    fields = [field.name for field in dataclasses.fields(value) if field.init]
    return {type(value).__name__: {name: _dump(getattr(value, name)) for name in fields}}


def _load(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind in _CLASSES:
        return _CLASSES[kind](**{name: _load(item) for name, item in content.items()})
    return _READERS[kind](content)


def _dump_array(array: np.ndarray[Any, Any]) -> str:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return base64.b64encode(zlib.compress(content.getvalue())).decode()


def _load_array(text: str) -> np.ndarray[Any, Any]:
    content = zlib.decompress(base64.b64decode(text))
    found: np.ndarray[Any, Any] = np.load(io.BytesIO(content), allow_pickle=False)
    return found


_READERS: dict[str, Any] = {
    "mapping": lambda pairs: {_load(key): _load(item) for key, item in pairs},
    "tuple": lambda items: tuple(map(_load, items)),
    "list": lambda items: list(map(_load, items)),
    "frozenset": lambda items: frozenset(map(_load, items)),
    "resize": Resize,
    "path": Path,
    "array": _load_array,
}
