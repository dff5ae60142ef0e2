"""NAME.yaml beside a model: what cannot be read off the model, stated by its owner."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from framewire_server.errors import ModelError
from framewire_server.vision.geometry import Resize

_MOST_BYTES = 1 << 20
Triple = Annotated[tuple[float, float, float], "three numbers, in the order of the channels"]


class ModelFile(BaseModel):
    """Everything is optional but `schema: 1`. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    schema_: Literal[1] = Field(1, alias="schema")
    family: str | None = None
    """Family to read the tensors with, instead of recognising it."""
    version: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """Version that clients see, instead of one derived from the content."""
    colour: Literal["rgb", "bgr"] | None = None
    mean: Triple | None = None
    """Subtracted from pixels 0 to 255."""
    scale: Triple | None = None
    """Multiplied after the mean was subtracted."""
    resize: Resize | None = None
    pad: int | None = Field(None, ge=0, le=255)
    labels: tuple[str, ...] | None = Field(None, min_length=1)
    score_threshold: float | None = Field(None, ge=0, le=1, strict=True)
    iou_threshold: float | None = Field(None, ge=0, le=1, strict=True)
    max_detections: int | None = Field(None, ge=1, strict=True)
    class_agnostic: bool | None = None

    @field_validator("scale")
    @classmethod
    def _check_scale(cls, value: Triple | None) -> Triple | None:
        if value is not None and 0.0 in value:
            raise ValueError("no number may be 0: it would make all pictures the same")
        return value

    @classmethod
    def beside(cls, model: Path) -> ModelFile:
        """Reads the model file of a model; an empty one when there is none.

        Raises ModelError naming the key that is wrong and what it may be.
        """
        path = model.with_suffix(".yaml")
        if not path.is_file():
            return cls(schema=1)
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(f"{path}: larger than {_MOST_BYTES} bytes")
        try:
            content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise ModelError(f"{path}: is not YAML: {error}") from error
        if not isinstance(content, dict) or "schema" not in content:
            raise ModelError(f"{path}: must be a mapping that begins with `schema: 1`")
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise ModelError(f"{path}: " + "; ".join(_explain(item) for item in error.errors())) from error

    def preprocessing(self) -> dict[str, Any]:
        """What is stated of the preprocessing, by field name."""
        return {
            key: value for key, value in self._stated() if key in ("colour", "mean", "scale", "resize", "pad")
        }

    def evidence(self) -> tuple[str, ...]:
        """One sentence on what is stated, if anything is."""
        keys = [key for key, _ in self._stated()]
        return (f"the model file states {', '.join(keys)}",) if keys else ()

    def _stated(self) -> list[tuple[str, Any]]:
        return [(key, value) for key, value in self if value is not None and key != "schema_"]


class _Loader(yaml.SafeLoader):
    """Plain YAML without aliases, which can make a small file huge."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("aliases (*name) are not allowed in a model file")
        return super().compose_node(parent, index)


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"]) or "the file"
    if error["type"] == "extra_forbidden":
        known = ", ".join(field.alias or name for name, field in ModelFile.model_fields.items())
        return f"unknown key `{key}`; known are {known}"
    if key == "version" and error["type"] == "string_type":
        return f'`version`: put it in quotes, as in version: "{error["input"]}"'
    return f"`{key}`: {error['msg'].removeprefix('Value error, ')}"
