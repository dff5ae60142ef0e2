"""TensorFlow Object Detection API: label_map.pbtxt (object_detection/protos/string_int_label_map.proto).

Ids count from 1 and may leave gaps, so the labels have a place for every id and the background at 0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from framewire_server.errors import ModelError
from framewire_server.models.sidecars.sidecar import Sidecar, read_text
from framewire_server.tensors import Tensor

_NAME = "label_map.pbtxt"
_INPUTS = frozenset({"image_tensor", "input_tensor", "image_arrays", "inputs", "Input"})
"""Names of a picture's input in exports of the API and of the TensorRT samples, which may be channels first."""
_MOST_LABELS = 1 << 16
_TOKEN = re.compile(
    r"""\s+|\#[^\n]*|(?P<word>[A-Za-z_][\w.]*)|(?P<number>-?\d+)(?![\w.])|(?P<other>[-\w.]+)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|(?P<mark>[{}<>:,;\[\]])""",
    re.VERBOSE,
)
_ESCAPE = re.compile(rb"\\(?:([0-7]{1,3})|x([0-9a-fA-F]{1,2})|(.))", re.DOTALL)
_LETTERS = {b"n": b"\n", b"t": b"\t", b"r": b"\r"}
_OPENING, _CLOSING = ("{", "<"), ("}", ">")
_Token = tuple[str, str]


def files(model: Path) -> list[Path]:
    """What `read` may look at, whether or not it exists."""
    return [model.with_suffix(".pbtxt"), model.with_name(f"{model.stem}_{_NAME}"), model.with_name(_NAME)]


def read(model: Path, inputs: tuple[Tensor, ...]) -> Sidecar | None:
    """Reads NAME.pbtxt, NAME_label_map.pbtxt or, for a model that looks like TensorFlow's, label_map.pbtxt."""
    *own, generic = files(model)
    candidates = [*own, generic] if any(map(_is_tensorflows, inputs)) else own
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        return None
    names = _names(path)
    labels = tuple("background" if n == 0 else names.get(n, f"unused-{n}") for n in range(max(names) + 1))
    return Sidecar(path, labels=labels, facts={"classes": len(names)})


def _is_tensorflows(tensor: Tensor) -> bool:
    channels_last = len(tensor.shape) == 4 and tensor.shape[3] in (1, 3) and tensor.shape[1] not in (1, 3)
    return channels_last or tensor.name.split(":")[0] in _INPUTS


def _names(path: Path) -> dict[int, str]:
    """Names by id, of which there is at least one."""
    found: dict[int, str] = {}
    for fields in _items(path, _tokens(path, read_text(path))):
        name = fields.get("display_name") or fields.get("name")
        number = fields.get("id")
        if name is None or number is None or not number.isdigit():
            raise ModelError(f"{path}: every item needs an `id` from 1 on and a `name`; one has {fields}")
        if not 1 <= int(number) < _MOST_LABELS:
            raise ModelError(f"{path}: the id {number} of {name!r} must be 1 to {_MOST_LABELS - 1}")
        if int(number) in found:
            raise ModelError(f"{path}: {found[int(number)]!r} and {name!r} have the same id {number}")
        found[int(number)] = name
    if not found:
        raise ModelError(f"{path}: has no item; a label map is a list of item {{ id: 1 name: 'person' }}")
    return found


def _tokens(path: Path, text: str) -> Iterator[_Token]:
    place = 0
    while place < len(text):
        match = _TOKEN.match(text, place)
        if match is None:
            line = text.count("\n", 0, place) + 1
            raise ModelError(f"{path}: line {line} is no text of a label map: {text[place : place + 20]!r}")
        place = match.end()
        if match.lastgroup is not None:
            yield match.lastgroup, match.group()


def _items(path: Path, tokens: Iterator[_Token]) -> Iterator[dict[str, str]]:
    """The fields of each item; what is nested in an item (keypoints) is passed over."""
    depth, key, before = 0, "", ""
    fields: dict[str, str] = {}
    for kind, token in tokens:
        if token in _OPENING:
            depth += 1
            if depth == 1 and key != "item":
                raise ModelError(f"{path}: has {key or token!r} where an item should begin")
            if depth == 1:
                fields = {}
        elif token in _CLOSING:
            depth -= 1
            if depth == 0:
                yield fields
        elif kind != "mark" and before == ":" and depth == 1:
            fields[key] = _unquoted(token) if kind == "text" else token
        elif kind == "word":
            key = token
        if depth < 0:
            break
        before = token
    if depth:
        raise ModelError(f"{path}: is cut off: its braces do not match")


def _unquoted(token: str) -> str:
    plain = _ESCAPE.sub(_unescaped, token[1:-1].encode())
    return plain.decode(errors="replace")


def _unescaped(match: re.Match[bytes]) -> bytes:
    octal, hexadecimal, letter = match.groups()
    if letter is not None:
        return _LETTERS.get(letter, letter)
    return bytes([int(octal, 8) & 0xFF if octal is not None else int(hexadecimal, 16)])
