"""What lies in the folder of models: which files make up each model, when they were written, what they contain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from framewire_server.models import files
from framewire_server.models.finding import Found, find, named
from framewire_server.models.network.onnx_file import external_data


class Stamp(NamedTuple):
    """What the file system says of a file: as long as it is the same, so is the content."""

    path: Path
    size_bytes: int
    modified_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Sighting:
    """A model as it lay in the folder. Equal ones are the same model with the same content."""

    found: Found
    stamps: tuple[Stamp, ...] = ()
    """Of its ONNX file, then of its other files."""
    weights_bytes: int = 0
    """Size of its network, with what is stored outside of the ONNX file."""


class Inventory:
    """Looks at models' files. Remembers what it read as long as the files do not change. Blocks; use it from one
    thread at a time."""

    def __init__(self) -> None:
        self._digests: dict[Path, tuple[Stamp, str]] = {}
        self._outside: dict[Path, tuple[Stamp, tuple[Path, ...] | None]] = {}

    def take(
        self, folder: Path, known: Mapping[str, Sighting], stated: Mapping[str, Path]
    ) -> dict[str, Sighting]:
        """Looks at every model of `folder`, by name. `known` is what was seen there before: those keep their names.
        `stated` are the operator's. Raises ModelError when the folder cannot be looked into.

        What an ONNX file that is new says of other files is only read when it was the same twice.
        """
        kept = {name: seen.found.path for name, seen in known.items() if not seen.found.failure}
        seen = {model.name: self._sight(model, patient=True) for model in named(find(folder), stated, kept)}
        self._forget([*seen.values(), *known.values()])
        return self._kept(seen, known)

    def sight(self, model: Found) -> Sighting:
        """Looks at one model."""
        return self._sight(model, patient=False)

    def _sight(self, model: Found, *, patient: bool) -> Sighting:
        own = _stamp(model.path)
        if model.failure or own is None:
            return Sighting(model)
        outside = [stamp for path in self._external_data(own, patient=patient) if (stamp := _stamp(path))]
        others = [stamp for path in files.companions(model.path) if (stamp := _stamp(path))]
        weights_bytes = sum(stamp.size_bytes for stamp in (own, *outside))
        return Sighting(model, (own, *sorted({*outside, *others})), weights_bytes)

    def digest(self, sighting: Sighting) -> str:
        """What the files of a sighting contain; empty where there are none. Raises ModelError when one cannot be
        read."""
        if not sighting.stamps:
            return ""
        known = {stamp.path: stamp for stamp in sighting.stamps}
        own, *others = known
        return files.digest(own, others, lambda path: self._content(known[path]))

    def _content(self, stamp: Stamp) -> str:
        before = self._digests.get(stamp.path)
        if before is None or before[0] != stamp:
            before = self._digests[stamp.path] = stamp, files.content_digest(stamp.path)
        return before[1]

    def _external_data(self, stamp: Stamp, *, patient: bool) -> tuple[Path, ...]:
        before = self._outside.get(stamp.path)
        if before is None or before[0] != stamp:
            before = self._outside[stamp.path] = stamp, None
            if patient:
                return ()
        if before[1] is None:
            before = self._outside[stamp.path] = stamp, external_data(stamp.path)
        return before[1] or ()

    def _kept(self, seen: dict[str, Sighting], known: Mapping[str, Sighting]) -> dict[str, Sighting]:
        """Takes models whose folder cannot be looked into now as they were before: that tells nothing of them."""
        closed = {sighting.found.path: name for name, sighting in seen.items() if sighting.found.failure}
        kept = {name: before for name, before in known.items() if before.found.path.parent in closed}
        for before in kept.values():
            seen.pop(closed[before.found.path.parent], None)
        return seen | kept

    def _forget(self, seen: Iterable[Sighting]) -> None:
        """Drops what is remembered of files that are gone."""
        here = {stamp.path for sighting in seen for stamp in sighting.stamps}
        self._outside = {path: value for path, value in self._outside.items() if path in here}
        self._digests = {path: value for path, value in self._digests.items() if path in here}


def _stamp(path: Path) -> Stamp | None:
    """None when there is no such file."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Stamp(path, found.st_size, found.st_mtime_ns, found.st_ino)
