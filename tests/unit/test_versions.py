"""What clients are told of a loaded version that fails."""

from __future__ import annotations

import asyncio
from pathlib import Path

from framewire_server.config import ServerConfig
from framewire_server.core.inline import InlineDevice
from framewire_server.core.scheduler import Scheduler
from framewire_server.lifecycle.versions import Versions
from framewire_server.models.repository import Entry, ModelState, Repository
from tests.fakes import fake_loader


class Told:
    """A Health that remembers."""

    def __init__(self) -> None:
        self.serving: dict[str, bool] = {}

    async def tell(self, name: str, *, serving: bool) -> None:
        self.serving[name] = serving

    async def forget(self, name: str) -> None:
        self.serving.pop(name, None)


async def test_a_version_in_trouble_is_told_until_it_answers_again(tmp_path: Path) -> None:
    config = ServerConfig(models_dir=tmp_path, admin=True)
    health, repository = Told(), Repository((), tmp_path, may_be_empty=True)
    device = InlineDevice("cpu", Scheduler(lambda outcomes: None), lambda outcomes: None, lanes=1)
    versions = Versions(config, repository, device, fake_loader(), health)
    entry = Entry("street", tmp_path / "street.onnx")
    pipeline = await versions.load(entry, 0)
    await versions.swap(entry, pipeline)
    assert health.serving == {"street": True, "street@v1": True}
    versions.troubled(pipeline, "its lane hangs")
    await asyncio.sleep(0)
    assert health.serving == {"street": False, "street@v1": False}
    assert (entry.state, entry.failure) == (ModelState.FAILED, "its lane hangs")
    versions.troubled(pipeline, None)
    await asyncio.sleep(0)
    assert health.serving == {"street": True, "street@v1": True}
    assert (entry.state, entry.failure) == (ModelState.READY, "")
    await versions.close()
