"""The checker finds wrong code. What it is fed stands for mistakes that a stand-in would let pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from tests.conformance.api import Api, Member, Overload, Parameter, differences
from tests.conformance.conftest import tensorrt_api
from tests.conformance.usage import BUILTIN, findings

pytestmark = [pytest.mark.conformance, pytest.mark.timeout(300)]  # the first one installs

BEGIN = "from framewire_server.engines.tensorrt.libraries import cuda_bindings, pycuda_driver, tensorrt\n"
WRONG = {
    "a function that is not there": ("tensorrt().deserialise()", "tensorrt has no deserialise"),
    "an enumeration's member that is gone in 11": (
        "trt = tensorrt()\nflag = 1 << int(trt.BuilderFlag.FP16)",
        "BuilderFlag.FP16 is missing in tensorrt 11.4",
    ),
    "a class that is gone in 11": (
        "def calibrate(trt):\n    return trt.IInt8EntropyCalibrator2",
        "IInt8EntropyCalibrator2 is missing in tensorrt 11.4",
    ),
    "a name that 10.0 lacks": (
        "trt = tensorrt()\nengine = trt.Runtime(None).deserialize_cuda_engine(b'')\nengine.device_memory_size_v2",
        "ICudaEngine.device_memory_size_v2 is missing in tensorrt 10.0",
    ),
    "a wrong keyword": (
        "builder = tensorrt().Builder(None)\n"
        "builder.create_builder_config().set_memory_pool_limit(tensorrt().MemoryPoolType.WORKSPACE, size=1)",
        "IBuilderConfig.set_memory_pool_limit takes (pool, pool_size)",
    ),
    "too many arguments": (
        "def run(runtime, stream):\n"
        "    context = tensorrt().Runtime(None).deserialize_cuda_engine(b'').create_execution_context()\n"
        "    context.execute_async_v3(stream, 0)",
        "IExecutionContext.execute_async_v3 takes (stream_handle)",
    ),
    "too few arguments": (
        "def name(engine: 'trt.ICudaEngine'):\n    return engine.get_tensor_name()",
        "ICudaEngine.get_tensor_name takes (index)",
    ),
    "an attribute that cannot be set": (
        "def name(engine: 'trt.ICudaEngine'):\n    engine.num_io_tensors = 3",
        "ICudaEngine.num_io_tensors cannot be assigned",
    ),
    "an attribute of what a property gives": (
        "def count(engine: 'trt.ICudaEngine'):\n    return engine.name.num_layers",
        "cannot be attributed",
    ),
    "a mistake behind an attribute of self": (
        "class Run:\n"
        "    def __init__(self, engine: 'trt.ICudaEngine'):\n"
        "        self._context = engine.create_execution_context()\n"
        "    def run(self):\n        self._context.execute_async_v2(0)",
        "tensorrt has no IExecutionContext.execute_async_v2",
    ),
    "a mistake in a loop": (
        "def names(trt):\n    for creator in trt.get_plugin_registry().all_creators:\n        creator.version",
        "tensorrt has no IPluginCreatorV3One.version",
    ),
    "a member by its name": (
        "def flag(trt, name):\n    return getattr(trt.BuilderFlag, name)",
        "asks tensorrt for a name that cannot be checked",
    ),
    "an enumeration as a container": (
        "def flag(trt, name):\n    return trt.BuilderFlag[name]",
        "trt.BuilderFlag takes no subscript",
    ),
    "an object of nobody knows what": (
        "def run(it):\n    it.execute_async_v3(0)",
        "it.execute_async_v3 cannot be attributed",
    ),
    "a slip in a name of nobody knows what": (
        "def run(it):\n    it.set_tensor_adress('x', 0)",
        "it.set_tensor_adress cannot be attributed",
    ),
    "an interface whose constructor is not called": (
        "def make(trt):\n"
        "    class Mine(trt.ILogger):\n"
        "        def __init__(self): self.x = 1\n"
        "        def log(self, severity, msg): ...",
        "Mine does not call ILogger.__init__(self)",
    ),
    "a callback that is missing": (
        "def make(trt):\n    class Mine(trt.IProgressMonitor):\n"
        "        def phase_start(self, a, b, c): ...\n        def step_complete(self, a, b): ...",
        "Mine lacks phase_finish, which tensorrt 11.4 calls",
    ),
    "a callback with other arguments": (
        "def make(trt):\n    class Mine(trt.IOutputAllocator):\n        def notify_shape(self, name, shape): ...\n"
        "        def reallocate_output_async(self, name, memory, size, alignment): ...",
        "Mine.reallocate_output_async is called with (tensor_name, memory, size, alignment, stream)",
    ),
    "a recorder by the name of its bound method": (
        "def make(trt):\n    class Mine(trt.IErrorRecorder):\n        def num_errors(self): ...",
        "Mine lacks get_num_errors",
    ),
    "a function that pycuda lacks": (
        "driver = pycuda_driver()\ndriver.memcpy_host_to_device(1, 2)",
        "pycuda.driver has no memcpy_host_to_device",
    ),
    "a keyword that pycuda does not take": (
        "driver = pycuda_driver()\ndriver.memcpy_htod_async(1, 2, queue=3)",
        "memcpy_htod_async takes (dest, src, stream=…)",
    ),
    "a keyword where pycuda's parameters have no names": (
        "driver = pycuda_driver()\ndriver.mem_alloc(size=3)",
        "pycuda 2026.1: mem_alloc takes",
    ),
    "a launch with a wrong keyword": (
        "function = pycuda_driver().module_from_buffer(b'').get_function('x')\nfunction(1, threads=(1, 1, 1))",
        "Function.__call__ takes",
    ),
    "a graph function with too few arguments": (
        "driver = cuda_bindings()\ndriver.cuStreamBeginCapture(7)",
        "cuStreamBeginCapture takes (hStream, mode)",
    ),
    "a graph mode that is not there": (
        "cuda_bindings().CUstreamCaptureMode.THREAD_LOCAL",
        "cuda.bindings.driver has no CUstreamCaptureMode.THREAD_LOCAL",
    ),
}
RIGHT = {
    "a member that is asked for": (
        "def size(engine: 'trt.ICudaEngine'):\n"
        "    if hasattr(engine, 'device_memory_size_v2'):\n        return engine.device_memory_size_v2\n"
        "    return getattr(engine, 'device_memory_size', 0)"
    ),
    "strong typing by its number": (
        "def build(trt):\n    builder = trt.Builder(None)\n"
        "    return builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)).num_inputs"
    ),
    "arguments that are passed on": "def copy(*arguments):\n    pycuda_driver().memcpy_htod_async(*arguments)",
    "keywords by their names": (
        "def run(engine: 'trt.ICudaEngine', stream):\n"
        "    engine.create_execution_context().execute_async_v3(stream_handle=stream)"
    ),
    "a class of ours with like names": (
        "class Engine:\n    def serialize(self): ...\ndef run(engine: Engine):\n    engine.serialize()"
    ),
}


@pytest.mark.parametrize(("code", "finding"), WRONG.values(), ids=WRONG)
def test_wrong_code_is_found(libraries: Mapping[str, Sequence[Api]], code: str, finding: str) -> None:
    found = findings("sample.py", BEGIN + code, libraries, BUILTIN)
    assert any(finding in each for each in found), found


@pytest.mark.parametrize("code", RIGHT.values(), ids=RIGHT)
def test_right_code_is_not(libraries: Mapping[str, Sequence[Api]], code: str) -> None:
    assert findings("sample.py", BEGIN + code, libraries, {*BUILTIN, "serialize"}) == []


def method(*parameters: Parameter) -> Member:
    return Member("method", overloads=(Overload(parameters),))


STAND_IN = {
    "a member too many": ("ICudaEngine", "num_bindings", Member("property"), "no such member"),
    "an enumeration's member of another version": (
        "BuilderFlag",
        "FP16",
        Member("value", value=0),
        "no such member",
    ),
    "another number": ("BuilderFlag", "STRICT_NANS", Member("value", value=21), "21, but 23"),
    "a method for a property": ("ICudaEngine", "num_io_tensors", method(), "a method, but a property"),
    "writable": (
        "ICudaEngine",
        "num_io_tensors",
        Member("property", writable=True),
        "writable, but read-only",
    ),
    "another parameter's name": (
        "IExecutionContext",
        "execute_async_v3",
        method(Parameter("stream", True)),
        "(stream), but (stream_handle)",
    ),
    "a default that the library has not": (
        "IExecutionContext",
        "execute_async_v3",
        method(Parameter("stream_handle", False)),
        "(stream_handle=…), but (stream_handle)",
    ),
    "an argument too many": (
        "ICudaEngine",
        "get_tensor_name",
        method(Parameter("index", True), Parameter("profile", False)),
        "(index, profile=…), but (index)",
    ),
}


@pytest.mark.parametrize(("owner", "name", "member", "finding"), STAND_IN.values(), ids=STAND_IN)
def test_a_wrong_stand_in_is_found(owner: str, name: str, member: Member, finding: str) -> None:
    fake = Api("stand-in", {owner: Member("class", owner)}, {owner: {name: member}})
    (found,) = differences(fake, tensorrt_api("11.4"))
    assert f"{owner}.{name}" in found and finding in found


@pytest.mark.parametrize("version", ["10.16", "11.4"])
def test_a_library_does_not_differ_from_itself(version: str) -> None:
    api = tensorrt_api(version)
    assert list(differences(api, api)) == []
