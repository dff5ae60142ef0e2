"""The load tool against real servers whose speed is known."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import os
import re
import signal
import sys
from asyncio.subprocess import PIPE
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import psutil
import pytest
from rich.console import Console
from typer.testing import CliRunner

from framewire.commands.bench import document, plot, session, table
from framewire.commands.bench.conditions import parse
from framewire.commands.bench.content import Content
from framewire.commands.bench.figures import Figures, figures_of
from framewire.commands.bench.mix import Kind, Share, Size
from framewire.commands.bench.outcome import Outcome
from framewire.commands.bench.plan import Plan
from framewire.commands.bench.recording import End
from framewire.commands.bench.run import Measured, measure
from framewire_server.cli.app import app
from framewire_server.engines.fake import DeviceTime
from tests.fakes import fake_loader
from tests.integration.test_command_line import framewire, nobody
from tests.serving import served

pytestmark = pytest.mark.long
FAKE = Path("fake.onnx")
FRAME_S = 0.01  # so the device answers 100 frames a second
RAW = (Share(Kind(Size(64, 48), "bgr8"), 1.0),)
CONTENT = Content(None, jpeg_quality=80, seed=0)


@contextlib.asynccontextmanager
async def device(
    stop: asyncio.Event | None = None, frame_s: float = FRAME_S, **settings: Any
) -> AsyncIterator[str]:
    """A server whose one lane takes `frame_s` a frame, and no CPU."""
    loader = fake_loader(DeviceTime(0.0, frame_s))
    async with served(FAKE, loader=loader, stop=stop, lanes=1, **settings) as ready:
        yield ready.address


def plan(address: str, **settings: Any) -> Plan:
    defaults = {"kinds": RAW, "fps": 10.0, "duration_s": 1.5, "warmup_s": 0.3, "drain_s": 2.0, "jitter": 0.2}
    return Plan(targets=(address,), **{**defaults, **settings})


async def run(address: str, cameras: int, **settings: Any) -> tuple[Measured, Figures]:
    """Measures, and checks what holds of every run."""
    measured = await measure(plan(address, **settings), cameras, CONTENT, asyncio.Event())
    figures = figures_of(measured)
    lost = sum(figures.dropped.values()) + sum(figures.failed.values())
    assert figures.offered == figures.answered + lost, "every frame has one end"
    expected = cameras * plan(address, **settings).fps * figures.seconds
    assert figures.offered == pytest.approx(expected, abs=cameras), "nothing slows captures down"
    assert figures.unfinished == 0
    return measured, figures


async def test_a_server_that_keeps_up_answers_everything_and_soon() -> None:
    async with device() as address:
        _, figures = await run(address, 4, policy="wait")
    assert figures.answered == figures.offered
    assert figures.fairness.jain == 1
    assert figures.age is not None
    assert figures.age.p50_s >= FRAME_S
    assert figures.age.p50_s < 0.1
    assert figures.sent_bytes == figures.answered * 64 * 48 * 3
    assert all(0.1 < camera.longest_gap_s < 1 for camera in figures.per_camera)


async def test_an_overloaded_server_drops_and_stays_fresh_under_latest() -> None:
    async with device() as address:
        _, figures = await run(address, 20)  # twice what it can
    assert 0.25 < figures.answered / figures.offered < 0.65
    assert {end.reason for end in figures.dropped} == {"superseded"}
    assert not figures.failed
    assert figures.age is not None
    assert 0.05 < figures.age.p50_s < 0.5
    assert figures.fairness.jain > 0.95


async def test_under_wait_the_age_grows_with_the_backlog_and_the_rest_is_counted() -> None:
    """Frames that wait on the device count from their capture: no coordinated omission."""
    async with device(window=2) as address:
        _, figures = await run(address, 20, policy="wait", drain_s=0.2, duration_s=2.0)
    assert figures.age is not None
    assert figures.age.max_s > 0.8
    assert figures.dropped.get(End("dropped", "client", "unsent"), 0) > 50
    assert set(figures.failed) <= {End("failed", "client", "unanswered")}


async def test_frames_that_waited_too_long_on_the_device_expire_there() -> None:
    """The link carries five frames a second of ten."""
    async with device(window=2) as address:
        measured, figures = await run(address, 2, policy="wait", max_frame_age_s=0.2, link_rate_bps=400e3)
    expired = End("dropped", "client", "expired")
    assert figures.dropped[expired] > 5
    recording = measured.recording
    rows = zip(recording.codes, recording.ages_s, strict=True)
    assert all(age_s > 0.2 for code, age_s in rows if recording.ends[code] == expired)


def open_connections(address: str) -> int:
    port = int(address.rpartition(":")[2])
    return sum(
        1
        for connection in psutil.Process().net_connections("tcp")
        if connection.status == psutil.CONN_ESTABLISHED and connection.raddr and connection.raddr.port == port
    )


@pytest.mark.parametrize(
    ("host", "settings", "expected"),
    [
        ("127.0.0.1", {}, 5),
        ("localhost", {}, 5),
        ("127.0.0.1", {"link_delay_s": 0.001}, 5),
        ("127.0.0.1", {"share_connections": True}, 1),
        ("127.0.0.1", {"share_connections": True, "link_delay_s": 0.001}, 1),
    ],
)
async def test_each_camera_has_a_connection_of_its_own(
    host: str, settings: dict[str, Any], expected: int
) -> None:
    async with device() as address:
        seen: list[int] = []
        target = address.replace("127.0.0.1", host)
        await measure(
            plan(target, duration_s=0.8, warmup_s=0, **settings),
            5,
            CONTENT,
            asyncio.Event(),
            lambda measured: seen.append(open_connections(address)),
        )
    assert seen[0] == expected


async def test_cameras_of_a_ramp_connect_one_after_another() -> None:
    async with device() as address:
        seen: list[int] = []
        measured = await measure(
            plan(address, duration_s=0.5, warmup_s=0, ramp_s=2.0),
            4,
            CONTENT,
            asyncio.Event(),
            lambda measured: seen.append(open_connections(address)),
        )
    assert seen == sorted(seen)
    assert seen[0] <= 2
    assert 4 in seen
    assert figures_of(measured).offered == pytest.approx(20, abs=4), "the ramp is in no figure"


async def test_a_slow_link_shows_in_the_age() -> None:
    """A frame of 9.2 KB needs 37 ms at 2 Mbit/s, and 30 ms each way."""
    async with device() as address:
        _, figures = await run(address, 2, link_rate_bps=2e6, link_delay_s=0.03)
    assert figures.answered == figures.offered
    assert figures.age is not None
    assert figures.age.p50_s >= FRAME_S + 0.06 + 0.03
    assert figures.age.p50_s < 0.3


async def test_frames_of_a_server_that_goes_away_have_failed_with_the_reason() -> None:
    """And captures go on: what a camera sees while nobody answers is lost as well."""
    stop = asyncio.Event()
    async with device(stop, drain_timeout_s=0.2) as address:
        asyncio.get_running_loop().call_later(0.8, stop.set)
        measured = await measure(plan(address, duration_s=1.5, warmup_s=0.0), 3, CONTENT, asyncio.Event())
    figures = figures_of(measured)
    assert figures.answered > 10
    assert sum(figures.failed.values()) + sum(figures.dropped.values()) > 10
    assert figures.offered == figures.answered + sum(figures.failed.values()) + sum(figures.dropped.values())
    assert figures.offered == pytest.approx(45, abs=3)
    assert sum(figures.troubles.values()) >= 3
    assert any("a stream broke, " in warning for warning in table.warnings(figures))


async def test_a_frame_that_the_server_cannot_read_has_failed_with_its_words() -> None:
    async with served(FAKE, loader=fake_loader(decode=True), max_frame_pixels=100) as ready:
        _, figures = await run(ready.address, 2, duration_s=0.5)
    assert figures.failed == {End("failed", "server", "too_large"): figures.offered}
    assert any(warning.startswith("too_large: ") for warning in table.warnings(figures))


async def test_an_interrupted_run_has_the_figures_so_far() -> None:
    stop = asyncio.Event()
    async with device() as address:
        asyncio.get_running_loop().call_later(1.0, stop.set)
        measured = await measure(plan(address, duration_s=60), 20, CONTENT, stop)
    figures = figures_of(measured)
    assert measured.interrupted
    assert 0.3 < figures.seconds < 1.5
    assert figures.answered > 0
    assert figures.unfinished > 0
    assert not figures.failed
    assert any("had no outcome yet" in line for line in table.lines(figures))


def own_tasks() -> list[str]:
    """Tasks of the client's code, which is the tool's and the SDK's."""
    codes = [getattr(task.get_coro(), "cr_code", None) for task in asyncio.all_tasks()]
    return [code.co_name for code in codes if code and "/framewire/" in code.co_filename]


