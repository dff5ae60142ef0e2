"""ICudaEngine: a network that can run, and what it says of itself."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from tests.sim.gpus import SimGpu
from tests.sim.networks import Network, Shape
from tests.sim.plans import PlanSpec, Range
from tests.sim.simulation import Simulation
from tests.sim.tensorrt.binding import Bound
from tests.sim.tensorrt.calls import Reporter, check_gpu, freed_here
from tests.sim.tensorrt.dims import Dims, NoDims
from tests.sim.tensorrt.enums import (
    DataType,
    ErrorCodeTRT,
    ExecutionContextAllocationStrategy,
    LayerInformationFormat,
    TensorFormat,
    TensorIOMode,
    TensorLocation,
    data_type,
)
from tests.sim.tensorrt.interfaces import checked_recorder

if TYPE_CHECKING:
    from tests.sim.tensorrt.runtime import Runtime

_SCRATCH_BYTES = 1 << 20


class ICudaEngine(Bound):
    """An engine. It may be used from several threads."""

    def _begin(self, runtime: Runtime, gpu: SimGpu, spec: PlanSpec, inner: Network) -> None:
        self._runtime, self._gpu, self._spec, self._network = runtime, gpu, spec, inner
        self._simulation: Simulation = runtime._simulation
        self._reporter = Reporter(self._simulation, runtime.logger)
        self._reporter.recorder = runtime.error_recorder
        self._names = [*inner.inputs, *inner.outputs]
        self._simulation.born(self, "ICudaEngine", gpu.index, _SCRATCH_BYTES)

    name = property(lambda self: self._spec.name)
    num_io_tensors = property(lambda self: len(self._names))
    num_layers = property(lambda self: self._spec.num_layers)
    num_optimization_profiles = property(lambda self: len(self._spec.profiles))
    num_aux_streams = property(lambda self: self._spec.num_aux_streams)
    refittable = property(lambda self: False)
    hardware_compatibility_level = property(
        lambda self: self._simulation.api.HardwareCompatibilityLevel(int(self._spec.hardware_compatible))
    )

    @property
    def error_recorder(self) -> Any:
        return self._reporter.recorder

    @error_recorder.setter
    def error_recorder(self, recorder: Any) -> None:
        self._reporter.recorder = checked_recorder(recorder)

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def __getitem__(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        """NONE, and an error in the log, for a name that it does not have."""
        if name in self._network.inputs:
            return TensorIOMode.INPUT
        if name in self._network.outputs:
            return TensorIOMode.OUTPUT
        self._unknown(name, "getTensorIOMode")
        return TensorIOMode.NONE

    def get_tensor_dtype(self, name: str) -> DataType:
        tensor = self._tensor(name, "getTensorDataType")
        return DataType.FLOAT if tensor is None else data_type(tensor[0])

    def get_tensor_shape(self, name: str) -> Dims:
        """-1 where a size is dynamic."""
        tensor = self._tensor(name, "getTensorShape")
        return NoDims() if tensor is None else Dims(tensor[1])

    def get_tensor_location(self, name: str) -> TensorLocation:
        self._tensor(name, "getTensorLocation")
        return TensorLocation.HOST if name in self._simulation.host_tensors else TensorLocation.DEVICE

    def get_tensor_format(self, name: str, profile_index: int = 0) -> TensorFormat:
        self._tensor(name, "getTensorFormat")
        return TensorFormat.LINEAR

    def get_tensor_format_desc(self, name: str, profile_index: int = 0) -> str:
        kind = self.get_tensor_dtype(name)
        return f"Row-major linear {kind.name} format (kLINEAR)"

    def get_tensor_bytes_per_component(self, name: str, profile_index: int = 0) -> int:
        return int(self.get_tensor_dtype(name).itemsize)

    def is_shape_inference_io(self, name: str) -> bool:
        return False

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[Dims]:
        """Smallest, usual and largest. For an output, and outside the profiles, Dims whose length fails."""
        if name not in self._network.inputs or not 0 <= profile_index < len(self._spec.profiles):
            self._reporter.error(
                f"ICudaEngine::getProfileShape: Error Code 3: API Usage Error ({name} is no input)"
            )
            return [NoDims(), NoDims(), NoDims()]
        return [Dims(shape) for shape in self._range(name, profile_index)]

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        """Bytes of scratch memory of a context in a profile."""
        return self._device_memory_size(profile_index)

    def _device_memory_size(self, profile_index: int) -> int:
        return self._scratch_bytes(
            {name: self._range(name, profile_index)[2] for name in self._network.inputs}
        )

    def _scratch_bytes(self, inputs: dict[str, Shape]) -> int:
        shapes = self._network.shapes(inputs)
        used = sum(
            math.prod(abs(size) for size in shape) * self._network.outputs[name][0].itemsize
            for name, shape in shapes.items()
        )
        return -(-(used + _SCRATCH_BYTES) // 256) * 256

    @property
    def device_memory_size_v2(self) -> int:
        """The largest over all profiles."""
        return _largest(self)

    def create_execution_context(self, strategy: Any = ExecutionContextAllocationStrategy.STATIC) -> Any:
        """Returns None when memory runs out."""
        simulation = self._simulation
        check_gpu("create_execution_context", self._gpu)
        simulation.threads.blocks("create_execution_context()")
        fault = simulation.faults.take("context")
        if isinstance(strategy, IRuntimeConfig):
            strategy = strategy.get_execution_context_allocation_strategy()
        managed = strategy is ExecutionContextAllocationStrategy.USER_MANAGED
        size_bytes = 0 if managed else _largest(self)
        if fault is not None or size_bytes > simulation.free_bytes(self._gpu):
            self._reporter.error(
                (fault.log if fault else "")
                or f"IExecutionContext: Error Code 1: Cuda Runtime (out of memory: {size_bytes} bytes)",
                ErrorCodeTRT.FAILED_ALLOCATION,
            )
            return None
        return simulation.api.IExecutionContext._made(self, strategy, size_bytes)

    def create_runtime_config(self) -> IRuntimeConfig:
        return IRuntimeConfig._made()

    def create_engine_inspector(self) -> EngineInspector:
        return EngineInspector._made(self)

    def serialize(self) -> Any:
        raise self._simulation.violations.record("unknown", "serialize() is not simulated")

    def _range(self, name: str, profile_index: int) -> Range:
        fixed = self._network.inputs[name][1]
        return self._spec.profiles[profile_index].get(name, (fixed, fixed, fixed))

    def _tensor(self, name: str, call: str) -> Any:
        found = self._network.inputs.get(name) or self._network.outputs.get(name)
        if found is None:
            self._unknown(name, call)
        return found

    def _unknown(self, name: str, call: str) -> None:
        self._reporter.error(
            f"ICudaEngine::{call}: Error Code 3: Internal Error (Given invalid tensor name: {name}. "
            "Get valid tensor names with getIOTensorName())"
        )

    def __del__(self) -> None:
        if hasattr(self, "_names") and not self._simulation.closed:
            self._simulation.died(self)
            freed_here(self._simulation, self._gpu, "ICudaEngine")


class IRuntimeConfig(Bound):
    """How a context is made."""

    def _begin(self) -> None:
        self._strategy = ExecutionContextAllocationStrategy.STATIC

    def set_execution_context_allocation_strategy(
        self, strategy: Any = ExecutionContextAllocationStrategy.STATIC
    ) -> None:
        self._strategy = strategy

    def get_execution_context_allocation_strategy(self) -> Any:
        return self._strategy


class EngineUntil10:
    """Names of device memory that 11 dropped."""

    device_memory_size = property(lambda self: _largest(self))
    has_implicit_batch_dimension = property(lambda self: False)

    def get_device_memory_size_for_profile(self, profile_index: int) -> int:
        return ICudaEngine._device_memory_size(self, profile_index)  # type: ignore[arg-type]

    def create_execution_context_without_device_memory(self) -> Any:
        return ICudaEngine.create_execution_context(
            self,  # type: ignore[arg-type]
            ExecutionContextAllocationStrategy.USER_MANAGED,
        )


def _largest(engine: Any) -> int:
    profiles = range(len(engine._spec.profiles))
    return max(ICudaEngine._device_memory_size(engine, index) for index in profiles)


class EngineInspector(Bound):
    """Tells of the layers."""

    def _begin(self, engine: ICudaEngine) -> None:
        self._engine = engine

    def get_engine_information(self, format: LayerInformationFormat) -> str:
        major = self._engine._simulation.personality.major
        names = [self._engine.get_tensor_name(at) for at in range(self._engine.num_io_tensors)]
        return json.dumps({"Layers": [], "Bindings" if major == 10 else "I/O Tensors": names})
