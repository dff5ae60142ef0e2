"""`framewire doctor`."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from framewire_server.cli.extras import require

if TYPE_CHECKING:
    from framewire_server.engines.tensorrt.diagnosis import Diagnosis, Settings

_MARKS = {"ok": "ok", "mind": "mind", "none": "-", "bad": "NO"}


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print everything as one JSON document.")] = False,
) -> None:
    """Show what this machine has for serving on a GPU, what is missing, and what would be used.

    The status is 0 when all is there that serving on the GPUs of FRAMEWIRE_DEVICE needs, or on the first one where it
    names none, and 1 when it is not. Without a GPU that is no fault: models run on the CPU.
    """
    require("server", "doctor")
    from framewire_server.engines.tensorrt.diagnosis import diagnose

    diagnosis = diagnose(_settings())
    typer.echo(_document(diagnosis) if as_json else _table(diagnosis))
    sys.exit(0 if diagnosis.ready else 1)


def _settings() -> Settings:
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from framewire_server.cli.settings import explain
    from framewire_server.config import ServerConfig
    from framewire_server.engines.tensorrt.diagnosis import Settings

    refused = ""
    try:
        config = ServerConfig()
    except (ValidationError, SettingsError) as error:
        config, refused = ServerConfig.model_construct(), explain(error)
    return Settings(
        config.plan_cache, config.cuda_graphs, config.prepare_on, config.gpu_decode, refused, config.gpus
    )


def _table(diagnosis: Diagnosis) -> str:
    width = max(len(line.subject) for line in diagnosis.lines)
    rows = []
    for line in diagnosis.lines:
        rows.append(f"{line.subject:<{width}}  {_MARKS[line.verdict]:<4}  {line.found}")
        if line.advice:
            rows.append(f"{'':<{width}}        {line.advice}")
    uses = diagnosis.uses
    told = {"cpu": uses.cpu, uses.device: uses.cuda}
    if uses.others:
        told[uses.others] = "would start"
    rows.append("")
    rows += [
        f"framewire serve FILE --device {device:<{max(map(len, told))}}   {text}"
        for device, text in told.items()
    ]
    return "\n".join(rows)


def _document(diagnosis: Diagnosis) -> str:
    lines = [
        {
            "subject": line.subject,
            "verdict": line.verdict,
            "found": line.found,
            **({"advice": line.advice} if line.advice else {}),
        }
        for line in diagnosis.lines
    ]
    document = {
        "ready": diagnosis.ready,
        "lines": lines,
        "uses": asdict(diagnosis.uses),
        "found": diagnosis.found,
    }
    return json.dumps(document, indent=2)
