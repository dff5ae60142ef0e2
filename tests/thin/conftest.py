"""These tests run in an environment without extras as well: they import nothing that the client does not bring."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from framewire.testing import FakeServer, Found, SentFrame

JPEG = b"\xff\xd8 not really"


def by_content(frame: SentFrame) -> list[Found]:
    """As many cats as the content's last byte says."""
    return [Found("cat", 0.9, (0.25, 0.5, 0.75, 1.0))] * frame.content[-1]


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with FakeServer(by_content, labels=["cat"], size=(200, 100)) as fake:
        yield fake


def picture(cats: int) -> bytes:
    """Bytes that pass for a JPEG; the fake server finds `cats` cats in it."""
    return JPEG + bytes([cats])
