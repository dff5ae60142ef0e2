"""IExecutionContext: shapes and addresses of one user of an engine, and its inferences."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tests.sim.networks import Shape
from tests.sim.operations import Operation
from tests.sim.tensorrt.binding import Bound
from tests.sim.tensorrt.calls import Reporter, check_gpu, freed_here
from tests.sim.tensorrt.dims import Dims, NoDims
from tests.sim.tensorrt.enums import ErrorCodeTRT, ExecutionContextAllocationStrategy
from tests.sim.tensorrt.inference import Inference, State
from tests.sim.tensorrt.interfaces import checked_recorder

if TYPE_CHECKING:
    from tests.sim.tensorrt.engines import ICudaEngine

_ADDRESS_ALIGNMENT = 256


class IExecutionContext(Bound):
    """For one thread at a time, and for one stream at a time."""

    def _begin(self, engine: ICudaEngine, strategy: Any, size_bytes: int) -> None:
        self._engine, self._strategy = engine, strategy
        self._simulation, self._gpu = engine._simulation, engine._gpu
        self._network = engine._network
        self._reporter = Reporter(self._simulation, engine._reporter.logger)
        self._reporter.recorder = engine._reporter.recorder
        self._profile = 0
        self._shapes: dict[str, Shape] = {}
        self._addresses: dict[str, int] = {}
        self._allocators: dict[str, Any] = {}
        self._device_memory: tuple[int, int] | None = None
        self._consumed_event = 0
        self._pending: list[Operation] = []
        self._warm: State | None = None
        """Profile and shapes of the last ordinary enqueue."""
        self._sized_for: State | None = None
        """Profile and shapes that the scratch memory was asked for."""
        self._user: int | None = None
        self._name = ""
        self._aux_streams: list[int] = []
        self._set_fixed_shapes()
        self._simulation.born(self, "IExecutionContext", self._gpu.index, size_bytes)

    @property
    def engine(self) -> ICudaEngine:
        return self._engine

    @property
    def name(self) -> str:
        return self._name

    @name.setter
    def name(self, name: str) -> None:
        self._name = name

    @property
    def error_recorder(self) -> Any:
        return self._reporter.recorder

    @error_recorder.setter
    def error_recorder(self, recorder: Any) -> None:
        self._reporter.recorder = checked_recorder(recorder)

    @property
    def active_optimization_profile(self) -> int:
        return self._profile

    @property
    def all_binding_shapes_specified(self) -> bool:
        return not self._unset()

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        """Forgets the shapes. False for a profile that the engine does not have."""
        with self._used("set_optimization_profile_async"):
            if not 0 <= profile_index < len(self._engine._spec.profiles):
                return self._refuse("setOptimizationProfileAsync", f"there is no profile {profile_index}")
            if not self._simulation.streams.find(stream_handle):
                return self._refuse("setOptimizationProfileAsync", f"there is no stream {stream_handle:#x}")
            if any(
                one.stream is not self._simulation.streams.find(stream_handle)
                for one in self._still_pending()
            ):
                self._simulation.violations.record(
                    "profile",
                    "set_optimization_profile_async on a stream that is not that of the pending inference",
                )
            self._profile = profile_index
            self._shapes.clear()
            self._warm = None
            self._set_fixed_shapes()
            return True

    def set_input_shape(self, name: str, shape: Sequence[int] | Dims) -> bool:
        """False, and a line in the log, for a shape that the profile does not hold."""
        with self._used("set_input_shape"):
            wanted = tuple(Dims(tuple(shape)))
            if name not in self._network.inputs:
                return self._refuse("setInputShape", f"Given invalid tensor name: {name}")
            stated = self._network.inputs[name][1]
            if len(wanted) != len(stated):
                return self._refuse(
                    "setInputShape", f"{name} has {len(stated)} dimensions, not {len(wanted)}"
                )
            if any(fixed not in (-1, size) for fixed, size in zip(stated, wanted, strict=True)):
                return self._refuse(
                    "setInputShape", f"Static dimension mismatch while setting input shape for {name}"
                )
            least, _, most = self._engine._range(name, self._profile)
            if any(not low <= size <= high for low, size, high in zip(least, wanted, most, strict=True)):
                return self._refuse(
                    "setInputShape",
                    f"Set dimension {list(wanted)} for tensor {name} does not satisfy any optimization profiles. "
                    f"Valid range for profile {self._profile}: {list(least)}..{list(most)}",
                )
            self._shapes[name] = wanted
            return True

    def infer_shapes(self) -> list[str]:
        """Names of inputs whose shape is not set."""
        with self._used("infer_shapes"):
            return self._unset()

    def get_tensor_shape(self, name: str) -> Dims:
        """-1 where a size is not known yet."""
        if name in self._network.inputs:
            return Dims(self._shapes.get(name, self._network.inputs[name][1]))
        if name not in self._network.outputs:
            self._refuse("getTensorShape", f"Given invalid tensor name: {name}")
            return NoDims()
        return Dims(self._network.outputs[name][1] if self._unset() else self._output_shapes()[name])

    def get_max_output_size(self, name: str) -> int:
        """An upper bound in bytes; -1 while shapes are missing."""
        if name not in self._network.outputs or self._unset():
            return -1
        shape = self._output_shapes()[name]
        unknown = max(math.prod(one) for one in self._shapes.values())
        size_bytes = math.prod(size if size >= 0 else unknown for size in shape)
        return size_bytes * self._network.outputs[name][0].itemsize

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """False for a name that the engine does not have. The memory is not kept alive."""
        with self._used("set_tensor_address"):
            if name not in self._engine._names:
                return self._refuse("setTensorAddress", f"Given invalid tensor name: {name}")
            if memory % _ADDRESS_ALIGNMENT:
                self._simulation.violations.record(
                    "alignment",
                    f"set_tensor_address({name!r}, {memory:#x}): not a multiple of {_ADDRESS_ALIGNMENT}",
                )
                return self._refuse("setTensorAddress", f"the address of {name} is not aligned")
            self._addresses[name] = memory
            return True

    def get_tensor_address(self, name: str) -> int:
        return self._addresses.get(name, 0)

    def set_output_allocator(self, name: str, output_allocator: Any) -> bool:
        """False for a name that is no output. It is kept alive."""
        with self._used("set_output_allocator"):
            if name not in self._network.outputs:
                return self._refuse("setOutputAllocator", f"{name} is no output")
            self._allocators[name] = output_allocator
            return True

    def get_output_allocator(self, name: str) -> Any:
        return self._allocators.get(name)

    def set_input_consumed_event(self, event: int) -> bool:
        """The event fires when the inputs of the next inferences were read."""
        if event and self._simulation.streams.find_event(event) is None:
            return self._refuse("setInputConsumedEvent", f"there is no event {event:#x}")
        self._consumed_event = event
        return True

    def get_input_consumed_event(self) -> int:
        return self._consumed_event

    def set_aux_streams(self, aux_streams: Sequence[int]) -> None:
        self._aux_streams = list(aux_streams)

    def update_device_memory_size_for_shapes(self) -> int:
        """Bytes of scratch memory for the shapes that are set; 0, and a line in the log, while one is missing."""
        with self._used("update_device_memory_size_for_shapes"):
            unset = self._unset()
            if unset:
                self._refuse("updateDeviceMemorySizeForShapes", f"Input shape is not set: {unset}")
                return 0
            self._sized_for = self._state
            return self._scratch_need()

    def _set_address_of_device_memory(self, memory: int) -> None:
        """As set_device_memory, of the size that the profile needs."""
        IExecutionContext.set_device_memory(self, memory, self._scratch_need())

    device_memory = property(None, _set_address_of_device_memory)

    def set_device_memory(self, memory: int, size: int) -> None:
        """Scratch memory for USER_MANAGED."""
        if self._strategy is not ExecutionContextAllocationStrategy.USER_MANAGED:
            self._refuse("setDeviceMemoryV2", "the context manages its memory itself")
            return
        if memory % _ADDRESS_ALIGNMENT:
            self._simulation.violations.record("alignment", f"set_device_memory({memory:#x}): not aligned")
        self._device_memory = (memory, size)

    def execute_v2(self, bindings: Sequence[int]) -> bool:
        """A violation: it waits for the GPU."""
        raise self._simulation.violations.record(
            "blocking", "execute_v2() waits for the GPU: use execute_async_v3()"
        )

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Hands an inference to a stream. False, and a line in the log, when it cannot."""
        with self._used("execute_async_v3"):
            check_gpu("execute_async_v3", self._gpu)
            simulation = self._simulation
            if stream_handle == 0:
                simulation.count_default_stream("execute_async_v3")
                stream = simulation.streams.null(self._gpu)
            else:
                found = simulation.streams.find(stream_handle)
                if found is None or found.gpu is not self._gpu:
                    simulation.violations.record(
                        "address", f"execute_async_v3({stream_handle:#x}): no stream of GPU {self._gpu.index}"
                    )
                    return self._refuse("enqueueV3", "invalid resource handle")
                stream = found
            fault = simulation.faults.take("enqueue")
            if fault is not None or self._gpu.broken:
                self._reporter.error(
                    (fault.log if fault else "")
                    or "IExecutionContext::enqueueV3: Error Code 1: Cuda Runtime",
                    ErrorCodeTRT.FAILED_EXECUTION,
                )
                return False
            return Inference(self, stream).enqueue()

    def _set_fixed_shapes(self) -> None:
        self._shapes.update(
            {name: shape for name, (_, shape) in self._network.inputs.items() if -1 not in shape}
        )

    @property
    def _state(self) -> State:
        return self._profile, tuple(sorted(self._shapes.items()))

    def _scratch_need(self) -> int:
        """Bytes of scratch memory: for the shapes that are set, when they were asked for; else for the profile."""
        if self._sized_for == self._state:
            return self._engine._scratch_bytes(self._shapes)
        return self._engine._device_memory_size(self._profile)

    def _unset(self) -> list[str]:
        return [name for name in self._network.inputs if name not in self._shapes]

    def _output_shapes(self) -> dict[str, Shape]:
        return self._network.shapes(self._shapes)

    def _still_pending(self) -> list[Operation]:
        self._pending = [one for one in self._pending if not one.done]
        return self._pending

    def _refuse(self, call: str, why: str) -> bool:
        self._reporter.error(f"IExecutionContext::{call}: Error Code 3: API Usage Error ({why})")
        return False

    def _used(self, call: str) -> _Use:
        return _Use(self, call)

    def __enter__(self) -> IExecutionContext:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __del__(self) -> None:
        if not hasattr(self, "_aux_streams") or self._simulation.closed:
            return
        self._simulation.died(self)
        freed_here(self._simulation, self._gpu, "IExecutionContext")
        if self._still_pending():
            self._simulation.violations.record(
                "lifetime", "an IExecutionContext was freed while its work is pending"
            )


class _Use:
    """A call of a context, which is for one thread at a time. (No generator: see pycuda.exceptions.translation.)"""

    __slots__ = ("_before", "_call", "_context")

    def __init__(self, context: IExecutionContext, call: str) -> None:
        self._context, self._call = context, call

    def __enter__(self) -> None:
        context, me = self._context, threading.get_ident()
        self._before, context._user = context._user, me
        if self._before not in (None, me):
            context._simulation.violations.record(
                "concurrency", f"{self._call} while another thread is in the context"
            )

    def __exit__(self, *_: object) -> None:
        self._context._user = self._before
