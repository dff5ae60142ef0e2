"""The GPUs of the simulated machine."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(eq=False)
class SimGpu:
    """One GPU. `memory_bytes` counts; nothing of it is reserved on the host."""

    index: int
    name: str = "Simulated RTX 4090"
    compute_capability: tuple[int, int] = (8, 9)
    memory_bytes: int = 24 << 30
    foreign_bytes: int = 0
    """Memory that other processes hold."""
    retained: int = 0
    """How often the primary context is retained."""
    broken: int = 0
    """The code of a sticky error: every later call in the context fails with it. 0: none."""
    context_handle: int = field(init=False)

    def __post_init__(self) -> None:
        self.context_handle = 0xC0DE_0000 + (self.index + 1) * 0x1000

    @property
    def pci_bus_id(self) -> str:
        """As the driver writes it."""
        return f"0000:{self.index + 1:02X}:00.0"
