"""Files of TensorRT and TAO that cannot be served: told by their content, with the way to an ONNX file."""

from __future__ import annotations

import json
import struct
import zipfile
from pathlib import Path
from typing import Any

import pytest

from framewire_server.engines.tensorrt import prefix
from framewire_server.errors import ModelError
from framewire_server.models.network.formats import Format, sniff


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as error:
        sniff(path)
    return str(error.value)


def plan(*version: int) -> bytes:
    """A plan's head as `trtexec --getPlanVersionOnly` reads it."""
    return b"ftrt" + bytes(20) + bytes(version) + bytes(64)


def ultralytics(content: bytes) -> bytes:
    metadata = json.dumps({"stride": 32}).encode()
    return struct.pack("<i", len(metadata)) + metadata + content


@pytest.mark.parametrize("wrap", [bytes, ultralytics])
@pytest.mark.parametrize(
    ("content", "version"),
    [(plan(8, 6, 1, 6), "8.6.1"), (plan(9, 3, 0, 1), "9.3.0"), (b"ptrt" + bytes(64), "8.5 or older")],
)
def test_old_plans_are_told_by_their_version(
    tmp_path: Path, content: bytes, version: str, wrap: type
) -> None:
    path = tmp_path / "street.onnx"  # whatever it is called
    path.write_bytes(wrap(content))
    message = refusal(path)
    assert (
        f"{path}: it is a TensorRT plan of version {version}. As a rule it runs in that version alone"
        in message
    )
    assert "tao model <network> export -m street.tlt -k $KEY -e SPEC -o street.onnx" in message
    assert "framewire serve street.onnx" in message


@pytest.mark.parametrize(
    "content", [plan(10, 3, 0, 1), plan(11, 1, 0, 1), b"ftrt" + bytes(2), plan(0, 0, 0, 0)]
)
def test_newer_plans_and_those_that_do_not_say_are_not_called_old(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "street.engine"
    path.write_bytes(content)
    assert "it is a TensorRT plan, which runs on the kind of GPU that it was built for" in refusal(path)


@pytest.mark.parametrize("name", ["street.plan", "street.engine"])
@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a shopping list\n", "it is a text file"),
        (ultralytics(plan(10, 3, 0, 1))[4:], "it begins with the bytes 7b 22"),
        (b"", "it is empty"),
    ],
    ids=["text", "prefix cut off", "empty"],
)
def test_a_file_that_is_only_called_a_plan_is_told_so(
    tmp_path: Path, name: str, content: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    assert refusal(path).startswith(f"{path}: is no TensorRT plan, or is damaged: {said}")
    with pytest.raises(ModelError, match="is no TensorRT plan, or is damaged"):
        sniff(path, plans=True)


@pytest.mark.parametrize("notes", [{"framewire": {"name": "crossing"}}, {"framewire": 3}, {}])
def test_a_plan_names_the_network_that_it_was_built_from(tmp_path: Path, notes: dict[str, Any]) -> None:
    path = tmp_path / "street.plan"
    path.write_bytes(prefix.join(notes, plan(11, 1, 0, 1)))
    name = "crossing" if notes.get("framewire") not in (3, None) else "street"
    assert refusal(path).endswith(f"framewire serve {name}.onnx")


@pytest.mark.parametrize("name", ["street.etlt", "street.bin"])
@pytest.mark.parametrize(
    "head", [b"\x05\0\0\0Input", b"\x07\0\0\0input_1", b"\x14\0\0\0output_cov/Sigmoid:0"]
)
def test_encrypted_models_for_deployment_begin_with_the_name_of_their_input(
    tmp_path: Path, name: str, head: bytes
) -> None:
    path = tmp_path / name
    path.write_bytes(head + bytes(range(256)))
    message = refusal(path)
    assert "it is an encrypted TAO model for deployment, which cannot be converted" in message
    assert "tao model <network> export -m street.tlt -k $KEY -e SPEC -o street.onnx" in message


def test_a_newer_tlt_is_no_pytorch_checkpoint_though_it_is_a_zip_archive(tmp_path: Path) -> None:
    path = tmp_path / "street.tlt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", "{}")
    assert "tao model <network> export -m street.tlt -k $KEY -e SPEC -o street.onnx" in refusal(path)


@pytest.mark.parametrize("name", ["street.uff", "street.pb"])
def test_uff_graphs_begin_with_two_numbers(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(b"\x08\x01\x10\x01\x22\x30" + b"\x0a\x02tf" * 12)
    message = refusal(path)
    assert "it is a UFF graph, which TensorRT dropped with version 9 and nothing converts" in message
    assert "python -m tf2onnx.convert --saved-model DIR --opset 13 --output street.onnx" in message


@pytest.mark.parametrize(
    "content",
    [
        b"\x08\x07\x12\x07pytorch",
        b"\x08\x08\x12\x00",
        b"\x08\x08\x3a\x00",
        b"\x08\x08\x1a\x04\x31\x2e\x30\x30",
    ],
)
def test_onnx_files_are_taken_for_nothing_else(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "street.onnx"
    path.write_bytes(content)
    assert sniff(path) is Format.ONNX
