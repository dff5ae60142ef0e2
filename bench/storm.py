"""What an overload shows: is the server full, are its answers fresh, is its memory flat, are streams equal?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bench.cameras import Camera, Seen, Site, rate
from bench.verdict import Figure

FAIR = 0.05
"""How far equals may be apart, as a share of their mean."""
SAMPLE_S = 1.0
"""How often memory is looked at."""
_FULL = 0.95
_GROWTH = 1.2  # of a p99: some of it is the machine's mood
_RSS_GROWTH = 0.02


@dataclass(frozen=True, slots=True)
class Calm:
    """The server without overload."""

    fps: float
    """Frames answered per second of WAIT streams that keep it full."""
    age_ms: float
    """Median age of the answers to a single slow camera."""


@dataclass(frozen=True, slots=True)
class Storm:
    """The server under overload."""

    site: Site
    """Equal cameras, then a slow one."""
    seen: Sequence[Seen]
    rss_bytes: Sequence[int]
    """Of the server, every SAMPLE_S after settling."""

    @property
    def equal(self) -> Sequence[Seen]:
        """What the equal cameras saw."""
        return self.seen[:-1]

    @property
    def period_s(self) -> float:
        """Of each equal camera."""
        camera = self.site.sources[0]
        assert isinstance(camera, Camera)
        return 1 / camera.fps

    def figures(self, calm: Calm) -> list[Figure]:
        """All that is asked of a server under overload."""
        return [*self._full(calm), *self._fresh(calm), *self._flat(), *self._fair(), *self._complete()]

    def _full(self, calm: Calm) -> list[Figure]:
        offered = sum(seen.offered for seen in self.seen) / self.site.seconds
        return [
            Figure("unloaded maximum", calm.fps, unit="frames/s"),
            Figure("offered", offered, unit="frames/s"),
            Figure("answered / unloaded maximum", rate(self.seen, self.site) / calm.fps, at_least=_FULL),
        ]

    def _fresh(self, calm: Calm) -> list[Figure]:
        answered, captured, inference = (
            np.concatenate([getattr(seen, name) for seen in self.equal])
            for name in ("answered_at", "captured_at", "inference_s")
        )
        settled_at, end_at = self.site.settled_at, self.site.end_at
        third_s = (end_at - settled_at) / 3
        during = (answered >= settled_at) & (answered < end_at)
        ages_ms = (answered - captured) * 1e3
        first = np.percentile(ages_ms[during & (answered < settled_at + third_s)], 99)
        last = np.percentile(ages_ms[during & (answered >= end_at - third_s)], 99)
        batch_ms, age_ms = np.percentile(inference[during], 99) * 1e3, np.percentile(ages_ms[during], 99)
        bound_ms = 2 * (batch_ms + self.period_s * 1e3)
        return [
            Figure("batch time, p99", float(batch_ms), unit="ms"),
            Figure("frame period", self.period_s * 1e3, unit="ms"),
            Figure("age of a slow camera's answers without overload, median", calm.age_ms, unit="ms"),
            Figure("age of answers, median", float(np.median(ages_ms[during])), unit="ms"),
            Figure("age of answers, p99", float(age_ms), unit="ms"),
            Figure(
                "p99 age above that / (2 x (batch + period))", (age_ms - calm.age_ms) / bound_ms, at_most=1
            ),
            Figure("p99 age, last third / first third", float(last / first), at_most=_GROWTH),
        ]

    def _flat(self) -> list[Figure]:
        samples = np.array(self.rss_bytes)
        quarter = max(len(samples) // 4, 1)
        slope = np.polyfit(np.arange(len(samples)) * SAMPLE_S, samples, 1)[0]
        growth = float(samples[-quarter:].mean() / samples[:quarter].mean())
        return [
            Figure("server memory", float(samples.mean()) / 2**20, unit="MiB"),
            Figure("memory slope", float(slope) * 60 / 2**10, unit="KiB/min"),
            Figure("memory, last quarter / first quarter", growth, at_most=1 + _RSS_GROWTH),
        ]

    def _fair(self) -> list[Figure]:
        answered = np.array([len(seen.answered_at) for seen in self.equal])
        slow = self.seen[-1]
        fewest, most = (float(count / answered.mean()) for count in (answered.min(), answered.max()))
        return [
            Figure("equal streams, fewest answers / mean", fewest, at_least=1 - FAIR),
            Figure("equal streams, most answers / mean", most, at_most=1 + FAIR),
            Figure("stream at 1 fps, share answered", len(slow.answered_at) / slow.offered, at_least=0.99),
        ]

    def _complete(self) -> list[Figure]:
        return [
            Figure("frames failed", sum(seen.failed for seen in self.seen), at_most=0),
            Figure("frames without an outcome", sum(seen.unanswered for seen in self.seen), at_most=0),
        ]
