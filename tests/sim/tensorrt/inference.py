"""One enqueue: its checks, and what runs when the stream comes to it."""

from __future__ import annotations

import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tests.sim.errors import CudaFailure
from tests.sim.memory import UNWRITTEN, Kind, Memory
from tests.sim.networks import Network, Shape
from tests.sim.operations import Operation
from tests.sim.simulation import Simulation
from tests.sim.streams import SimStream
from tests.sim.tensorrt.allocators import allocate, notify
from tests.sim.tensorrt.enums import ExecutionContextAllocationStrategy

if TYPE_CHECKING:
    from tests.sim.tensorrt.execution import IExecutionContext

State = tuple[int, tuple[tuple[str, Shape], ...]]
"""Profile and shapes."""


@dataclass(frozen=True)
class Frozen:
    """What an inference found in its context: a graph keeps it for good."""

    context: weakref.ref[IExecutionContext]
    state: State
    addresses: dict[str, int]

    def changed(self) -> str:
        """See Recorded."""
        context = self.context()
        if context is None:
            return "its execution context was freed"
        if context._state != self.state:
            return "profile or shapes of its context changed"
        if context._warm != self.state:
            return "its context was used for other shapes"
        if context._addresses != self.addresses:
            return "addresses of its context changed: the graph has the old ones"
        return ""