async def test_nothing_is_left_of_a_run() -> None:
    async with device() as address:
        await run(address, 3, duration_s=0.3, link_delay_s=0.001)
        assert not own_tasks()


async def test_a_search_finds_what_the_device_can_do(tmp_path: Path) -> None:
    """50 frames a second are 10 cameras at 5 fps, and at exactly that load queues already grow."""
    settings = {"fps": 5.0, "duration_s": 1.5, "warmup_s": 0.3, "settle_s": 0.1}
    wanted = "p99_age<350ms,drops<5%"
    text = io.StringIO()
    async with device(frame_s=0.02) as address:
        outcome = await session.run(
            plan(address, **settings),
            CONTENT,
            parse(wanted),
            cameras=8,
            most=64,
            console=Console(file=text, width=200),
        )
    assert outcome.capacity is not None
    assert 8 <= outcome.capacity.carried <= 12
    said = text.getvalue()
    assert re.search(r"    8 cameras  ok      p99_age \d+ ms, drops", said)
    assert re.search(r"   16 cameras  broken  p99_age", said)
    carried = outcome.capacity.carried
    assert f"this server carries {carried} cameras at 5 fps (p99_age " in said
    assert f"; with {carried + 1} it breaks (p99_age " in said
    content = document.document(plan(address, **settings), outcome)
    assert content["capacity"] == {
        "until": wanted,
        "carried": carried,
        "broken": carried + 1,
    }
    assert content["runs"][0]["cameras"] == 8
    plot.write(tmp_path / "search.png", outcome, "cameras at 5 fps")
    assert is_a_plot(tmp_path / "search.png")


