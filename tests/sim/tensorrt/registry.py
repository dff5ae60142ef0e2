"""The registry of plugins."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.sim import plugins
from tests.sim.simulation import current
from tests.sim.tensorrt.binding import Bound


class IPluginCreator(Bound):
    """Makes plugins of one name."""

    def _begin(self, name: str) -> None:
        self._name = name

    name = property(lambda self: self._name)
    plugin_version = property(lambda self: "1")
    plugin_namespace = property(lambda self: "")


class IPluginRegistry(Bound):
    """What creators of plugins there are."""

    def _begin(self) -> None:
        self._creators: set[str] = set()

    def _knows(self, name: str) -> bool:
        """Whether a plugin can be made."""
        return name in self._creators

    def load_library(self, plugin_path: str) -> object | None:
        """Registers the creators of a library. Returns None, and logs, when it cannot be loaded."""
        simulation = current()
        simulation.plugin_libraries.append(plugin_path)
        creators = plugins.read_library(Path(plugin_path))
        if creators is None:
            simulation.log(
                simulation.logger,
                "ERROR",
                f"IPluginRegistry::loadLibrary: Error Code 3: API Usage Error ({plugin_path}: cannot open shared "
                "object file)",
            )
            return None
        self._creators |= creators
        return object()

    def get_creator(self, type: str, version: str, plugin_namespace: str = "") -> Any:
        """None when there is none."""
        return IPluginCreator._made(type) if type in self._creators else None

    @property
    def all_creators(self) -> list[Any]:
        return [IPluginCreator._made(name) for name in sorted(self._creators)]


def registry() -> IPluginRegistry:
    """The registry of the process."""
    simulation = current()
    with simulation.lock:
        if simulation.registry is None:
            simulation.registry = simulation.api.IPluginRegistry._made()
        return simulation.registry  # type: ignore[no-any-return]


def init_libnvinfer_plugins(logger: Any, namespace: str) -> bool:
    """Registers the plugins that come with TensorRT."""
    simulation = current()
    simulation.plugin_inits.append(namespace)
    registry()._creators |= plugins.BUILT_IN[simulation.personality.major]
    return True


class RegistryUntil10:
    """What 11 dropped."""

    def get_plugin_creator(self, type: str, version: str, plugin_namespace: str = "") -> Any:
        return IPluginRegistry.get_creator(self, type, version, plugin_namespace)  # type: ignore[arg-type]

    plugin_creator_list = property(lambda self: self.all_creators)
