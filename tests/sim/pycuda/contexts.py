"""Device, Context and init: contexts are pushed per thread, and objects belong to the wrapper they were made under."""

from __future__ import annotations

import threading
import warnings
from typing import Any

from tests.sim import errors
from tests.sim.gpus import SimGpu
from tests.sim.pycuda.constants import device_attribute
from tests.sim.pycuda.exceptions import fail, translation
from tests.sim.simulation import current


def init(flags: int = 0) -> None:
    """See cuInit."""
    simulation = current()
    if simulation.cu_init:
        raise fail("cuInit", simulation.cu_init)
    if not simulation.gpus:
        raise fail("cuInit", errors.NO_DEVICE)
    simulation.initialised = True


def _initialised(call: str) -> None:
    if not current().initialised:
        raise fail(call, errors.NOT_INITIALIZED)


class Device:
    """A GPU, by its number or the address of its slot."""

    def __init__(self, which: int | str, /) -> None:
        simulation = current()
        _initialised("cuDeviceGet")
        found = [gpu for gpu in simulation.gpus if which in (gpu.index, gpu.pci_bus_id)]
        if not found:
            raise fail("cuDeviceGet", errors.INVALID_DEVICE)
        self._gpu = found[0]

    @staticmethod
    def count() -> int:
        """How many there are."""
        _initialised("cuDeviceGetCount")
        return len(current().gpus)

    def name(self) -> str:
        return self._gpu.name

    def pci_bus_id(self) -> str:
        return self._gpu.pci_bus_id

    def compute_capability(self) -> tuple[int, int]:
        return self._gpu.compute_capability

    def total_memory(self) -> int:
        return self._gpu.memory_bytes

    def get_attribute(self, attribute: Any, /) -> int:
        """See cuDeviceGetAttribute."""
        return device_attribute.value_of(self._gpu, attribute)

    def __getattr__(self, name: str) -> int:
        return self.get_attribute(getattr(device_attribute, name.upper()))

    def can_access_peer(self, other: Device, /) -> int:
        return 0

    def retain_primary_context(self) -> Context:
        """Does not push it."""
        with current().lock:
            self._gpu.retained += 1
        return Context(self._gpu)

    def make_context(self, flags: int = 0) -> Context:
        """A violation: TensorRT works in the primary context."""
        raise current().violations.record(
            "context", "make_context() makes a second context, and TensorRT works in the primary one"
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Device) and self._gpu is other._gpu

    def __hash__(self) -> int:
        return self._gpu.index


class Context:
    """One wrapper of a GPU's primary context. Wrappers of the same context are equal, but not the same owner."""

    def __init__(self, gpu: SimGpu) -> None:
        self._gpu = gpu
        self._simulation = current()
        self._thread = threading.get_ident()
        self._valid = True

    @property
    def handle(self) -> int:
        """The CUcontext as a number."""
        return self._gpu.context_handle

    def push(self) -> None:
        """Makes it the calling thread's current one."""
        if not self._valid:
            raise current().violations.record("context", "push() of a context that was detached")
        current().threads.state().stack.append(self)

    @staticmethod
    def pop() -> None:
        """Ends what the last push began."""
        stack = current().threads.state().stack
        if not stack:
            raise fail("context::pop", errors.INVALID_CONTEXT, "cannot pop non-current context")
        stack.pop()

    def detach(self) -> None:
        """Gives the retained primary context back."""
        if not self._valid:
            raise fail("context::detach", errors.INVALID_CONTEXT, "cannot detach from invalid context")
        self._valid = False
        Context.get_current()  # takes it from this thread's stack; on another's it stays
        self._release()

    def _release(self) -> None:
        simulation = self._simulation
        with simulation.lock:
            self._gpu.retained -= 1
            left = self._gpu.retained
        if (
            not left
            and not self._gpu.broken
            and any(one.gpu == self._gpu.index for one in simulation.memory.live())
        ):
            simulation.violations.record(
                "lifetime", f"the primary context of GPU {self._gpu.index} ended with memory allocated in it"
            )

    @staticmethod
    def get_current() -> Context | None:
        """The calling thread's, or None."""
        stack = current().threads.state().stack
        while stack and not stack[-1]._valid:
            stack.pop()
        return stack[-1] if stack else None

    @staticmethod
    def get_device() -> Device:
        """The GPU of the calling thread's context."""
        return Device(require("cuCtxGetDevice")._gpu.index)

    @staticmethod
    def synchronize() -> None:
        """Waits for all work of the context."""
        context = require("cuCtxSynchronize")
        current().threads.blocks("Context.synchronize()")
        with translation():
            current().streams.drain_all(context._gpu)

    def get_api_version(self) -> int:
        return 13000

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Context) and self._gpu is other._gpu

    def __hash__(self) -> int:
        return hash(self.handle) ^ id(self)

    def __del__(self) -> None:
        if getattr(self, "_valid", False) and not self._simulation.closed:
            self._valid = False
            self._release()


def require(call: str) -> Context:
    """The context that is current on the calling thread. Raises LogicError as the driver does without one."""
    _initialised(call)
    context = Context.get_current()
    if context is None:
        raise fail(call, errors.INVALID_CONTEXT)
    if context._gpu.broken:
        raise fail(call, context._gpu.broken)
    return context


def forbidden_by_capture(what: str) -> None:
    """Raises LogicError while a capture forbids it on this thread, and invalidates the capture."""
    with translation():
        current().capture_forbids(what)


class Ward:
    """What pycuda frees in the context that it was made in, and only there."""

    def __init__(self) -> None:
        self._ward: Context | None = None
        context = Context.get_current()
        if context is None:
            raise fail("explicit_context_dependent", errors.INVALID_CONTEXT, "no currently active context?")
        require("explicit_context_dependent")
        self._simulation = current()
        self._ward = context

    def _may_free(self, name: str) -> bool:
        """Whether this thread can free it. Where it cannot, pycuda warns and leaks; so does this."""
        simulation, ward = self._simulation, self._ward
        self._ward = None
        if simulation.closed or ward is None or not ward._valid:
            return False  # pycuda says nothing of a context that was detached
        same = Context.get_current() is ward
        if same or threading.get_ident() == ward._thread:
            return True
        if ward._gpu.broken:
            return False  # nobody can free it, so that it does not count (see Simulation.finish)
        simulation.leak(f"{name}: freed where its context is not current")
        warnings.warn(f"{name} in out-of-thread context could not be cleaned up", UserWarning, stacklevel=3)
        return False