async def test_a_condition_that_one_camera_breaks_is_said_to_be_so() -> None:
    text = io.StringIO()
    async with device() as address:
        outcome = await session.run(
            plan(address, duration_s=0.4, warmup_s=0.1, settle_s=0.0),
            CONTENT,
            parse("p50_age<1ms"),
            cameras=2,
            most=8,
            console=Console(file=text, width=200),
        )
    assert outcome.capacity is not None
    assert outcome.capacity.carried == 0
    assert "this server does not carry one camera at 10 fps (p50_age " in text.getvalue()


def is_a_plot(file: Path) -> bool:
    picture = cv2.imread(str(file))
    return picture is not None and picture.shape[1] > 1000 and len(np.unique(picture)) > 50


async def bench(*arguments: object) -> Any:
    """The command as a person runs it."""
    return await asyncio.to_thread(framewire, "bench", *arguments)


async def test_the_command_prints_figures_and_writes_json_and_a_plot(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "ages.png"
    async with device() as address:
        ended = await bench(address, "--cameras", 3, "--fps", 10, "--sizes", "64x48:2,32x24", "--encoding", "bgr8",
                            "--duration", "1s", "--warmup", "200ms", "--json", "-", "--plot", file)  # fmt: skip
    assert ended.status == 0, ended.errors
    content = json.loads(ended.output)
    assert content["schema"] == 1
    (figures,) = content["runs"]
    assert figures["offered"] == figures["answered"] == pytest.approx(30, abs=3)
    assert 10 <= figures["age_ms"]["p50"] <= figures["age_ms"]["p99"] <= figures["age_ms"]["max"]
    assert [second["answered"] for second in figures["per_second"]] == [figures["answered"]]
    assert is_a_plot(file)
    for words in ("3 cameras at 10 fps", "67 % bgr8 64x48 of 9.2 KB, 33 % bgr8 32x24", "capture to result",
                  "answered", "fairness 1.000", f"wrote {file}"):  # fmt: skip
        assert words in ended.errors


async def test_frames_that_fail_are_a_status_for_scripts(tmp_path: Path) -> None:
    async with served(FAKE, loader=fake_loader(decode=True), max_frame_pixels=100) as ready:
        ended = await bench(
            ready.address, "--duration", "300ms", "--warmup", 0, "--json", tmp_path / "f.json"
        )
    assert ended.status == 1
    assert "too_large (server)" in ended.output
    assert json.loads((tmp_path / "f.json").read_text())["runs"][0]["failed"]["server"]["too_large"] > 0


def test_a_model_file_is_served_privately() -> None:
    demo = Path(__file__).resolve().parents[2] / "server/framewire_server/demo/detector.onnx"
    ended = framewire("bench", "--model", demo, "--duration", "1s", "--warmup", "300ms", "--fps", 4)
    assert ended.status == 0, ended.errors
    assert "model detector" in ended.output
    assert re.search(r"answered +[345] +100 %", ended.output)


def test_nobody_answers() -> None:
    with nobody() as address:
        ended = framewire("bench", address)
    assert ended.status == 1
    assert f"nobody answers at {address}" in ended.errors


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["gpu:port"], "'gpu:port' is not HOST:PORT, for example localhost:50051"),
        (["http://gpu:50051"], "is not HOST:PORT"),
        (["gpu:50051", "--model", "model.onnx"], "either HOST:PORT, or a model file"),
        (["--cameras", "0"], "--cameras"),
        (["--cameras", "9", "--max-cameras", "4"], "--cameras 9 is more than --max-cameras 4"),
        (["--fps", "fast"], "'fast' is not a number"),
        (["--fps", "0"], "'0' must be more than 0"),
        (["--jitter", "150%"], "late by 100% of the period at most"),
        (["--sizes", "big"], "'big' is not a size, for example 640x480"),
        (["--encoding", "h264"], "'h264' is not an encoding; known: jpeg, png"),
        (["--sizes", "641x480", "--encoding", "nv12"], "nv12 needs even sides, which 641x480 has not"),
        (["--policy", "drop"], "'drop' is not a policy: latest"),
        (["--duration", "long"], "'long' is not a time, for example 300ms or 2s"),
        (["--link-rate", "fast"], "'fast' is not a rate, for example 500kbit or 5mbit"),
        (["--link-rate", "0mbit"], "'0mbit' must be more than 0"),
        (["--until", "p98_age<1s"], "'p98_age' in 'p98_age<1s' is not a figure; known: p50_age"),
        (["--until", "drops<1"], "the limit '1' is not understood; write for example 1%"),
    ],
)
def test_wrong_usage_is_said_and_is_status_2(arguments: list[str], says: str) -> None:
    ended = CliRunner().invoke(app, ["bench", *arguments])
    assert ended.exit_code == 2
    assert says in re.sub(r"[\s│]+", " ", ended.output)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--plot", "ages.txt"], "--plot ages.txt: write a file that ends in .png"),
        (["--json", "."], ". is a folder; name a file to write"),
    ],
)
def test_what_cannot_be_written_is_said_before_the_run(arguments: list[str], says: str) -> None:
    ended = CliRunner().invoke(app, ["bench", *arguments])
    assert ended.exit_code == 1
    assert says in ended.output


