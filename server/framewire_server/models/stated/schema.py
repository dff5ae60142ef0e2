"""The JSON schema of model files, for editors."""

from __future__ import annotations

import json
from typing import Any

from framewire_server.models.stated.model_file import ModelFile

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> str:
    """The JSON schema of model files, for editors."""
    schema = {"$schema": _DIALECT} | ModelFile.model_json_schema(by_alias=True)
    schema["title"] = "Framewire model file"
    schema["required"] = ["schema"]
    for described in schema["properties"].values():
        _leave_out_null(described)
    return json.dumps(schema, indent=2) + "\n"


def _leave_out_null(described: dict[str, Any]) -> None:
    """A key is stated or absent; `null` is only how its absence looks from here."""
    described.pop("default", None)
    if "enum" in described:
        described["enum"] = [value for value in described["enum"] if value is not None]
    kinds = [kind for kind in described.pop("anyOf", []) if kind != {"type": "null"}]
    if len(kinds) == 1:
        described.update(kinds[0] | {"description": described["description"]})
    elif kinds:
        described["anyOf"] = kinds
