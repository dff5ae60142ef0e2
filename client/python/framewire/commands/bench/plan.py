"""What a run is: cameras, pictures, links, and for how long."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from framewire.commands.bench.camera import Policy
from framewire.commands.bench.mix import Kind, Share, Size

DEFAULT_SIZE = Size(640, 480)


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings of a run, but for the number of cameras, which a search varies."""

    targets: tuple[str, ...]
    """HOST:PORT each; cameras are dealt to them in turn."""
    model: str = ""
    fps: float = 5.0
    jitter: float = 0.0
    """Share of the period by which a capture may be late."""
    kinds: Sequence[Share[Kind]] = field(default=(Share(Kind(DEFAULT_SIZE, "jpeg"), 1.0),))
    policy: Policy = "latest"
    max_frame_age_s: float | None = None
    duration_s: float = 30.0
    """Measured time; ramp and warm-up come before it."""
    ramp_s: float = 0.0
    warmup_s: float = 2.0
    drain_s: float = 10.0
    """After the last capture, how long outcomes are waited for."""
    settle_s: float = 1.0
    """Between two runs of a search, so that the server recovers."""
    seed: int = 0
    link_rate_bps: float | None = None
    link_delay_s: float = 0.0
    share_connections: bool = False

    @property
    def shaped(self) -> bool:
        """Whether cameras have links of their own."""
        return self.link_rate_bps is not None or self.link_delay_s > 0
