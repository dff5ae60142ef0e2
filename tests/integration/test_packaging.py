"""What the Dockerfile and the pages about GPUs promise of settings, extras and files."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path

import pytest

from framewire_server.config import ServerConfig
from tests.fakes import fake_loader
from tests.serving import served

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
INSTALLING = ["Dockerfile", "docs/gpu.md", "docs/jetson.md", "README.md", "CHANGELOG.md"]
PAGES = [*INSTALLING, "docs/plans.md", "docs/int8.md"]


@pytest.mark.parametrize("page", PAGES)
def test_settings_exist(page: str) -> None:
    named = re.findall(r"\bFRAMEWIRE_([A-Z_]+[A-Z])\b", (ROOT / page).read_text(encoding="utf-8"))
    assert {name.lower() for name in named} <= ServerConfig.model_fields.keys()


@pytest.mark.parametrize("page", PAGES)
def test_extras_exist(page: str) -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")  # Python 3.10 has no parser of TOML
    extras = project.partition("[project.optional-dependencies]")[2].partition("\n[")[0]
    known = set(re.findall(r"^([a-z0-9-]+) = \[", extras, re.MULTILINE))
    text = (ROOT / page).read_text(encoding="utf-8").replace("${CUDA}", "")
    named = re.findall(r"(?:framewire|\.)\[([a-z0-9,-]+)\]", text)
    for names in re.findall(r"\b[Ee]xtras? ((?:`[a-z0-9-]+`(?:,\s+| and )?)+)", text):
        named += re.findall(r"`(.+?)`", names)
    assert named or page not in INSTALLING
    assert {extra for each in named for extra in each.split(",")} <= known


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    kept = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(encoding="utf-8"), re.MULTILINE))
    copied = [line.split()[1:-1] for line in re.findall(r"^COPY (?!--from).*$", DOCKERFILE, re.MULTILINE)]
    assert copied
    for source in (source for sources in copied for source in sources):
        assert (ROOT / source).exists()
        assert source in kept


async def test_the_health_check_tells_a_server_from_none() -> None:
    found = re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", DOCKERFILE, re.MULTILINE)
    assert found
    _, *arguments = json.loads(found.group(1))

    async def check(address: str) -> int | None:
        command = [argument.replace("127.0.0.1:50051", address) for argument in arguments]
        process = await asyncio.create_subprocess_exec(
            sys.executable, *command, stderr=asyncio.subprocess.DEVNULL
        )
        return await process.wait()

    async with served(Path("fake.onnx"), loader=fake_loader()) as ready:
        assert await check(ready.address) == 0
        address = ready.address
    assert await check(address) != 0
