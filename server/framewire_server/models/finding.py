"""Which models a folder holds, and what each is called: also while the folder changes."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from framewire_server.errors import ModelError
from framewire_server.models.places import is_hidden, models_in, name_of, orphans, overlooked_plans

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A model that lies in a folder."""

    name: str
    path: Path
    """Its model file; a folder's where that could not be looked into."""
    failure: str = ""
    """Why it cannot be served, whatever is in it."""


def find(folder: Path) -> list[Found]:
    """The models of a folder and of the folders in it, in order: of one that holds several, each under its own name.

    What is wrong with one folder inside fails just that one. Raises ModelError when `folder` itself cannot be looked
    into.
    """
    if not folder.is_dir():
        raise ModelError(f"{folder}: is no folder")
    here = models_in(folder)
    found: list[Found] = []
    for path in sorted(folder.iterdir()):
        if path in here:
            found.append(Found(name_of(path, of_folder=False), path))
        elif path.is_dir() and not is_hidden(path):
            found += _in(path)
    return found


def warn_of_orphans(folder: Path) -> None:
    """Logs a warning for each model file right in a folder whose model is not there."""
    for orphan in orphans(folder):
        log.warning("%s is not read: there is no %s", orphan, orphan.with_suffix(".onnx").name)


def warn_of_plans(folder: Path) -> None:
    """Logs a warning for each plan in a folder, or in a folder in it, that is not served for the ONNX file beside it.
    One that cannot be looked into has none."""
    inside = [path for path in sorted(folder.iterdir()) if path.is_dir() and not is_hidden(path)]
    for each in (folder, *inside):
        with contextlib.suppress(ModelError):
            for plan, network in overlooked_plans(each):
                log.warning("%s is beside %s and is not served; name it to serve it", plan, network.name)


def named(found: list[Found], stated: Mapping[str, Path], kept: Mapping[str, Path]) -> list[Found]:
    """Gives each model a name of its own.

    `stated` are the names of models that the operator named, wherever they lie; `kept` those that models of the folder
    have already: a model keeps its name while its file is there, and no other takes it. Of new ones the first gets
    the name that several would have. The others fail, under a name made up for each, until they are renamed or the
    name is free.
    """
    files = {path.resolve(): path for path in stated.values()}
    found = [replace(model, path=files.get(model.path.resolve(), model.path)) for model in found]
    taken = {**kept, **stated}
    names = {path: name for name, path in taken.items()}
    found = [replace(model, name=names.get(model.path, model.name)) for model in found]
    for model in found:
        taken.setdefault(model.name, model.path)
    return [_own_name(model, taken) for model in found]


def _own_name(model: Found, taken: dict[str, Path]) -> Found:
    owner = taken[model.name]
    if owner == model.path:
        return model
    failure = model.failure or f"{model.path}: its name, {model.name}, is that of {owner}; rename one"
    name = next(name for n in count(2) if (name := f"{model.name}-{n}") not in taken)
    taken[name] = model.path
    return Found(name, model.path, failure)


def _in(folder: Path) -> Iterator[Found]:
    try:
        found = models_in(folder)
    except ModelError as error:  # its owner's mistake is not to hinder the others
        yield Found(folder.name, folder, str(error))
        return
    for path in found:
        yield Found(name_of(path, of_folder=len(found) == 1), path)