class Inference:
    """What one call of execute_async_v3 found in its context."""

    def __init__(self, context: IExecutionContext, stream: SimStream) -> None:
        self._context, self._stream = context, stream
        self._simulation: Simulation = context._simulation
        self._network = context._network

    def enqueue(self) -> bool:
        """False, and a line in the log, when TensorRT would refuse."""
        context = self._context
        unset = context._unset()
        if unset:
            return context._refuse("enqueueV3", f"Input shape is not set: {', '.join(unset)}")
        outputs = context._output_shapes()
        unknown = {name for name, shape in outputs.items() if -1 in shape}
        if not self._addresses_hold(outputs) or not self._scratch_holds():
            return False
        self._check_overlap(outputs)
        self._check_order()
        if self._stream.capture is not None and not self._may_be_captured(unknown):
            return False
        if unknown:
            return self._run_now(unknown)
        self._allocate_known(outputs)
        self._hand_over(outputs)
        return True

    def _spans(self, shapes: dict[str, Shape], kinds: dict[str, Any]) -> tuple[tuple[int, int], ...]:
        found = []
        for name, shape in shapes.items():
            address = self._context._addresses.get(name, 0)
            found.append((address, address + math.prod(shape) * kinds[name][0].itemsize))
        return tuple(found)

    def _addresses_hold(self, outputs: dict[str, Shape]) -> bool:
        context, memory = self._context, self._simulation.memory
        for name, shape in (context._shapes | outputs).items():
            if name in context._allocators:
                continue
            kind = (self._network.inputs.get(name) or self._network.outputs[name])[0]
            address = context._addresses.get(name)
            size_bytes = math.prod(shape) * kind.itemsize
            if address is None:
                problem: str | None = "it has no address"
            elif -1 in shape:
                problem = "its size depends on values: it needs an output allocator"
            else:
                problem = memory.problem(address, size_bytes, self._kind(name)) or self._foreign(address)
            if problem is not None:
                self._simulation.violations.record("address", f"execute_async_v3: {name}: {problem}")
                return context._refuse(
                    "enqueueV3", f"Address is not set or not valid for tensor {name}: {problem}"
                )
        return True

    def _check_overlap(self, outputs: dict[str, Shape]) -> None:
        """TensorRT may write an output before it has read an input."""
        read = self._spans(self._context._shapes, self._network.inputs)
        for start, stop in self._spans(outputs, self._network.outputs):
            if any(start < end and begin < stop for begin, end in read):
                self._simulation.violations.record(
                    "address", "execute_async_v3: an output lies over an input"
                )

    def _kind(self, name: str) -> Kind:
        return Kind.PINNED if name in self._simulation.host_tensors else Kind.DEVICE

    def _foreign(self, address: int) -> str | None:
        allocation = self._simulation.memory.find(address)
        if (
            allocation is not None
            and allocation.kind is Kind.DEVICE
            and allocation.gpu != self._context._gpu.index
        ):
            return (
                f"{address:#x} lies on GPU {allocation.gpu}, and the engine on GPU {self._context._gpu.index}"
            )
        return None

    def _scratch_holds(self) -> bool:
        context = self._context
        if context._strategy is not ExecutionContextAllocationStrategy.USER_MANAGED:
            return True
        need = context._scratch_need()
        address, size_bytes = context._device_memory or (0, 0)
        problem = self._simulation.memory.problem(address, need, Kind.DEVICE)
        if problem is None and size_bytes < need:
            problem = f"{size_bytes} bytes were given and {need} are needed"
        if problem is not None:
            self._simulation.violations.record("address", f"execute_async_v3: device memory: {problem}")
            return context._refuse("enqueueV3", f"device memory: {problem}")
        return True

    def _check_order(self) -> None:
        """Pending work of the context must be on this stream, or before it."""
        for other in self._context._still_pending():
            ordered = other.stream is self._stream or (
                other.stream is not None
                and self._stream.clock.get(other.stream.handle, 0) >= other.clock.get(other.stream.handle, 1)
            )
            if not ordered:
                self._simulation.violations.record(
                    "concurrency",
                    "execute_async_v3 on a stream while work of the context is pending on another",
                )

    def _may_be_captured(self, unknown: set[str]) -> bool:
        capture = self._stream.capture
        assert capture is not None
        if unknown:
            capture.invalidate("an inference with outputs whose size depends on values")
            return self._context._refuse("enqueueV3", "operation not permitted when stream is capturing")
        if self._context._warm != self._context._state or self._context._still_pending():
            capture.invalidate("an inference whose context was not warmed up with these shapes, and awaited")
            return self._context._refuse("enqueueV3", "operation not permitted when stream is capturing")
        return True

    def _ask(self, allocator: Any, name: str, size_bytes: int) -> int:
        old = self._context._addresses.get(name, 0)
        return allocate(self._simulation, allocator, name, old, size_bytes, self._stream.handle)

    def _allocate_known(self, outputs: dict[str, Shape]) -> None:
        for name, allocator in self._context._allocators.items():
            size_bytes = math.prod(outputs[name]) * self._network.outputs[name][0].itemsize
            self._context._addresses[name] = self._ask(allocator, name, max(size_bytes, 1))
            notify(self._simulation, allocator, name, outputs[name])

    def _hand_over(self, outputs: dict[str, Shape]) -> None:
        context, simulation = self._context, self._simulation
        work = self._work(outputs)
        operation = Operation(
            "execute_async_v3",
            lambda: work,
            reads=self._spans(context._shapes, self._network.inputs),
            writes=self._spans(outputs, self._network.outputs) + self._scratch(),
            gate=None if self._stream.capture is not None else simulation.faults.take_hang(),
            inference=Frozen(weakref.ref(context), self._context._state, dict(context._addresses)),
        )
        if self._stream.capture is None:
            context._pending.append(operation)
            context._warm = self._context._state
        simulation.streams.enqueue(self._stream, operation)
        event = simulation.streams.find_event(context._consumed_event)
        if event is not None:
            simulation.streams.record(event, self._stream)

    def _scratch(self) -> tuple[tuple[int, int], ...]:
        memory = self._context._device_memory
        return ((memory[0], sum(memory)),) if memory else ()

    def _work(self, outputs: dict[str, Shape]) -> Callable[[], None]:
        """The closure knows memory and network, and neither context nor engine: they may be freed too early."""
        network, simulation, addresses = self._network, self._simulation, dict(self._context._addresses)
        inputs = dict(self._context._shapes)

        def run() -> None:
            _break(simulation)
            feeds = _feeds(network, simulation.memory, inputs, addresses)
            targets = {
                name: _view(simulation.memory, addresses[name], shape, network.outputs[name][0], name)
                for name, shape in outputs.items()
            }
            for target in targets.values():
                target.view(np.uint8).fill(UNWRITTEN)
            for name, answer in network.run(feeds).items():
                targets[name][...] = answer

        return run

    def _run_now(self, unknown: set[str]) -> bool:
        """TensorRT must know the sizes before it can ask for memory: the stream is awaited inside the call."""
        context, simulation = self._context, self._simulation
        simulation.threads.blocks("execute_async_v3() of a network whose outputs' sizes depend on values")
        hang = simulation.faults.take_hang()
        if hang is not None:
            hang.wait()
        try:
            simulation.streams.drain(self._stream)
            _break(simulation)
            answers = self._network.run(
                _feeds(self._network, simulation.memory, context._shapes, context._addresses)
            )
        except CudaFailure as failure:
            self._stream.gpu.broken = failure.code
            return context._refuse("enqueueV3", str(failure))
        for name, answer in answers.items():
            allocator = context._allocators.get(name)
            if allocator is not None:
                address = self._ask(allocator, name, max(answer.nbytes, 1))
                if not address:
                    return context._refuse("enqueueV3", f"no memory for {name}")
                context._addresses[name] = address
                notify(simulation, allocator, name, answer.shape)
        writes = []
        for name, answer in answers.items():
            address = context._addresses[name]
            if answer.nbytes:
                _view(simulation.memory, address, answer.shape, answer.dtype, name)
            writes.append((address, address + answer.nbytes))
        addresses = dict(context._addresses)

        def run() -> None:
            for name, answer in answers.items():
                if answer.nbytes:
                    _view(simulation.memory, addresses[name], answer.shape, answer.dtype, name)[...] = answer

        operation = Operation("execute_async_v3", lambda: run, writes=tuple(writes))
        context._pending.append(operation)
        simulation.streams.enqueue(self._stream, operation)
        return True


def _break(simulation: Simulation) -> None:
    """Raises the sticky error that a test planted."""
    code = simulation.faults.take_sticky()
    if code:
        raise CudaFailure("execute_async_v3", code)


def _feeds(
    network: Network, memory: Memory, shapes: dict[str, Shape], addresses: dict[str, int]
) -> dict[str, NDArray[Any]]:
    return {
        name: _view(memory, addresses[name], shapes[name], kind, name)
        for name, (kind, _) in network.inputs.items()
    }


def _view(memory: Memory, address: int, shape: Shape, kind: np.dtype[Any], name: str) -> NDArray[Any]:
    size_bytes = math.prod(shape) * kind.itemsize
    found = memory.bytes(address, size_bytes, f"the inference reached tensor {name}", rule="lifetime")
    return found.view(kind).reshape(shape)
