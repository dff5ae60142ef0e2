"""The client without asyncio: the same rules, since it drives the asyncio one on a thread of its own."""

from __future__ import annotations

import asyncio
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from types import TracebackType
from typing import Any, TypeVar

from framewire._aio import AsyncClient
from framewire._errors import Misuse
from framewire._events import Advice, Event
from framewire._images import JPEG_QUALITY
from framewire._stream import AsyncStream
from framewire._types import Color, FrameResult, ModelInfo, Options, Overload, StreamInfo

T = TypeVar("T")
_FINISH_S = 1.0


class _Loop:
    """An event loop on a daemon thread, of the process that made it."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="framewire-client", daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs a coroutine on the loop and returns its result."""
        try:
            self.check()
        except Misuse:
            work.close()
            raise
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # an interrupt must not leave the work running behind it
            raise

    def check(self) -> None:
        """Raises Misuse when the loop cannot run anything."""
        if os.getpid() != self._process:
            raise Misuse(
                f"this Client was made in process {self._process} and cannot be used in its fork {os.getpid()}: "
                "gRPC does not survive a fork. Make a Client in each process, after the fork"
            )
        if self._loop.is_closed():
            raise Misuse("the client is closed")

    def is_current(self) -> bool:
        """Whether this is the loop's own thread."""
        return threading.current_thread() is self._thread

    def stop_after(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs a coroutine, then ends the thread; does not wait."""
        self._loop.create_task(work).add_done_callback(lambda _: self._loop.stop())

    def stop(self) -> None:
        """Ends the thread; does nothing the second time, and in a fork."""
        if self._loop.is_closed() or os.getpid() != self._process:
            return
        asyncio.run_coroutine_threadsafe(_finish_tasks(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


async def _finish_tasks() -> None:
    """Lets gRPC's tasks of cancelled calls end; a loop that stops under them complains about each."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    if tasks:
        await asyncio.wait(tasks, timeout=_FINISH_S)


class Client:
    """Connections to one or several Framewire servers. Safe to use from several threads, not across a fork."""

    def __init__(
        self,
        targets: str | Iterable[str] = "localhost",
        *,
        jpeg_quality: int = JPEG_QUALITY,
        connect_timeout: float = 10.0,
    ) -> None:
        """See AsyncClient."""
        self._client = AsyncClient(targets, jpeg_quality=jpeg_quality, connect_timeout=connect_timeout)
        self._loop = _Loop()
        # A program that forgets to close must still end: gRPC's threads do not outlive the interpreter well.
        self._at_exit = weakref.finalize(self, _close, self._loop, self._client)
        self._at_exit.atexit = True

    @property
    def target(self) -> str:
        """HOST:PORT of the servers."""
        return self._client.target

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def stream(
        self,
        source: Any = None,
        *,
        model: str = "",
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        labels: Iterable[str] | None = None,
        max_frame_age: float | None = None,
        overload: Overload | None = None,
        name: str = "",
        color: Color = "bgr",
        reconnect_timeout: float | None = 60.0,
        on_event: Callable[[Event], object] | None = None,
    ) -> Stream:
        """Opens a stream and returns what yields its results; see AsyncClient.stream.

        `on_event` is called on the client's own thread: it must not call the client, which would wait for itself.
        """

        async def make() -> AsyncStream:
            return self._client.stream(
                source,
                model=model,
                score_threshold=score_threshold,
                iou_threshold=iou_threshold,
                max_detections=max_detections,
                labels=labels,
                max_frame_age=max_frame_age,
                overload=overload,
                name=name,
                color=color,
                reconnect_timeout=reconnect_timeout,
                on_event=on_event,
            )

        return Stream(self, self._loop, self._loop.run(make()))

    def detect(
        self,
        image: Any,
        *,
        model: str = "",
        score_threshold: float | None = None,
        iou_threshold: float | None = None,
        max_detections: int | None = None,
        labels: Iterable[str] | None = None,
        color: Color = "bgr",
        timeout: float = 10.0,
    ) -> FrameResult:
        """Answers one picture; see AsyncClient.detect."""
        return self._loop.run(
            self._client.detect(
                image,
                model=model,
                score_threshold=score_threshold,
                iou_threshold=iou_threshold,
                max_detections=max_detections,
                labels=labels,
                color=color,
                timeout=timeout,
            )
        )

    def models(self, *, timeout: float = 10.0) -> tuple[ModelInfo, ...]:
        """Lists the models of the server."""
        return self._loop.run(self._client.models(timeout=timeout))

    def model(self, name: str = "", *, timeout: float = 10.0) -> ModelInfo:
        """Describes one model; the server's default without a name."""
        return self._loop.run(self._client.model(name, timeout=timeout))

    def close(self) -> None:
        """Closes all streams and the connection. Does nothing the second time."""
        self._at_exit()


def _close(loop: _Loop, client: AsyncClient) -> None:
    if loop.is_current():  # collected by the garbage collector on the loop's own thread, which cannot wait
        loop.stop_after(client.close())
        return
    try:
        loop.run(client.close())
    except Misuse:
        return  # in a fork, or closed already
    loop.stop()


class Stream:
    """Iterate over it to get one result for every frame, in frame order; see AsyncStream."""

    def __init__(self, client: Client, loop: _Loop, stream: AsyncStream) -> None:
        self._client = client  # a client that nobody holds closes itself, and its streams with it
        self._loop = loop
        self._stream = stream
        self._taken: deque[FrameResult] = deque()

    @property
    def info(self) -> StreamInfo:
        """What the stream got from the server. Raises Misuse before the stream was started."""
        return self._stream.info

    @property
    def server(self) -> str:
        """The address of the server that took the stream last; empty before the stream was started."""
        return self._stream.server

    @property
    def advice(self) -> Advice | None:
        """What the server asked for last; None when it asked for nothing."""
        return self._stream.advice

    def __enter__(self) -> Stream:
        self._loop.run(self._stream.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[FrameResult]:
        return self

    def __next__(self) -> FrameResult:
        if not self._taken:
            # All that are there at once: a change of threads costs more than a result.
            self._taken.extend(self._loop.run(_take(self._stream)))
        if not self._taken:
            raise StopIteration
        return self._taken.popleft()

    def send(self, image: Any) -> int:
        """Submits a picture or Frame and returns its frame id; see AsyncStream.send. Iterate in another thread."""
        return self._loop.run(self._stream.send(image))

    def end(self) -> None:
        """Says that there are no more frames: iteration ends after the last result."""
        self._loop.run(self._stream.end())

    def update(self, options: Options) -> None:
        """Replaces the options from the next submitted frame on."""
        self._loop.run(self._stream.update(options))

    def close(self) -> None:
        """Ends the stream at once; unanswered frames are cancelled."""
        self._loop.run(self._stream.close())


async def _take(stream: AsyncStream) -> list[FrameResult]:
    # StopAsyncIteration cannot leave a coroutine that a future carries.
    try:
        return await stream.take()
    except StopAsyncIteration:
        return []
