"""Which files make up a model: its network, the weights stored outside of it, and what is read beside it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterable
from pathlib import Path

from framewire_server.errors import ModelError
from framewire_server.models import labels, sidecars
from framewire_server.models.network.onnx_file import external_data
from framewire_server.models.places import model_file_of, model_files
from framewire_server.models.stated import plain_yaml

_BLOCK_BYTES = 1 << 20
_MOST_BYTES_OF_MODEL_FILE = 1 << 20
_VERSION_CHARACTERS = 12


def companions(model: Path) -> tuple[Path, ...]:
    """The files beside a model that may say how to serve it, of those that exist: its model file, labels, and files of
    other tools. A few may turn out to mean nothing for it."""
    candidates = [*model_files(model), *sidecars.files(model)]
    candidates += filter(None, (_stated_labels(model), labels.beside(model, generic=True)))
    return tuple(sorted({path for path in candidates if path.is_file()}))


def digest(
    model: Path, others: Iterable[Path] | None = None, content: Callable[[Path], str] | None = None
) -> str:
    """What a model is made of, as hexadecimal digits: equal for equal files. That of the ONNX file alone where there
    is nothing else.

    `others` are its other files, found when left out; `content` gives the digest of a file. Raises ModelError when
    one cannot be read.
    """
    content = content or content_digest
    if others is None:
        others = (*external_data(model), *companions(model))
    try:
        parts = [(os.path.relpath(path, model.parent), content(path)) for path in sorted(others)]
        own = content(model)
    except OSError as error:
        raise ModelError(f"{error.filename}: cannot be read: {error.strerror}") from error
    if not parts:
        return own
    return hashlib.sha256("\n".join([own, *(f"{name} {of}" for name, of in parts)]).encode()).hexdigest()


def version(digest: str) -> str:
    """The version of a model whose model file states none."""
    return digest[:_VERSION_CHARACTERS]


def content_digest(path: Path) -> str:
    """The digest of one file's content. Raises OSError."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            found.update(block)
    return found.hexdigest()


def _stated_labels(model: Path) -> Path | None:
    """The labels file that the model file names. What is wrong with a model file is told when the model is loaded."""
    with contextlib.suppress(ModelError, plain_yaml.YamlError, OSError, ValueError):
        path = model_file_of(model)
        if path.is_file() and path.stat().st_size <= _MOST_BYTES_OF_MODEL_FILE:
            stated = plain_yaml.load(path.read_text(encoding="utf-8-sig"))
            name = stated.get("labels") if isinstance(stated, dict) else None
            return path.parent / name if isinstance(name, str) else None
    return None
