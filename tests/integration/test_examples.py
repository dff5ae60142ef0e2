"""Every example runs against a real server and prints what it promises."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import grpc
import httpx
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from framewire.v1 import detection_pb2 as pb
from framewire_server.app import Ready
from tests.fakes import fake_loader
from tests.serving import served

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
TOOLS = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
SIDE = 64


class Run(NamedTuple):
    """What a program said and how it ended."""

    status: int
    lines: list[str]
    errors: str


async def run(*command: str | Path, **environment: str) -> Run:
    process = await asyncio.create_subprocess_exec(
        *map(str, command),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PATH": TOOLS, **environment},
    )
    try:
        output, errors = await asyncio.wait_for(process.communicate(), 30)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return Run(process.returncode or 0, output.decode().splitlines(), errors.decode())


def python(example: str, *arguments: str | Path) -> Awaitable[Run]:
    return run(sys.executable, EXAMPLES / "python" / example, *arguments)


def write_model(path: Path) -> None:
    """A YOLOv8-type detector of one lamp in the middle, whose score is how bright the picture is."""
    head = np.zeros((1, 6, 84), np.float32)
    head[0, :4, 0] = SIDE / 2
    light = np.zeros_like(head)
    light[0, 4, 0] = 1
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMean", ["images"], ["rows"], axes=[3], keepdims=0),
            helper.make_node("ReduceMean", ["rows"], ["mean"], axes=[1, 2], keepdims=1),
            helper.make_node("Mul", ["mean", "light"], ["score"]),
            helper.make_node("Add", ["score", "head"], ["output0"]),
        ],
        "lamp",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["N", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["N", 6, 84])],
        [numpy_helper.from_array(head, "head"), numpy_helper.from_array(light, "light")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    helper.set_model_props(model, {"names": "{0: 'lamp', 1: 'shade'}", "stride": "8", "task": "detect"})
    onnx.save(model, str(path))


def flat(value: int) -> Any:
    return np.full((SIDE, SIDE, 3), value, np.uint8)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "lamp.onnx"
    write_model(path)
    return path


@pytest.fixture
async def server(model: Path) -> AsyncIterator[Ready]:
    async with served(model) as ready:
        yield ready


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a dark, a lit and a damaged picture."""
    folder = tmp_path_factory.mktemp("pictures")
    cv2.imwrite(str(folder / "dark.png"), flat(0))
    cv2.imwrite(str(folder / "lit.jpg"), flat(255))
    (folder / "torn.jpg").write_bytes((folder / "lit.jpg").read_bytes()[:-40])
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of a lamp that goes out after six, at 30 frames a second."""
    path = tmp_path_factory.mktemp("clip") / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 30, (SIDE, SIDE))
    for index in range(12):
        writer.write(flat(255 if index < 6 else 0))
    writer.release()
    return path


@pytest.fixture
def nowhere() -> Iterator[str]:
    """An address that refuses connections."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{held.getsockname()[1]}"


