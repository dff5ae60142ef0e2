"""TensorRT's measurements of former builds, in a file of ours: whatever else a file holds is never overwritten."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path
from typing import Any

from framewire_server.errors import OperatorError

log = logging.getLogger(__name__)
_MARK = b"framewire timings\n"


class Timings:
    """A file of measurements for one build: `give` before it, `keep` after it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mark = _MARK
        """Where another program wrote the measurements first, nothing: it shall be able to read on."""

    def give(self, config: Any) -> None:
        """Has a build begin with what was measured for this TensorRT and GPU, if that can be read.

        Raises OperatorError when the file holds something that is neither TensorRT's nor ours.
        """
        content = self._read()
        ours = not content or content.startswith(_MARK)
        self._mark = _MARK if ours else b""
        if _take(config, content.removeprefix(_MARK)):
            return
        if not ours:
            raise OperatorError(
                f"{self._path}: holds no measurements of this TensorRT on this GPU, nor any that Framewire wrote, and "
                "is left as it is; name another file for the timing cache, or delete this one"
            )
        log.warning("%s: is of another TensorRT or another GPU: measured anew", self._path)
        _take(config, b"")

    def keep(self, config: Any) -> None:
        """Writes what was measured. A build that succeeded does not fail for it."""
        cache = config.get_timing_cache()
        if cache is None:
            return
        part = self._path.with_name(f".{self._path.name}.{os.getpid()}.part")
        try:
            part.write_bytes(self._mark + bytes(cache.serialize()))
            part.replace(self._path)
        except OSError as error:
            log.warning("%s: cannot be written: %s", self._path, error.strerror)
        finally:
            with contextlib.suppress(OSError):  # its folder may be none
                part.unlink(missing_ok=True)

    def _read(self) -> bytes:
        try:
            return self._path.read_bytes() if self._path.exists() else b""
        except OSError as error:
            log.warning("%s: cannot be read: %s: measured anew", self._path, error.strerror)
            return b""


def _take(config: Any, content: bytes) -> bool:
    cache = config.create_timing_cache(content)
    return cache is not None and bool(config.set_timing_cache(cache, False))
