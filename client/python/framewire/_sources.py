"""Where frames come from: folders, pictures, videos, cameras, or any iterable of the user's."""

from __future__ import annotations

import os
from collections.abc import AsyncIterable, Iterable, Iterator
from pathlib import Path
from typing import Any

from framewire._errors import ImageUnreadable, MissingExtra
from framewire._images import import_cv2, is_array
from framewire._types import Frame

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
_LIVE_PREFIXES = ("rtsp://", "rtsps://", "rtmp://", "http://", "https://", "/dev/video")


def is_live(source: Any) -> bool:
    """Whether a source goes on whether or not anybody keeps up: a camera's number, device or address."""
    return isinstance(source, int) or (isinstance(source, str) and source.startswith(_LIVE_PREFIXES))


def frames(source: Any) -> Iterable[Any] | AsyncIterable[Any]:
    """Returns the frames of a source: pictures or Frames.

    Raises TypeError when it is none, ImageUnreadable when a file is missing, MissingExtra for videos and
    cameras without the extra `video`.
    """
    if is_live(source):
        return _camera(source)
    if isinstance(source, str | os.PathLike):
        return _files(Path(source))
    if isinstance(source, bytes | bytearray | memoryview) or is_array(source):
        raise TypeError("one picture is no stream: use client.detect(image), or give a list of pictures")
    if isinstance(source, AsyncIterable | Iterable):
        return source
    raise TypeError(f"a source is a path, a camera, or an iterable of pictures, not {type(source).__name__}")


def _files(path: Path) -> Iterable[Frame]:
    if path.is_file() and path.suffix.lower() not in PICTURE_SUFFIXES:
        return video(path)
    return [Frame(file, tag=file) for file in pictures(path)]


def pictures(path: Path) -> list[Path]:
    """The picture files that a path means: itself, or those in the folder by name. Raises ImageUnreadable."""
    if not path.exists():
        raise ImageUnreadable(f"{path}: no such file or folder")
    if not path.is_dir():
        return [path]
    found = [file for file in sorted(path.iterdir()) if file.suffix.lower() in PICTURE_SUFFIXES]
    if not found:
        raise ImageUnreadable(f"{path}: holds no pictures ({', '.join(sorted(PICTURE_SUFFIXES))})")
    return found


def video(path: Path) -> Iterator[Frame]:
    """Reads a video file: frames of ndarrays BGR, tagged with (index, seconds since the start).

    Raises ImageUnreadable when it is no video, MissingExtra.
    """
    try:
        import av
    except ImportError as error:
        raise MissingExtra(f"reading the video {path}", "video") from error
    try:
        container = av.open(str(path))
        stream = container.streams.video[0]
    except (av.FFmpegError, OSError, IndexError) as error:
        raise ImageUnreadable(f"{path}: is neither a picture nor a video") from error
    stream.thread_type = "AUTO"
    return _video_frames(container, path)


def _video_frames(container: Any, path: Path) -> Iterator[Frame]:
    import av

    with container:
        try:
            for index, picture in enumerate(container.decode(video=0)):
                yield Frame(picture.to_ndarray(format="bgr24"), tag=(index, float(picture.time or 0.0)))
        except av.FFmpegError as error:
            raise ImageUnreadable(f"{path}: the video is damaged: {error}") from error


def _camera(source: int | str) -> Iterator[Any]:
    return _camera_frames(import_cv2(f"reading the camera {source}"), source)


def _camera_frames(cv2: Any, source: int | str) -> Iterator[Any]:
    # Opened where it is read: opening takes seconds, and a stream that never starts must not hold the camera.
    capture = cv2.VideoCapture(source)
    try:
        if not capture.isOpened():
            raise ImageUnreadable(f"camera {source}: cannot be opened")
        while True:
            done, picture = capture.read()
            if not done:
                return
            yield picture
    finally:
        capture.release()
