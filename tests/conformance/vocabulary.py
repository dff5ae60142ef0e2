"""Which names in our code stand for things of the GPU libraries, where assignments and annotations do not tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

TENSORRT, PYCUDA, CUDA = "tensorrt", "pycuda.driver", "cuda.bindings.driver"
CODEC = "nvidia.nvimgcodec"


@dataclass(frozen=True, slots=True)
class Thing:
    """What an expression is: something of a library."""

    library: str
    owner: str = ""
    """Its class; empty for the module itself."""
    form: str = "object"
    """object, class, module, method, or many (objects of the class)."""
    member: str = ""
    """Of a method."""


OWN = Thing("", form="own")
"""Something that is none of the libraries', whatever its name."""


def _table(things: Mapping[str, Thing]) -> Mapping[str, Thing]:
    return MappingProxyType(things)


def _trt(owner: str, form: str = "object") -> Thing:
    return Thing(TENSORRT, owner, form)


def _pycuda(owner: str) -> Thing:
    return Thing(PYCUDA, owner)


MODULES = _table({
    "tensorrt": Thing(TENSORRT, form="module"),
    "pycuda_driver": Thing(PYCUDA, form="module"),
    "cuda_bindings": Thing(CUDA, form="module"),
    "nvimgcodec": Thing(CODEC, form="module"),
})  # fmt: skip
"""Our functions that return the libraries' modules."""

FUNCTIONS = _table({"logger": _trt("ILogger")})
"""Our functions that return something of a library to other files."""

_RUNNING = _table({
    "runtime": _trt("Runtime"),
    "engine": _trt("ICudaEngine"),
    "context": _trt("IExecutionContext"),
})  # fmt: skip

NAMES: Mapping[str, Mapping[str, Thing]] = MappingProxyType({
    "": _table({"trt": Thing(TENSORRT, form="module")}),
    "builder.py": _table({
        "builder": _trt("Builder"),
        "config": _trt("IBuilderConfig"),
        "definition": _trt("INetworkDefinition"),
        "parser": _trt("OnnxParser"),
    }),
    "conftest.py": _table({"config": OWN, "reporter": OWN}),  # pytest's
    "contexts.py": _RUNNING,
    "driver.py": _table({"library": OWN}),  # the driver's own library, by ctypes
    "execution.py": _RUNNING,
    "fitting.py": _table({"trt": OWN}),  # what a probe said of it
    "graphs.py": _table({"driver": Thing(CUDA, form="module")}),
    "jpeg.py": _table({"codec": Thing(CODEC, form="module"), "image": Thing(CODEC, "Image")}),
    "layout.py": _RUNNING,
    "networks.py": _table({"helper": OWN, "numpy_helper": OWN, "random": OWN}),
    "plan_tensors.py": _RUNNING,
    "outputs.py": _RUNNING,
    "plans.py": _RUNNING,
    "plugins.py": _RUNNING,
    "probes.py": _table({"cuda": Thing(PYCUDA, form="module")}),
    "pycuda_driver.py": _table({
        "driver": Thing(PYCUDA, form="module"),
        "context": _pycuda("Context"),
        "stream": _pycuda("Stream"),
        "allocation": _pycuda("DeviceAllocation"),
        "module": _pycuda("Module"),
        "function": _pycuda("Function"),
    }),
    "test_cuda.py": _table({"done": OWN}),
    "test_engine.py": _RUNNING,
    "timings.py": _table({"config": _trt("IBuilderConfig")}),
})  # fmt: skip
"""By file (empty: all) and name, without leading underscores, of what is annotated Any or not at all."""

RETURNS = MappingProxyType({
    (TENSORRT, "", "get_plugin_registry"): "IPluginRegistry",
    (TENSORRT, "", "get_builder_plugin_registry"): "IPluginRegistry",
    (TENSORRT, "IPluginRegistry", "all_creators"): "list[IPluginCreatorV3One]",
    (TENSORRT, "OnnxParser", "get_error"): "ParserError",
    (PYCUDA, "Device", "retain_primary_context"): "Context",
    (PYCUDA, "Event", "record"): "Event",
    (PYCUDA, "Module", "get_function"): "Function",
    (PYCUDA, "", "module_from_buffer"): "Module",
    (PYCUDA, "", "mem_alloc"): "DeviceAllocation",
})  # fmt: skip
"""Classes that the libraries do not tell in their signatures."""

OPTIONAL_CALLBACKS = frozenset({"reallocate_output"})
"""Of the interfaces that we implement: TensorRT calls `reallocate_output_async` where there is one."""

CALLED_OTHERWISE = MappingProxyType({("IErrorRecorder", "num_errors"): "get_num_errors"})
"""Callbacks that the bindings look for by another name than they are bound with."""

ASKED_BY_NAME = MappingProxyType({
    ("decoding.py", "kind"): ("HW_GPU_ONLY", "HYBRID_CPU_GPU", "GPU_ONLY"),
})  # fmt: skip
"""What a variable holds that a file gives getattr, by file and variable."""
