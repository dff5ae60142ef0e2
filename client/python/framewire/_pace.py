"""How much a slow uplink may hold: keeps what waits on it near 200 ms, without any waiting of its own.

A write returns long before the wire has carried it, so the queue on a slow link can only be inferred. For every
answered frame the network's part of its round trip is known (the whole, less the server's own time). How far it
rises above its recent minimum is how long the frame queued; when frames queue, what arrives in a time is the
link's rate. From the rate follows when the link will have carried what was written: the next frame may go when
that is at most 200 ms away, so a link is never idle and never holds more than about that and one frame.

Without queueing the rate is not known, only that it is enough: then the estimate grows as long as it is what
holds frames back, until frames queue or nothing is held back any more. Before the first answer nothing is known.

All that goes by the clock, which runs on when the link carries nothing. So where an answer is overdue, no further
frame goes until one comes or what is under way is known to be lost: it would only be old when the link is back. But
for one now and then, since it may be the answer alone that does not come.

The link is the device's own, whichever servers lie behind it; how far away each one is, its route tells.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

_MOST_QUEUED_S = 0.2
_QUEUED_S = 0.05  # less than this above the minimum is noise
_FIRST_RATE = 64 * 1024 / _MOST_QUEUED_S
_LEAST_RATE = 1024.0
_UNKNOWN_BYTES = 32 * 1024  # what may be on its way before anything is known
_GROWTH_AT_FIRST, _GROWTH = 2.0, 1.25
_LEARNING = 0.5
_MEMORY_S = 10.0  # how recent the "recent minimum" is
_DRAIN_EVERY_S = (
    4.0  # so often one frame of a route waits for an empty link, or the minimum would rise with the queue
)
_BUCKET_S = 1.0
_PROBE_EVERY_S = 2.0


@dataclass(slots=True, eq=False)
class Sending:
    """A frame on its way."""

    route: Route
    size_bytes: int
    at: float
    """When it was written, in seconds of the clock."""
    ahead_bytes: int
    """All bytes written before it since the link was first used."""
    arrived_bytes: int
    """All bytes known to have arrived when it was written."""
    arrived_at: float
    """When the last of those left the sender's end of the link."""
    pressed: bool
    """Whether the estimate of the rate was what decided when it may go."""


class Route:
    """What is known of the way to one server and back."""

    def __init__(self) -> None:
        self._quickest: deque[tuple[float, float, int]] = deque()  # bucket's end, network_s, size
        self._under_way: dict[Sending, None] = {}
        self._drain_at: float | None = None
        self._served_s = 0.0
        self._heard_at = self._sent_at = -math.inf

    def wants_empty_link(self, now: float) -> bool:
        """Whether it is time that a frame finds nothing before it, which tells how quick the way is."""
        if self._drain_at is None:
            self._drain_at = now + _DRAIN_EVERY_S
        return now >= self._drain_at

    def send(self, sending: Sending) -> None:
        """Notes a frame that is written."""
        if self.wants_empty_link(sending.at):
            self._drain_at = sending.at + _DRAIN_EVERY_S
        self._under_way[sending], self._sent_at = None, sending.at

    def end(self, sending: Sending) -> None:
        """Notes that a frame never will be answered."""
        self._under_way.pop(sending, None)

    def hear(self, sending: Sending, now: float, server_s: float) -> None:
        """Notes that an answer came, and how long the server had the frame."""
        while sending in self._under_way:  # what was written before it has arrived as well
            del self._under_way[next(iter(self._under_way))]
        usual_s = self._served_s * 0.5 ** ((now - self._heard_at) / _MEMORY_S)
        self._served_s, self._heard_at = max(server_s, usual_s), now

    def silence_s(self, now: float, rate: float) -> float:
        """Seconds until a frame may go though none is answered: 0 while no answer is overdue."""
        oldest = next(iter(self._under_way), None)
        if oldest is None:
            return 0.0
        usual_s = self.base_s(rate) + oldest.size_bytes / rate + self._served_s
        if now - max(oldest.at, self._heard_at) <= usual_s + _MOST_QUEUED_S:
            return 0.0
        return max(self._sent_at + _PROBE_EVERY_S - now, 0.0)

    def under_way_bytes(self) -> int:
        """How much was written and is not known to have arrived."""
        return sum(sending.size_bytes for sending in self._under_way)

    def remember(self, now: float, network_s: float, size_bytes: int, rate: float) -> None:
        """Keeps the quickest frame of every second; how quick depends on its size and the rate."""
        quickest = self._quickest
        while quickest and quickest[0][0] < now - _MEMORY_S:
            quickest.popleft()
        if not quickest or now >= quickest[-1][0]:
            quickest.append((now + _BUCKET_S, network_s, size_bytes))
        elif network_s - size_bytes / rate < quickest[-1][1] - quickest[-1][2] / rate:
            quickest[-1] = (quickest[-1][0], network_s, size_bytes)

    def base_s(self, rate: float) -> float:
        """The way there and back of nothing: the recent minimum without the transfer itself."""
        bare_s = (network_s - size_bytes / rate for _, network_s, size_bytes in self._quickest)
        return max(min(bare_s, default=0.0), 0.0)


