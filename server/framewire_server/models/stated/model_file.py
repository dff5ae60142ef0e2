"""NAME.yaml beside a model: what cannot be read off the model, stated by its owner."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from framewire_server.errors import ModelError
from framewire_server.models import labels
from framewire_server.models.stated import plain_yaml
from framewire_server.models.stated.errors import did_you_mean, explain
from framewire_server.models.stated.presets import PRESETS
from framewire_server.vision.geometry import Resize

_MOST_BYTES = 1 << 20
_MOST_CLASSES = 65_536
_PREPROCESSING = ("colour", "mean", "scale", "resize", "pad", "interpolation")


def _as_tuple(value: object) -> object:
    """A bare number counts for all channels."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return (value,)
    return tuple(value) if isinstance(value, list) else value  # strict of what JSON no longer is


def _numbers(count: int) -> dict[str, Any]:
    return {
        "type": "array",
        "prefixItems": [{"type": "number"}] * count,
        "minItems": count,
        "maxItems": count,
    }


Channels = Annotated[
    tuple[float] | tuple[float, float, float],
    BeforeValidator(_as_tuple),
    WithJsonSchema({"anyOf": [{"type": "number"}, _numbers(1), _numbers(3)]}),
    Field(description="For all channels, or for each in the order of the tensor's channels."),
]
Byte = Annotated[int, Field(ge=0, le=255)]
Fraction = Annotated[float, Field(ge=0, le=1, strict=True)]
Side = Annotated[int, Field(ge=1, le=8192, strict=True)]
Positive = Annotated[float, Field(gt=0)]
Anchors = Annotated[tuple[tuple[Positive, Positive], ...], Field(min_length=1, max_length=64)]