@pytest.fixture
def silence() -> Iterator[str]:
    """An address that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"127.0.0.1:{listening.getsockname()[1]}"


# --- Python ---


async def test_detect_pictures(server: Ready, pictures: Path) -> None:
    ended = await python("detect_pictures.py", pictures, pictures / "lit.jpg", "--server", server.address)
    assert ended.lines[:2] == [
        f"{pictures / 'dark.png'}: nothing found",
        f"{pictures / 'lit.jpg'}: lamp 1.00",
    ]
    assert ended.lines[2].startswith(f"{pictures / 'torn.jpg'}: error: undecodable ")
    assert ended.lines[3:] == [f"{pictures / 'lit.jpg'}: lamp 1.00"]
    assert (ended.status, ended.errors) == (1, ""), "a picture was not answered"


async def test_detect_pictures_when_all_is_well(server: Ready, pictures: Path) -> None:
    ended = await python("detect_pictures.py", pictures / "dark.png", "--server", server.address)
    assert ended == (0, [f"{pictures / 'dark.png'}: nothing found"], "")


async def test_detect_pictures_without_a_server(nowhere: str, pictures: Path) -> None:
    ended = await python("detect_pictures.py", pictures, "--server", nowhere)
    assert (ended.status, ended.lines) == (1, [])
    assert f"detect_pictures: nobody answers at {nowhere}" in ended.errors
    assert "Traceback" not in ended.errors


async def test_stream_video_waits(server: Ready, clip: Path) -> None:
    ended = await python("stream_video.py", clip, "--server", server.address)
    assert (ended.status, ended.errors) == (0, "")
    # A video's white is nearly white.
    assert [re.sub(r" after \d+ ms|( (1\.00|0\.9\d))$", "", line) for line in ended.lines] == [
        *(f"frame {number}: lamp" for number in range(1, 7)),
        *(f"frame {number}: nothing found" for number in range(7, 13)),
        "12 detections",
    ]


async def test_stream_video_lets_the_newest_frames_win(clip: Path) -> None:
    slow = fake_loader(lambda count: time.sleep(0.1), decode=True)
    async with served(clip.with_name("slow.onnx"), loader=slow, lanes=1) as server:
        ended = await python("stream_video.py", clip, "--overload", "latest", "--server", server.address)
    assert (ended.status, ended.errors) == (0, ""), "what the policy drops is no failure"
    assert [line.split()[1] for line in ended.lines[:-1]] == [str(number) for number in range(1, 13)]
    assert any(line.endswith(" ms: dropped: superseded") for line in ended.lines)
    assert re.fullmatch(r"\d+ detections, \d+ dropped", ended.lines[-1])


async def test_stream_video_tells_what_failed(model: Path, clip: Path) -> None:
    async with served(model, max_frame_pixels=100) as server:
        ended = await python("stream_video.py", clip, "--server", server.address)
        missing = await python("stream_video.py", "missing.mp4", "--server", server.address)
    assert (ended.status, ended.lines[-1]) == (1, "12 error")
    assert " ms: error: too_large " in ended.lines[0]
    assert (missing.status, missing.errors) == (1, "stream_video: missing.mp4: no such file or folder\n")


# --- the web back end ---


@contextlib.asynccontextmanager
async def web_backend(server: str, **environment: str) -> AsyncIterator[httpx.AsyncClient]:
    """Runs the app as its docstring says and yields a client of it."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "uvicorn", "examples.web_backend.app:app", "--port", "0"),
        stderr=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        cwd=ROOT,
        env={**os.environ, "FRAMEWIRE_SERVER": server, **environment},
    )
    assert process.stderr
    try:
        said = b""
        while not (address := re.search(rb"running on (http://[\d.:]+)", said)):
            line = await asyncio.wait_for(process.stderr.readline(), 20)
            assert line, said.decode()
            said += line
        async with httpx.AsyncClient(base_url=address[1].decode(), trust_env=False, timeout=20) as client:
            yield client
    finally:
        if process.returncode is None:
            process.terminate()
        _, said = await process.communicate()
    assert b"Application shutdown complete" in said


async def test_web_backend(server: Ready, pictures: Path) -> None:
    lit = (pictures / "lit.jpg").read_bytes()
    async with web_backend(server.address) as web:
        answer = await web.post("/detect", content=lit)
        form = await web.post("/detect", files={"picture": lit})
        dark = await web.post("/detect", content=(pictures / "dark.png").read_bytes())
        torn = await web.post("/detect", files={"picture": (pictures / "torn.jpg").read_bytes()})
        text = await web.post("/detect", content=b"not a picture")
        large = await web.post("/detect", content=bytes((16 << 20) + 1))
        empty_form = await web.post("/detect", files={"note": (None, "no file")})
    assert answer.status_code == 200
    assert answer.json() == {
        "width": SIDE,
        "height": SIDE,
        "detections": [
            {"label": "lamp", "score": 1.0, "box": {"left": 16.0, "top": 16.0, "right": 48.0, "bottom": 48.0}}
        ],
    }
    assert form.json() == answer.json()
    assert (dark.status_code, dark.json()["detections"]) == (200, [])
    assert [torn.status_code, text.status_code, large.status_code, empty_form.status_code] == [
        422,
        422,
        413,
        400,
    ]
    assert "detections" not in torn.json()