class Pace:
    """The estimate for one uplink."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self.rate = _FIRST_RATE
        """Bytes that the link carries in a second, as far as known; at least that when nothing queues."""
        self._changed_at = clock()
        self._ever_queued = False
        self._free_at = 0.0
        self._written_bytes = 0
        self._arrived_bytes = 0
        self._arrived_at = self._changed_at
        self._held = False

    def silence_s(self, route: Route) -> float:
        """Seconds until a frame may go there if no answer comes from there: 0 when it need not wait for one."""
        if not self._arrived_bytes and route.under_way_bytes() >= _UNKNOWN_BYTES:
            return math.inf
        return route.silence_s(self._clock(), self.rate)

    def delay_s(self, route: Route) -> float:
        """Seconds until the next frame may go there: 0 when it may go now."""
        now = self._clock()
        backlog_s = self._free_at - now
        allowed_s = 0.0 if route.wants_empty_link(now) else _MOST_QUEUED_S
        if backlog_s <= allowed_s:
            return 0.0
        self._held = True
        return backlog_s - allowed_s

    def round_trip(self, route: Route, network_s: float) -> None:
        """Notes how long a message of next to no size took there and back, as those do that open a stream."""
        route.remember(self._clock(), network_s, 0, self.rate)

    def send(self, route: Route, size_bytes: int) -> Sending:
        """Notes a frame that is written now."""
        now = self._clock()
        drains, start = route.wants_empty_link(now), max(self._free_at, now)
        sending = Sending(
            route, size_bytes, now, self._written_bytes, self._arrived_bytes, self._arrived_at, False
        )
        route.send(sending)
        self._written_bytes += size_bytes
        self._free_at = start + size_bytes / self.rate
        # One that waited for an empty link finds no queue whatever the rate is.
        sending.pressed = not drains and (self._held or self._free_at - now > _MOST_QUEUED_S / 2)
        self._held = False
        return sending

    def resize(self, sending: Sending, size_bytes: int) -> None:
        """Corrects the size of a frame, known only when it was encoded."""
        more = size_bytes - sending.size_bytes
        sending.size_bytes = size_bytes
        self._written_bytes += more
        self._arrived_bytes = min(self._arrived_bytes, self._written_bytes)
        self._free_at += more / self.rate

    def forget(self, sending: Sending) -> None:
        """Takes back a frame that was not sent, or that a lost connection took with it."""
        self.resize(sending, 0)
        sending.route.end(sending)

    def answered(self, sending: Sending, server_s: float) -> None:
        """Learns from a frame's answer that comes now; the server itself had it for `server_s` seconds."""
        now = self._clock()
        network_s = max(now - sending.at - server_s, 0.0)
        sending.route.hear(sending, now, server_s)
        sending.route.remember(now, network_s, sending.size_bytes, self.rate)
        base_s = sending.route.base_s(self.rate)
        # When its last byte left the sender's end: what exceeds the bare way there and back was queue and transfer.
        left_at = sending.at + max(network_s - base_s, 0.0)
        queued_s = network_s - base_s - sending.size_bytes / self.rate
        behind_bytes = max(self._written_bytes - sending.ahead_bytes - sending.size_bytes, 0)
        # A link keeps the order, whichever server answers first: what was written before it has arrived as well.
        position = self._written_bytes - behind_bytes
        if position < self._arrived_bytes:
            return  # of a later frame more is known already
        self._arrived_bytes, before = position, self._arrived_at
        self._arrived_at = max(left_at, before)
        if sending.at < before and queued_s > _QUEUED_S:
            self._learn_rate(sending, queued_s, now)
        elif sending.pressed and queued_s <= _QUEUED_S and sending.at >= self._changed_at:
            self._set_rate(self.rate * (_GROWTH if self._ever_queued else _GROWTH_AT_FIRST), now)
        self._free_at = left_at + behind_bytes / self.rate

    def _learn_rate(self, sending: Sending, queued_s: float, now: float) -> None:
        """The link was busy since before this frame: what arrived meanwhile is its rate."""
        self._ever_queued = True
        span_s = self._arrived_at - sending.arrived_at
        if span_s <= 0:
            return
        seen = (self._arrived_bytes - sending.arrived_bytes) / span_s
        weight = 1.0 if queued_s > 2 * _MOST_QUEUED_S else _LEARNING
        self._set_rate(self.rate + weight * (seen - self.rate), now)

    def _set_rate(self, rate: float, now: float) -> None:
        self.rate = max(rate, _LEAST_RATE)
        self._changed_at = now
