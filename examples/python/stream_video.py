"""Streams a video file and prints the outcome of every frame.

python examples/python/stream_video.py clip.mp4 --overload latest --server localhost:50051"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Iterator

import av

from framewire import AsyncClient, FramewireError


def as_camera(path: str) -> Iterator[object]:
    """A video's frames when they are due, like a camera's. It may block: the SDK reads it in a thread."""
    with av.open(path) as container:
        start = time.monotonic()
        for picture in container.decode(video=0):
            time.sleep(max(0.0, start + (picture.time or 0.0) - time.monotonic()))
            yield picture.to_ndarray(format="bgr24")


async def main() -> int:
    """Returns the exit status: 1 when a frame failed."""
    parser = argparse.ArgumentParser(description="Streams a video file and prints what is in it.")
    parser.add_argument("video", metavar="FILE")
    parser.add_argument("--overload", choices=["wait", "latest"], default="wait")
    parser.add_argument("--server", default="localhost:50051", metavar="HOST:PORT")
    arguments = parser.parse_args()
    source = as_camera(arguments.video) if arguments.overload == "latest" else arguments.video
    counts: Counter[str] = Counter()
    async with AsyncClient(arguments.server) as client:
        async for result in client.stream(source, overload=arguments.overload):
            counts[result.outcome] += 1
            if result.ok:
                text = ", ".join(f"{x.label} {x.score:.2f}" for x in result.detections) or "nothing found"
            else:  # dropped by policy, or failed: nobody knows what is in it, which is not the same as nothing
                text = f"{result.outcome}: {result.reason} {result.message}".rstrip()
            print(f"frame {result.frame_id} after {result.latency.total * 1000:.0f} ms: {text}")
    print(", ".join(f"{count} {outcome}" for outcome, count in sorted(counts.items())) or "no frames")
    return 1 if counts["error"] else 0


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main()))
    except (FramewireError, av.FFmpegError) as error:  # no server, no such file: nothing more will come
        sys.exit(f"stream_video: {error}")