async def test_an_interrupt_prints_what_was_measured_so_far() -> None:
    batches = 0
    enough = asyncio.Event()
    loop = asyncio.get_running_loop()

    def count(_: int) -> None:
        nonlocal batches
        batches += 1
        if batches == 20:
            loop.call_soon_threadsafe(enough.set)

    async with served(FAKE, loader=fake_loader(count)) as ready:
        command = (
            "bench",
            ready.address,
            "--sizes",
            "64x48",
            "--encoding",
            "bgr8",
            "--warmup",
            "0",
            "--fps",
            "20",
        )
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "framewire_server", *command, stdout=PIPE, stderr=PIPE
        )
        await enough.wait()
        process.send_signal(signal.SIGINT)
        output, errors = await process.communicate()
    assert process.returncode == 130
    assert errors == b""
    counted = re.search(r"answered +(\d+) ", output.decode())
    assert counted
    assert int(counted[1]) > 5


async def test_a_missing_model_or_source_is_named(tmp_path: Path) -> None:
    async with device() as address:
        ended = await bench(address, "--model", "other")
        assert ended.status == 1
        assert "other" in ended.errors
        ended = await bench(address, "--source", tmp_path / "none.jpg")
        assert ended.status == 1
        assert "none.jpg: no such file or folder" in ended.errors


def test_every_setting_of_a_plan_is_in_the_json() -> None:
    content = document.document(plan("localhost:1"), Outcome())
    assert set(content["plan"]) == {field.name for field in dataclasses.fields(Plan)}
    assert os.linesep not in json.dumps(content)