async def test_web_backend_without_a_server(nowhere: str, pictures: Path) -> None:
    async with web_backend(nowhere) as web:
        answer = await web.post("/detect", content=(pictures / "lit.jpg").read_bytes())
    assert (answer.status_code, answer.json()) == (503, {"error": "the detector does not answer"})


async def test_web_backend_with_a_silent_server(silence: str, pictures: Path) -> None:
    async with web_backend(silence, FRAMEWIRE_TIMEOUT="0.3") as web:
        answer = await web.post("/detect", content=(pictures / "lit.jpg").read_bytes())
    assert (answer.status_code, answer.json()) == (504, {"error": "the detector does not answer"})


# --- buf curl ---


@pytest.fixture
def buf_curl() -> Callable[..., Awaitable[Run]]:
    if not shutil.which("buf", path=TOOLS):
        pytest.skip("buf is not installed (pip install buf-bin)")
    return lambda *arguments: run("sh", EXAMPLES / "buf_curl.sh", *arguments)


async def test_buf_curl(buf_curl: Callable[..., Awaitable[Run]], server: Ready, pictures: Path) -> None:
    lit = await buf_curl(pictures / "lit.jpg", server.address)
    dark = await buf_curl(pictures / "dark.png", server.address)
    torn = await buf_curl(pictures / "torn.jpg", server.address)
    missing = await buf_curl(pictures / "missing.jpg", server.address)
    assert (lit.status, lit.errors) == (0, "")
    health, models, answer = (
        json.loads(part) for part in re.split("^#.*$", "\n".join(lit.lines), flags=re.M)[1:]
    )
    assert health == {"status": "SERVING"}
    assert [(one["name"], one["state"]) for one in models["models"]] == [("lamp", "MODEL_STATE_READY")]
    assert [found["label"] for found in answer["result"]["detections"]["detections"]] == ["lamp"]
    assert dark.status == 0, "nothing there is an answer"
    assert torn.status == 1
    assert "FRAME_ERROR_REASON_UNDECODABLE" in "".join(torn.lines)
    assert torn.errors.startswith(f"buf_curl.sh: {pictures / 'torn.jpg'} was not answered")
    assert (missing.status, missing.lines) == (1, [])


# --- Node ---


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Awaitable[Run]]:
    """Runs the Node example out of a folder that holds nothing else of the repository."""
    if not (shutil.which("node") and shutil.which("npm")):
        pytest.skip("node and npm are not installed")
    folder = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", "detect.js"):
        shutil.copy(EXAMPLES / "node" / name, folder)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    installed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100)
    assert installed.returncode == 0, installed.stderr
    return lambda *arguments: run(
        "node", folder / "detect.js", *arguments, FRAMEWIRE_PROTO=str(ROOT / "proto")
    )


@pytest.mark.system
async def test_node(node: Callable[..., Awaitable[Run]], model: Path, pictures: Path, nowhere: str) -> None:
    lit, dark, torn = (pictures / name for name in ("lit.jpg", "dark.png", "torn.jpg"))
    async with served(model, window=2) as server:
        well = await node("--server", server.address, *[lit, dark] * 10)
        bad = await node("--server", server.address, torn, lit, "missing.jpg")
        unknown = await node("--server", server.address, "--model", "other", lit)
    assert well == (0, [f"{lit}: lamp 1.00", f"{dark}: nothing found"] * 10, "")
    assert (bad.status, bad.errors) == (1, "")
    assert sorted(line.split(": ", 1)[1].split(" ", 2)[:2] for line in bad.lines) == [
        ["error:", "ENOENT:"],
        ["error:", "FRAME_ERROR_REASON_UNDECODABLE"],
        ["lamp", "1.00"],
    ]
    assert (unknown.status, unknown.lines) == (2, [f"{lit}: not sent"])
    assert unknown.errors.startswith("NOT_FOUND UNKNOWN_MODEL: no model 'other'")
    alone = await node("--server", nowhere, lit)
    assert (alone.status, alone.lines) == (2, [f"{lit}: not sent"])
    assert alone.errors.startswith("UNAVAILABLE: ")


