"""A web back end: POST a picture, get boxes as JSON.

FRAMEWIRE_SERVER=localhost:50051 uvicorn examples.web_backend.app:app
curl --data-binary @street.jpg http://localhost:8000/detect (or -F picture=@street.jpg, as a form does)
"""

import contextlib
import logging
import os
from collections.abc import AsyncIterator
from dataclasses import asdict

from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

import framewire as fw

MAX_BYTES = 16 << 20  # what a server takes unless its operator says otherwise
TIMEOUT_S = float(os.environ.get("FRAMEWIRE_TIMEOUT", "10"))
TRANSIENT = (fw.ConnectionFailed, fw.ConnectionLost, fw.ServerDraining, fw.ModelUnavailable, fw.FrameDropped)
FRAME_STATUS = {"undecodable": 422, "too_large": 413}
TEXTS = {422: "not a JPEG or PNG picture, or a damaged one", 413: "the picture is too large"}


def status_of(error: Exception) -> int:
    """The HTTP status that an error means; 502 for what only the operators can cure, such as a wrong model."""
    if isinstance(error, fw.FrameFailed):
        return FRAME_STATUS.get(error.reason, 502)
    return {fw.ImageUnreadable: 422, fw.TimedOut: 504, **dict.fromkeys(TRANSIENT, 503)}.get(type(error), 502)


async def refuse(_: Request, error: Exception) -> JSONResponse:
    """Answers instead of `detect`. What went wrong behind this server is for its log only."""
    status = status_of(error)
    if status >= 500:
        logging.getLogger("uvicorn.error").error("%s: %s", type(error).__name__, error)
    return JSONResponse({"error": TEXTS.get(status, "the detector does not answer")}, status)


async def picture_of(request: Request) -> bytes:
    """The picture in a request: the first file of a form, or else the whole body."""
    if int(request.headers.get("content-length", MAX_BYTES + 1)) > MAX_BYTES:
        raise HTTPException(413, f"at most {MAX_BYTES} bytes, and their number in Content-Length")
    if not request.headers.get("content-type", "").startswith("multipart/form-data"):
        return await request.body()
    async with request.form() as form:
        for part in form.values():
            if isinstance(part, UploadFile):
                return await part.read()
    raise HTTPException(400, "the form holds no file")


async def detect(request: Request) -> JSONResponse:
    """Answers POST /detect. `detections` raises for a picture that was not answered: no empty list for that."""
    result = await request.state.client.detect(await picture_of(request), timeout=TIMEOUT_S)
    found = [{"label": x.label, "score": x.score, "box": asdict(x.pixels)} for x in result.detections]
    return JSONResponse({"width": result.width, "height": result.height, "detections": found})


@contextlib.asynccontextmanager
async def lifespan(_: Starlette) -> AsyncIterator[dict[str, fw.AsyncClient]]:
    """One client, and so one connection, for as long as the app runs."""
    async with fw.AsyncClient(os.environ.get("FRAMEWIRE_SERVER", "localhost:50051")) as client:
        yield {"client": client}


app = Starlette(lifespan=lifespan, exception_handlers={fw.FramewireError: refuse})
app.add_route("/detect", detect, methods=["POST"])
