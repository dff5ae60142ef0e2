"""What a run comes to, in numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from framewire.commands.bench.recording import End, Kind, Recording
from framewire.commands.bench.run import Measured

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_LATE_S = 0.02
_BUSY = 0.85


@dataclass(frozen=True, slots=True)
class Ages:
    """Of answered frames, from the scheduled capture to the result in the application, in seconds.

    Percentiles are ages that were measured: the smallest one that so many percent of the frames do not exceed.
    """

    p50_s: float
    p95_s: float
    p99_s: float
    max_s: float


@dataclass(frozen=True, slots=True)
class Fairness:
    """How evenly cameras were answered."""

    jain: float
    """Jain's index of the cameras' answered shares: 1 when they are equal, 1/n when one has everything."""
    least: float
    mean: float
    most: float


@dataclass(frozen=True, slots=True)
class CameraFigures:
    """One camera's frames."""

    offered: int
    answered: int
    dropped: int
    failed: int
    p99_age_s: float | None
    longest_gap_s: float
    """The longest time from one answered capture to the next, or to an end of the run."""


@dataclass(frozen=True, slots=True)
class Tool:
    """How this tool itself did."""

    lateness_p99_s: float
    """How late it was with captures."""
    cpu_share: float
    loop_share: float
    """See Measured."""

    @property
    def is_bottleneck(self) -> bool:
        """Whether the figures may be the tool's rather than the server's."""
        return self.lateness_p99_s > _LATE_S or self.loop_share > _BUSY


@dataclass(frozen=True, slots=True)
class Figures:
    """All of it. offered = answered + failed + everything dropped."""

    cameras: int
    seconds: float
    offered: int
    answered: int
    dropped: Mapping[End, int]
    failed: Mapping[End, int]
    unfinished: int
    """Frames without an outcome since the run was interrupted; they are in no other number."""
    age: Ages | None
    """None when nothing was answered."""
    fairness: Fairness
    sent_bytes: int
    tool: Tool
    per_camera: Sequence[CameraFigures]
    messages: Mapping[End, str]
    """What was said to the first frame of a kind of failure."""
    troubles: Mapping[str, int]
    """Why streams broke, and how many did so."""

    def share(self, counts: Mapping[End, int]) -> float:
        """Their share of all frames that were offered."""
        return sum(counts.values()) / self.offered if self.offered else 0.0

    @property
    def answered_fps(self) -> float:
        """Answers a second, of all cameras."""
        return self.answered / self.seconds if self.seconds else 0.0

    @property
    def sent_bytes_per_s(self) -> float:
        """Bytes of pictures that reached the server, a second."""
        return self.sent_bytes / self.seconds if self.seconds else 0.0


def figures_of(measured: Measured) -> Figures:
    """Counts a run together."""
    import numpy as np

    recording = measured.recording
    rows = Rows(recording)
    counts = np.bincount(rows.codes, minlength=len(recording.ends))
    by_end = {end: int(count) for end, count in zip(recording.ends, counts, strict=True)}
    per_camera = _per_camera(rows, measured)
    shares = [camera.answered / camera.offered for camera in per_camera if camera.offered]
    late = np.frombuffer(recording.lateness_s) if recording.lateness_s else np.zeros(1)
    return Figures(
        cameras=measured.cameras,
        seconds=measured.seconds,
        offered=len(rows.codes),
        answered=int(rows.answered.sum()),
        dropped=_of_kind(by_end, "dropped"),
        failed=_of_kind(by_end, "failed"),
        unfinished=recording.unfinished,
        age=ages(rows.ages_s[rows.answered]),
        fairness=Fairness(jain(shares), min(shares, default=0.0), _mean(shares), max(shares, default=0.0)),
        sent_bytes=recording.sent_bytes,
        tool=Tool(percentile(late, 99), measured.cpu_share, measured.loop_share),
        per_camera=per_camera,
        messages=dict(recording.messages),
        troubles=dict(recording.troubles),
    )


class Rows:
    """A recording as arrays [n], a row a frame; a view of it where it can be."""

    def __init__(self, recording: Recording) -> None:
        import numpy as np

        # An array's buffer cannot be shared while it still grows, so these are copies of a few MB.
        self.cameras: NDArray[Any] = np.array(recording.cameras, np.int64)
        self.captured_s: NDArray[Any] = np.array(recording.captured_s, np.float64)
        self.ages_s: NDArray[Any] = np.array(recording.ages_s, np.float64)
        self.codes: NDArray[Any] = np.array(recording.codes, np.int64)
        kinds = np.array([end.kind for end in recording.ends], dtype=object)
        kind: NDArray[Any] = kinds[self.codes] if len(self.codes) else np.array([], dtype=object)
        self.answered = kind == "answered"
        self.dropped = kind == "dropped"
        self.failed = kind == "failed"


def ages(values_s: NDArray[np.float64]) -> Ages | None:
    """Percentiles of ages in seconds; None of none."""
    if not len(values_s):
        return None
    return Ages(*(percentile(values_s, rank) for rank in (50, 95, 99, 100)))


def percentile(values: NDArray[np.float64], rank: float) -> float:
    """The smallest value that `rank` percent of the values do not exceed."""
    import numpy as np

    return float(np.percentile(values, rank, method="inverted_cdf"))


def jain(shares: Sequence[float]) -> float:
    """Jain's fairness index; 1 of nothing, and where nobody got anything."""
    squares = sum(share * share for share in shares)
    return sum(shares) ** 2 / (len(shares) * squares) if squares else 1.0


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def _of_kind(by_end: Mapping[End, int], kind: Kind) -> dict[End, int]:
    return {end: count for end, count in by_end.items() if end.kind == kind}


def _per_camera(rows: Rows, measured: Measured) -> list[CameraFigures]:
    import numpy as np

    order = np.argsort(rows.cameras, kind="stable")
    bounds = np.searchsorted(rows.cameras[order], np.arange(measured.cameras + 1))
    begin, end = measured.recording.begin_s, measured.recording.begin_s + measured.seconds
    found = []
    for n in range(measured.cameras):
        mine = order[bounds[n] : bounds[n + 1]]
        answered = mine[rows.answered[mine]]
        instants = np.concatenate(([begin], np.sort(rows.captured_s[answered]), [end]))
        age = ages(rows.ages_s[answered])
        found.append(
            CameraFigures(
                offered=len(mine),
                answered=len(answered),
                dropped=int(rows.dropped[mine].sum()),
                failed=int(rows.failed[mine].sum()),
                p99_age_s=age.p99_s if age else None,
                longest_gap_s=float(np.max(np.diff(instants))),
            )
        )
    return found