class ModelFile(BaseModel):
    """Everything is optional but `schema: 1`. Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    schema_: Literal[1] = Field(1, alias="schema")
    family: str | None = None
    """Family to read the tensors with, instead of recognising it."""
    version: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,64}$")
    """Version that clients see, instead of one derived from the content."""

    preset: str | None = Field(None, json_schema_extra={"enum": [*PRESETS, None]})
    """Preprocessing by name; the keys below overrule parts of it."""
    colour: Literal["rgb", "bgr", "gray"] | None = None
    """Order of the channels that the network wants."""
    mean: Channels | None = None
    """Subtracted from pixels 0 to 255."""
    std: Channels | None = None
    """Divides after the mean was subtracted, in pixels 0 to 255; the same as a `scale` of 1 / std."""
    scale: Channels | None = None
    """Multiplied after the mean was subtracted."""
    resize: Resize | None = None
    """How a picture becomes as large as the input."""
    pad: Byte | tuple[Byte, Byte, Byte] | Literal["picture-mean"] | None = None
    """Pixels around a letterboxed picture, before mean and scale."""
    interpolation: Literal["linear", "nearest", "cubic", "area", "lanczos"] | None = None
    """How pixels are interpolated."""
    input_size: tuple[Side, Side] | None = None
    """Width and height of the input, where the model leaves them open."""
    extra_inputs: dict[str, tuple[float, ...]] | None = Field(None, max_length=16)
    """Values of inputs that are no picture, for one picture, by name."""

    box_format: Literal["xyxy", "yxyx", "cxcywh", "xywh"] | None = None
    """What the four numbers of a box are: two corners, or centre and size, or top left corner and size."""
    box_units: Literal["norm", "net"] | None = None
    """Boxes in fractions (norm) or in pixels (net) of the network's input."""
    score_activation: Literal["none", "sigmoid", "softmax"] | None = None
    """What is still to be done to the network's scores."""
    background: Literal["first", "last", "none"] | None = None
    """Which class is the background."""
    suppress: bool | None = None
    """Whether overlapping boxes of an object are still to be suppressed."""
    anchors: Anchors | None = None
    """Anchor boxes, (width, height) in pixels of the input."""
    masks: tuple[tuple[Annotated[int, Field(ge=0)], ...], ...] | None = Field(
        None, min_length=1, max_length=8
    )
    """For each output, in their order: which anchors it uses."""
    strides: tuple[Annotated[int, Field(ge=1, le=1024)], ...] | None = Field(None, min_length=1, max_length=8)
    """For each output, in their order: pixels of the input a cell."""
    scale_x_y: float | tuple[float, ...] | None = None
    """Darknet's scale_x_y, for all outputs or for each."""
    new_coords: bool | None = None
    """Darknet's new_coords."""

    labels: tuple[str, ...] | dict[int, str] | str | None = None
    """Names in the order of class ids, or by class id, or the name of a labels file beside this one."""
    label_offset: Annotated[int, Field(ge=-1000, le=1000, strict=True)] | None = None
    """Added to the network's class ids."""
    score_threshold: Fraction | None = None
    """Detections from this score on."""
    iou_threshold: Fraction | None = None
    """Of two boxes of a class that overlap more, the better stays."""
    max_detections: int | None = Field(None, ge=1, le=100_000, strict=True)
    """Most detections a picture."""
    class_agnostic: bool | None = None
    """Whether boxes of different classes suppress one another."""
    plugins: tuple[str, ...] | None = None
    """TensorRT plugin libraries to load before the engine."""

    @field_validator("schema_", mode="before")
    @classmethod
    def _check_schema(cls, value: object) -> object:
        return value if type(value) is int else None  # True and 1.0 equal 1, too

    @field_validator("preset")
    @classmethod
    def _check_preset(cls, value: str | None) -> str | None:
        if value is not None and value not in PRESETS:
            raise ValueError(f"there is no {value!r}; {did_you_mean(value, PRESETS)}")
        return value

    @field_validator("scale", "std")
    @classmethod
    def _check_not_zero(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and 0.0 in value:
            raise ValueError("no number may be 0: it would make all pictures the same")
        return value

    @field_validator("mean", "std")
    @classmethod
    def _check_pixels(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if value is not None and any(value) and all(abs(number) <= 1 for number in value):
            in_pixels = ", ".join(f"{number * 255:g}" for number in value)
            raise ValueError(f"is of pixels 0 to 255, not 0 to 1: multiply by 255, [{in_pixels}]")
        return value

    @field_validator("labels")
    @classmethod
    def _check_labels(
        cls, value: tuple[str, ...] | dict[int, str] | str | None
    ) -> tuple[str, ...] | str | None:
        if isinstance(value, dict):
            if any(not 0 <= key < _MOST_CLASSES for key in value):
                raise ValueError(f"class ids go from 0 to {_MOST_CLASSES - 1}")
            value = labels.from_ids(value)
        if value is not None and not any(value):
            raise ValueError("must name at least one class")
        return value

    @model_validator(mode="after")
    def _check_together(self) -> ModelFile:
        if self.scale is not None and self.std is not None:
            raise ValueError("state scale or std, not both: std divides, scale multiplies")
        if self.anchors is not None and self.masks is not None:
            beyond = [n for mask in self.masks for n in mask if n >= len(self.anchors)]
            if beyond:
                raise ValueError(f"masks name anchor {beyond[0]}, but there are {len(self.anchors)}, from 0")
        return self

    @classmethod
    def of(cls, path: Path) -> ModelFile:
        """Reads the model file `path`, and the labels file that it names; an empty one when it does not exist.

        Raises ModelError naming the key that is wrong and what it may be.
        """
        if not path.is_file():
            return cls(schema=1)
        stated = cls.parse(_read(path), str(path))
        if not isinstance(stated.labels, str):
            return stated
        try:
            return stated.model_copy(update={"labels": labels.read(path.parent / stated.labels)})
        except ModelError as error:
            raise ModelError(f"{path}: `labels`: {error}") from error

    @classmethod
    def parse(cls, text: str, name: str) -> ModelFile:
        """Reads the text of a model file; `name` is for messages. Raises as `of`."""
        try:
            content = plain_yaml.load(text)
        except plain_yaml.YamlError as error:
            raise ModelError(f"{name}: is not plain YAML: {error}") from error
        if not isinstance(content, dict) or "schema" not in content:
            raise ModelError(f"{name}: must be a mapping that begins with `schema: 1`")
        if empty := [key for key, value in content.items() if value is None]:
            raise ModelError(f"{name}: `{empty[0]}`: is empty; give it a value or take it out")
        try:
            return cls.model_validate_json(json.dumps(content), strict=True)
        except ValidationError as error:
            known = [field.alias or key for key, field in cls.model_fields.items()]
            raise ModelError(f"{name}: {explain(error, content, known)}") from error

    def preprocessing(self) -> dict[str, Any]:
        """What is stated of the preprocessing, by field name of Preprocessing: of the preset all."""
        stated: dict[str, Any] = {}
        if self.preset is not None:
            stated = {key: getattr(PRESETS[self.preset], key) for key in _PREPROCESSING}
        stated |= {key: value for key, value in self.stated().items() if key in _PREPROCESSING}
        if self.std is not None:
            stated["scale"] = tuple(1 / value for value in self.std)
        return stated

    @property
    def tells_pixels(self) -> bool:
        """Whether colour, values and resize are all stated, so that nothing of them need be known."""
        return {"colour", "resize"} <= self.preprocessing().keys() and bool(
            {"mean", "scale"} & self.preprocessing().keys()
        )

    def stated(self) -> dict[str, Any]:
        """All keys that are stated, by field name, without the schema."""
        return {key: value for key, value in self if value is not None and key != "schema_"}

    def evidence(self) -> tuple[str, ...]:
        """One sentence on what is stated, if anything is."""
        keys = list(self.stated())
        return (f"the model file states {', '.join(keys)}",) if keys else ()


def _read(path: Path) -> str:
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ModelError(f"{path}: larger than {_MOST_BYTES} bytes")
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ModelError(f"{path}: is no UTF-8 text at byte {error.start}") from error
    except OSError as error:
        raise ModelError(f"{path}: cannot be read: {error.strerror}") from error