Script = Callable[[Any, Any], Awaitable[None]]


@contextlib.asynccontextmanager
async def scripted(script: Script) -> AsyncIterator[str]:
    """A server whose Detect is `script`, for answers that a real one seldom or not yet gives."""
    server = grpc.aio.server()
    detect = grpc.stream_stream_rpc_method_handler(
        script, pb.DetectRequest.FromString, pb.DetectResponse.SerializeToString
    )
    service = grpc.method_handlers_generic_handler("framewire.v1.DetectionService", {"Detect": detect})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(grace=0)


def started(window: int) -> pb.DetectResponse:
    limits = pb.FrameLimits(max_frame_bytes=1 << 20)
    return pb.DetectResponse(started=pb.StreamStarted(window=window, limits=limits))


def result(frame_id: int, **outcome: Any) -> pb.DetectResponse:
    return pb.DetectResponse(result=pb.FrameResult(frame_id=frame_id, **outcome))


@pytest.mark.system
async def test_node_takes_every_kind_of_answer(node: Callable[..., Awaitable[Run]], pictures: Path) -> None:
    seen: list[Any] = []

    async def script(_: object, context: Any) -> None:
        assert (await context.read()).config.overload.HasField("wait")
        await context.write(started(window=2))
        seen.extend([(await context.read()).frame.frame_id for _ in range(2)])
        third = asyncio.create_task(context.read())
        await asyncio.wait([third], timeout=0.3)
        seen.append("early" if third.done() else "waited")
        await context.write(pb.DetectResponse(key_frame_request=pb.KeyFrameRequest()))
        await context.write(pb.DetectResponse())  # to this client a kind of the future
        await context.write(pb.DetectResponse(flow_update=pb.FlowUpdate(window=1)))
        await context.write(result(1, dropped=pb.FrameDropped(reason=pb.DROP_REASON_OVERLOADED)))
        odd = pb.FrameError(message="of the future")
        odd.reason = 99  # type: ignore[assignment]  # a number without a name
        await context.write(result(2, error=odd))
        seen.append((await third).frame.frame_id)
        await context.write(result(3))
        seen.append((await context.read()).frame.frame_id)
        await context.write(pb.DetectResponse(draining=pb.Draining()))
        seen.append(await context.read())
        await context.write(result(4, detections=pb.DetectionList()))

    async with scripted(script) as address:
        ended = await node("--server", address, *[pictures / "lit.jpg"] * 5)
    assert [line.removeprefix(f"{pictures / 'lit.jpg'}: ") for line in ended.lines] == [
        "dropped: DROP_REASON_OVERLOADED",
        "error: 99 of the future",
        "error: an outcome that this client does not know",
        "nothing found",
        "not sent",
    ]
    assert (ended.status, ended.errors) == (1, "the server is stopping: send the rest to another one\n")
    assert seen == [1, 2, "waited", 3, 4, grpc.aio.EOF]


@pytest.mark.system
async def test_node_tells_what_a_broken_call_left(
    node: Callable[..., Awaitable[Run]], pictures: Path
) -> None:
    async def script(_: object, context: Any) -> None:
        await context.read()
        await context.write(started(window=1))
        await context.read()
        await context.abort(grpc.StatusCode.INTERNAL, "internal error")

    async with scripted(script) as address:
        ended = await node("--server", address, pictures / "lit.jpg", pictures / "dark.png")
    assert ended.lines == [f"{pictures / 'lit.jpg'}: not answered", f"{pictures / 'dark.png'}: not sent"]
    assert (ended.status, ended.errors) == (2, "INTERNAL: internal error\n")
