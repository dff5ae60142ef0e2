"""Which pipeline answers which key, and when a pipeline's time is over."""

from __future__ import annotations

from collections.abc import Callable, Hashable

from framewire_server.core.pipeline import Pipeline
from framewire_server.core.trouble import Trouble


class Bound:
    """A pipeline on a device, from its first binding until nothing of it is in progress any more."""

    __slots__ = ("keys", "pipeline", "trouble", "uses")

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.keys: set[Hashable] = set()
        """The scheduler's keys that lead to it."""
        self.uses = 0
        """Batches and frames of it that are in progress, and lanes that it is attached to."""
        self.trouble = Trouble()

    @property
    def retired(self) -> bool:
        """Whether no key leads to it any more: it only finishes what was begun."""
        return not self.keys


class Bindings:
    """Leads keys to pipelines. Guarded by the scheduler's lock.

    `ended` is called, with the lock held, once for every pipeline: when no key leads to it any more and its
    last use has ended. Such a pipeline must not be bound again.
    """

    def __init__(self, ended: Callable[[Bound], None]) -> None:
        self.retirements = 0
        """How often a pipeline lost its last key."""
        self._ended = ended
        self._by_key: dict[Hashable, Bound] = {}
        self._by_pipeline: dict[Pipeline, Bound] = {}

    def __contains__(self, key: Hashable) -> bool:
        """Whether a pipeline answers `key`."""
        return key in self._by_key

    def __getitem__(self, key: Hashable) -> Bound:
        """What answers `key`. Raises KeyError."""
        return self._by_key[key]

    def knows(self, pipeline: Pipeline) -> bool:
        """Whether the pipeline is bound, or was and has not ended."""
        return pipeline in self._by_pipeline

    def bind(self, key: Hashable, pipeline: Pipeline) -> Bound:
        """Leads `key` to the pipeline from now on, whatever it led to before."""
        before = self._by_key.get(key)
        if before and before.pipeline is pipeline:
            return before
        bound = self._by_pipeline.setdefault(pipeline, Bound(pipeline))
        bound.keys.add(key)
        self._by_key[key] = bound
        if before:
            self._release(before, key)
        return bound

    def unbind(self, key: Hashable) -> None:
        """Leads `key` nowhere; does nothing when it led nowhere before."""
        if bound := self._by_key.pop(key, None):
            self._release(bound, key)

    def enter(self, bound: Bound) -> None:
        """Counts a use, which keeps the pipeline until `leave`."""
        bound.uses += 1

    def leave(self, bound: Bound) -> None:
        """Ends a use."""
        bound.uses -= 1
        self._end_if_over(bound)

    def unbind_all(self) -> list[Bound]:
        """Leads all keys nowhere; returns the pipelines that are still in use and have not ended."""
        for key in list(self._by_key):
            self.unbind(key)
        return list(self._by_pipeline.values())

    def _release(self, bound: Bound, key: Hashable) -> None:
        bound.keys.discard(key)
        self.retirements += bound.retired
        self._end_if_over(bound)

    def _end_if_over(self, bound: Bound) -> None:
        if bound.retired and not bound.uses:
            del self._by_pipeline[bound.pipeline]
            self._ended(bound)
