"""Plugin libraries: layers that TensorRT does not have itself."""

from __future__ import annotations

import ctypes
import logging
from functools import cache
from pathlib import Path
from typing import Any

from framewire_server.engines.tensorrt.libraries import tensorrt
from framewire_server.engines.tensorrt.logger import hearing, logger
from framewire_server.errors import ModelError

log = logging.getLogger(__name__)


class Plugins:
    """The plugins that a runtime knows. Only the keeper's thread uses it.

    Libraries stay loaded as long as the process runs: engines made with them may outlive any model.
    """

    def __init__(self, runtime: Any) -> None:
        """Makes TensorRT's own plugins known."""
        self._registry = runtime.get_plugin_registry()
        self._loaded: set[Path] = set()
        _make_own_known(tensorrt())

    def load(self, libraries: tuple[Path, ...]) -> None:
        """Loads those that are not yet, in their order. Raises ModelError naming the library, and why."""
        for library in libraries:
            path = library.expanduser().resolve()
            if path in self._loaded:
                continue
            if not path.is_file():
                what = (
                    "is a directory; name the plugin library in it"
                    if path.is_dir()
                    else "no such plugin library"
                )
                raise ModelError(f"{library}: {what}")
            self._load(path)
            self._loaded.add(path)
            log.info("plugin library %s is loaded", path)

    def _load(self, path: Path) -> None:
        """In the registry's way or, for libraries made before there was one, by merely loading it: then it registers
        its plugins itself, for the whole process."""
        with hearing() as heard:
            if self._registry.load_library(str(path)) is not None:
                return
        known = _known()
        try:
            ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)
        except OSError as error:
            raise ModelError(
                f"{path}: the plugin library cannot be loaded: {error}. TensorRT: {heard.text()}. Build it here, for "
                f"TensorRT {tensorrt().__version__}"
            ) from error
        if _known() <= known:
            log.warning("plugin library %s adds no plugin to those that TensorRT has: %s", path, heard.text())


@cache
def _make_own_known(trt: Any) -> None:
    with hearing() as heard:
        if not trt.init_libnvinfer_plugins(logger(), ""):
            log.warning("TensorRT's own plugins cannot be used: %s", heard.text())


def _known() -> set[tuple[str, str, str]]:
    creators = tensorrt().get_plugin_registry().all_creators
    return {(each.plugin_namespace, each.name, each.plugin_version) for each in creators}
