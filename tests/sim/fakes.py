"""Puts the fakes together as modules of Python."""

from __future__ import annotations

from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from tests.sim import cuda_bindings
from tests.sim.personalities import Personality
from tests.sim.pycuda import constants, contexts, copies, exceptions, memory, modules, streams
from tests.sim.tensorrt import (
    building,
    configuration,
    definitions,
    dims,
    engines,
    enums,
    execution,
    host_memory,
    interfaces,
    parsing,
    registry,
    runtime,
    timing,
)


def module(name: str, members: dict[str, Any], *, package: bool = False) -> ModuleType:
    """A module that `import` and `importlib.util.find_spec` take for a real one."""
    made = ModuleType(name)
    made.__spec__ = ModuleSpec(name, loader=None, is_package=package)
    if package:
        made.__path__ = []
    vars(made).update(members)
    return made


def tensorrt(personality: Personality) -> ModuleType:
    """The fake module tensorrt of a version."""
    classes: list[type] = [
        *enums.SAME_EVERYWHERE,
        dims.Dims, dims.Dims2, dims.Dims3, dims.Dims4, dims.DimsHW,
        interfaces.ILogger, interfaces.Logger, interfaces.IErrorRecorder, interfaces.IOutputAllocator,
        interfaces.IProgressMonitor, interfaces.IProfiler,
        runtime.Runtime, engines.EngineInspector, engines.IRuntimeConfig, registry.IPluginCreator,
        configuration.IBuilderConfig, configuration.IOptimizationProfile, host_memory.IHostMemory,
        definitions.ITensor, definitions.ILayer, parsing.ParserError, timing.ITimingCache,
    ]  # fmt: skip
    members: dict[str, Any] = {one.__name__: one for one in classes}
    members |= _by_version(personality)
    members |= enums.numbered(personality)
    members |= enums.ALIASES
    members |= {
        "__version__": personality.version,
        "nptype": enums.nptype,
        "volume": _volume,
        "init_libnvinfer_plugins": registry.init_libnvinfer_plugins,
        "get_plugin_registry": registry.registry,
    }
    for name in personality.absent.get("tensorrt", ()):
        del members[name]
    return module("tensorrt", members, package=True)


def _by_version(personality: Personality) -> dict[str, type]:
    """Classes that lost or gained members."""
    common: dict[str, type] = {
        "ICudaEngine": engines.ICudaEngine,
        "IExecutionContext": execution.IExecutionContext,
        "Builder": building.Builder,
        "INetworkDefinition": definitions.INetworkDefinition,
        "IPluginRegistry": registry.IPluginRegistry,
        "OnnxParser": parsing.OnnxParser,
    }
    until_10: dict[str, type] = {
        "ICudaEngine": engines.EngineUntil10,
        "Builder": building.BuilderUntil10,
        "IPluginRegistry": registry.RegistryUntil10,
        "OnnxParser": parsing.ParserUntil10,
    }
    made = {}
    for name, base in common.items():
        more = (until_10[name],) if name in until_10 and personality.major == 10 else ()
        absent = {one: _Absent(one) for one in personality.absent.get(name, ())}
        made[name] = type(name, (base, *more), {**absent, "__doc__": base.__doc__})
    return made


class _Absent:
    """A member that this version does not have."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __get__(self, instance: object, owner: type) -> Any:
        raise AttributeError(f"'tensorrt.{owner.__name__}' object has no attribute '{self._name}'")


def _volume(iterable: Any) -> int:
    """The product of a shape."""
    product = 1
    for size in iterable:
        product *= size
    return product


def pycuda() -> dict[str, ModuleType]:
    """The fake modules pycuda and pycuda.driver."""
    sources = (constants, contexts, copies, exceptions, memory, modules, streams)
    names = (
        "Context", "Device", "DeviceAllocation", "Error", "Event", "Function", "HostAllocation",
        "LaunchError", "LogicError", "MemoryError", "Module", "PagelockedHostAllocation",
        "RuntimeError", "Stream", "ctx_flags", "device_attribute", "event_flags",
        "host_alloc_flags", "init", "mem_alloc", "mem_get_info", "memcpy_dtod_async", "memcpy_dtoh",
        "memcpy_dtoh_async", "memcpy_htod", "memcpy_htod_async", "memset_d8", "memset_d8_async",
        "module_from_buffer", "module_from_file", "pagelocked_empty", "pagelocked_zeros",
        "register_host_memory",
    )  # fmt: skip
    members = {name: next(getattr(one, name) for one in sources if hasattr(one, name)) for name in names}
    members |= {"get_version": lambda: (13, 0, 0), "get_driver_version": lambda: 13000}
    driver = module("pycuda.driver", members)
    package = module(
        "pycuda",
        {"VERSION": (2026, 1), "VERSION_STATUS": "", "VERSION_TEXT": "2026.1", "driver": driver},
        package=True,
    )
    return {"pycuda": package, "pycuda.driver": driver}


def cuda() -> dict[str, ModuleType]:
    """The fake modules cuda.bindings and cuda.bindings.driver."""
    driver = module("cuda.bindings.driver", cuda_bindings.members())
    bindings = module("cuda.bindings", {"driver": driver, "__version__": "13.5.0"}, package=True)
    return {
        "cuda": module("cuda", {"bindings": bindings}, package=True),
        "cuda.bindings": bindings,
        "cuda.bindings.driver": driver,
    }
