"""Memory of the simulated GPUs, and pinned memory: real bytes at real addresses, guarded and poisoned."""

from __future__ import annotations

import bisect
import enum
import threading
from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tests.sim.violations import Violations

UNWRITTEN = 0xA5
"""Fills what was allocated and not written since: as float32 it is about -2.9e-16, as int a large number."""
FREED = 0xDD
_GUARD = 0xFB
_GUARD_BYTES = 512
ALIGNMENT = 512
"""cudaMalloc aligns at least to 256; TensorRT asks for that."""
_QUARANTINE_BYTES = 32 << 20
"""Freed memory that is kept, so that use after free finds 0xDD and the address is still known."""


class Kind(enum.Enum):
    """Where memory lies."""

    DEVICE = "device"
    PINNED = "pinned host"


@dataclass(eq=False)
class Allocation:
    """Memory from one call of an allocator."""

    address: int
    size_bytes: int
    kind: Kind
    gpu: int
    owner: str
    raw: NDArray[np.uint8] = field(repr=False)
    """The memory with its guards."""
    start: int
    """Where in `raw` it begins."""
    live: bool = True
    intact: bool = True
    """Whether nobody was found to have written beside it."""

    @property
    def bytes(self) -> NDArray[np.uint8]:
        """uint8 [size_bytes], writable: the memory itself."""
        return self.raw[self.start : self.start + self.size_bytes]

    def __str__(self) -> str:
        state = "" if self.live else "freed "
        return (
            f"{state}{self.kind.value} memory of {self.size_bytes} bytes at {self.address:#x} ({self.owner})"
        )


class Memory:
    """All memory that the program asked the driver for. Safe to use from any thread."""

    def __init__(self, violations: Violations) -> None:
        self._violations = violations
        self._lock = threading.RLock()
        self._addresses: list[int] = []
        self._by_address: dict[int, Allocation] = {}
        self._quarantine: deque[Allocation] = deque()
        self._quarantined_bytes = 0

    def allocate(self, kind: Kind, size_bytes: int, gpu: int, owner: str) -> Allocation:
        """Returns poisoned memory of `size_bytes` (> 0)."""
        raw = np.empty(size_bytes + 2 * _GUARD_BYTES + ALIGNMENT, np.uint8)
        start = raw.__array_interface__["data"][0]
        address = -(-(start + _GUARD_BYTES) // ALIGNMENT) * ALIGNMENT
        raw[: address - start] = _GUARD
        raw[address - start + size_bytes :] = _GUARD
        allocation = Allocation(address, size_bytes, kind, gpu, owner, raw, address - start)
        allocation.bytes[:] = UNWRITTEN
        with self._lock:
            bisect.insort(self._addresses, address)
            self._by_address[address] = allocation
        return allocation

    def free(self, allocation: Allocation) -> None:
        """Poisons the memory and keeps its address known for a while."""
        self._check_guards(allocation)
        allocation.bytes[:] = FREED
        with self._lock:
            allocation.live = False
            self._quarantine.append(allocation)
            self._quarantined_bytes += allocation.size_bytes
            while self._quarantined_bytes > _QUARANTINE_BYTES:
                gone = self._quarantine.popleft()
                self._quarantined_bytes -= gone.size_bytes
                del self._by_address[gone.address]
                del self._addresses[bisect.bisect_left(self._addresses, gone.address)]

    def find(self, address: int) -> Allocation | None:
        """The allocation that holds `address`, or None. It may be freed."""
        exact = self._by_address.get(address)  # nearly always: and reading a dict needs no lock
        if exact is not None:
            return exact
        with self._lock:
            at = bisect.bisect_right(self._addresses, address) - 1
            if at < 0:
                return None
            allocation = self._by_address[self._addresses[at]]
        return allocation if address < allocation.address + allocation.size_bytes else None

    def problem(self, address: int, size_bytes: int, kind: Kind | None = None) -> str | None:
        """Says why `size_bytes` at `address` must not be touched, or None."""
        found = self._look_up(address, size_bytes, kind)
        return found if isinstance(found, str) else None

    def bytes(
        self, address: int, size_bytes: int, what: str, *, kind: Kind | None = None, rule: str = "bounds"
    ) -> NDArray[np.uint8]:
        """uint8 [size_bytes]: the memory at `address`. Raises SimViolation when it is not all live memory."""
        found = self._look_up(address, size_bytes, kind)
        if isinstance(found, str):
            raise self._violations.record(rule, f"{what}: {found}")
        start = found.start + address - found.address
        return found.raw[start : start + size_bytes]

    def _look_up(self, address: int, size_bytes: int, kind: Kind | None) -> Allocation | str:
        """The live allocation that holds all the bytes, or why there is none."""
        if not address:
            return "the address is NULL"
        allocation = self.find(address)
        if allocation is None:
            return f"{address:#x} belongs to no memory that the driver gave out"
        if not allocation.live:
            return f"{address:#x} lies in {allocation}"
        if kind is not None and allocation.kind is not kind:
            return f"{address:#x} lies in {allocation}, but {kind.value} memory is needed"
        left = allocation.address + allocation.size_bytes - address
        if size_bytes > left:
            return f"{size_bytes} bytes at {address:#x} reach beyond the {left} left of {allocation}"
        return allocation

    def used_bytes(self, gpu: int) -> int:
        """Device memory in use on a GPU."""
        with self._lock:
            return sum(
                one.size_bytes
                for one in self._by_address.values()
                if one.live and one.kind is Kind.DEVICE and one.gpu == gpu
            )

    def live(self) -> tuple[Allocation, ...]:
        """What was not freed yet; its guards are checked."""
        with self._lock:
            alive = tuple(one for one in self._by_address.values() if one.live)
        for allocation in alive:
            self._check_guards(allocation)
        return alive

    def _check_guards(self, allocation: Allocation) -> None:
        before = allocation.raw[: allocation.start]
        after = allocation.raw[allocation.start + allocation.size_bytes :]
        if allocation.intact and ((before != _GUARD).any() or (after != _GUARD).any()):
            allocation.intact = False
            self._violations.record("bounds", f"something wrote beside {allocation}")
