"""NAME.yaml: what it may say, and that whatever it says is understood or refused by name."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from framewire_server.errors import ModelError
from framewire_server.models.recognition import recognise
from framewire_server.models.registry import offered
from framewire_server.models.spec import ModelSpec
from framewire_server.models.stated import plain_yaml
from framewire_server.models.stated import text as model_file_text
from framewire_server.models.stated.errors import MAY_BE
from framewire_server.models.stated.model_file import ModelFile
from framewire_server.models.stated.presets import PRESETS
from framewire_server.models.stated.schema import json_schema
from tests.unit import onnx_models

ROOT = Path(__file__).resolve().parents[2]
KEYS = [field.alias or name for name, field in ModelFile.model_fields.items()]


def parsed(text: str) -> ModelFile:
    return ModelFile.parse(f"schema: 1\n{text}\n", "street.yaml")


def wrong(text: str) -> str:
    """What is said of a text; without the file's name, which must be there."""
    with pytest.raises(ModelError) as caught:
        ModelFile.parse(text, "street.yaml")
    message = str(caught.value)
    assert message.startswith("street.yaml: ") and "\n" not in message
    return message.removeprefix("street.yaml: ")


# What it may say.


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("mean: [127.5]", {"mean": (127.5,)}),
        ("std: [58.395, 57.12, 57.375]", {"std": (58.395, 57.12, 57.375)}),
        ("scale: [1e-3]", {"scale": (0.001,)}),
        ("pad: [124, 116, 104]", {"pad": (124, 116, 104)}),
        ("pad: picture-mean", {"pad": "picture-mean"}),
        ("interpolation: lanczos", {"interpolation": "lanczos"}),
        ("input_size: [640, 384]", {"input_size": (640, 384)}),
        ("extra_inputs: {size: [384, 640]}", {"extra_inputs": {"size": (384.0, 640.0)}}),
        ("box_format: yxyx", {"box_format": "yxyx"}),
        ("box_units: norm", {"box_units": "norm"}),
        ("score_activation: none", {"score_activation": "none"}),
        ("background: last", {"background": "last"}),
        ("suppress: false", {"suppress": False}),
        ("anchors: [[10, 14], [23, 27]]", {"anchors": ((10.0, 14.0), (23.0, 27.0))}),
        ("masks: [[3, 4, 5], [0, 1, 2]]", {"masks": ((3, 4, 5), (0, 1, 2))}),
        ("strides: [8, 16, 32]", {"strides": (8, 16, 32)}),
        ("scale_x_y: 1.05", {"scale_x_y": 1.05}),
        ("scale_x_y: [1.2, 1.1, 1.05]", {"scale_x_y": (1.2, 1.1, 1.05)}),
        ("new_coords: true", {"new_coords": True}),
        ("labels: [no, on, 'true']", {"labels": ("no", "on", "true")}),
        ("labels: {0: cat, 2: dog}", {"labels": ("cat", "class-1", "dog")}),
        ("label_offset: -1", {"label_offset": -1}),
        ("plugins: [libyolo_layer.so]", {"plugins": ("libyolo_layer.so",)}),
        ("preset: tao-ssd", {"preset": "tao-ssd"}),
    ],
)
def test_what_may_be_stated_is_read(text: str, expected: Mapping[str, object]) -> None:
    assert parsed(text).stated() == expected


def test_std_is_one_over_scale() -> None:
    assert parsed("std: [50, 100, 200]").preprocessing() == {"scale": (1 / 50, 1 / 100, 1 / 200)}


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_states_all_preprocessing_and_keys_overrule_parts_of_it(preset: str) -> None:
    stated = parsed(f"preset: {preset}\npad: 7")
    assert stated.tells_pixels
    whole = PRESETS[preset]
    assert replace(whole, **stated.preprocessing()) == replace(whole, pad=7)
    assert replace(PRESETS["raw"], **stated.preprocessing()) == replace(whole, pad=7)


@pytest.mark.parametrize(
    ("text", "tells"),
    [
        ("colour: rgb\nresize: stretch\nscale: [1]", True),
        ("colour: rgb\nresize: stretch\nstd: [50]", True),
        ("colour: rgb\nresize: stretch\nmean: [100]", True),
        ("colour: rgb\nresize: stretch", False),
        ("colour: rgb\nscale: [1]", False),
        ("resize: stretch\nscale: [1]", False),
    ],
)
def test_pixels_are_told_when_colour_values_and_resize_are(text: str, tells: bool) -> None:
    assert parsed(text).tells_pixels is tells


# What it may not.


WRONG = ("{a: {b: c}}", "[[[[1]]]]", "-1.5")


@pytest.mark.parametrize(
    ("key", "value"),
    # these may be any number, however odd
    [
        (key, value)
        for key in KEYS
        for value in WRONG
        if key != "schema" and not (key in ("scale_x_y", "mean", "std", "scale") and value == "-1.5")
    ],
)
def test_every_key_says_what_it_may_be(key: str, value: str) -> None:
    assert wrong(f"schema: 1\n{key}: {value}").startswith(f"`{key}`: must be {MAY_BE[key]}, not ")


def test_what_each_key_may_be_is_known() -> None:
    assert list(MAY_BE) == KEYS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mean: [0.485, 0.456, 0.406]",
         "`mean`: is of pixels 0 to 255, not 0 to 1: multiply by 255, [123.675, 116.28, 103.53]"),
        ("std: [0.229, 0.224, 0.225]",
         "`std`: is of pixels 0 to 255, not 0 to 1: multiply by 255, [58.395, 57.12, 57.375]"),
        ("scale: [0]", "`scale`: no number may be 0: it would make all pictures the same"),
        ("scale: [1]\nstd: [50]", "state scale or std, not both: std divides, scale multiplies"),
        ("mean: [.nan]", "`mean`: must be a number, or a list of 1 or 3 numbers, not [nan]"),
        ("mean: [true]", "`mean`: must be a number, or a list of 1 or 3 numbers, not [True]"),
        ("mean: ['1']", "`mean`: must be a number, or a list of 1 or 3 numbers, not ['1']"),
        ("anchors: [[10, 0]]",
         "`anchors`: must be a list of 1 to 64 pairs [width, height] of positive numbers, not [[10, 0]]"),
        ("anchors: [[1, 2]]\nmasks: [[1]]", "masks name anchor 1, but there are 1, from 0"),
        ("suppress: yes", "`suppress`: must be true or false, not 'yes'"),
        ("labels: ['', '']", "`labels`: must name at least one class"),
        ("labels: {-1: cat}", "`labels`: class ids go from 0 to 65535"),
        ("labels: {99999999: cat}", "`labels`: class ids go from 0 to 65535"),
        ("colour:", "`colour`: is empty; give it a value or take it out"),
        ("colour: rgb\ncolour: bgr", "is not plain YAML: line 3: the key `colour` is there twice"),
        ("extra_inputs: {a: [1], a: [2]}", "is not plain YAML: line 2: the key `a` is there twice"),
        ("labels: !!python/object:os.system [x]", "is not plain YAML: line 2: tags (!name) are not allowed"),
        ("labels: [[[[[[[[[a]]]]]]]]]", "is not plain YAML: line 2: is nested too deep"),
        ("? [a]\n: 1", "is not plain YAML: line 2: a key must be a word"),
    ],
)  # fmt: skip
def test_what_may_not_be_stated_is_refused_in_one_sentence(text: str, message: str) -> None:
    assert wrong(f"schema: 1\n{text}") == message


@pytest.mark.parametrize(
    ("key", "close"),
    [
        ("color", "colour"), ("Colour", "colour"), ("means", "mean"), ("lables", "labels"), ("names", "labels"),
        ("conf", "score_threshold"), ("iou", "iou_threshold"), ("max_det", "max_detections"), ("imgsz", "input_size"),
        ("anchor", "anchors"), ("need_nms", "suppress"), ("decoder", "family"), ("box-format", "box_format"),
    ],
)  # fmt: skip
def test_an_unknown_key_is_led_to_the_closest_one(key: str, close: str) -> None:
    assert wrong(f"schema: 1\n{key}: 1") == f"unknown key `{key}`; is it `{close}`?"


def test_a_key_that_is_close_to_none_gets_all_of_them() -> None:
    assert wrong("schema: 1\nxyzzy: 1") == f"unknown key `xyzzy`; known are {', '.join(KEYS)}"


@pytest.mark.parametrize("schema", ["true", "1.0", "'1'", "0", "2", "[1]"])
def test_there_is_one_schema_so_far(schema: str) -> None:
    assert wrong(f"schema: {schema}").startswith("`schema`: must be 1, not ")


def test_a_long_value_is_cut_in_the_message() -> None:
    assert len(wrong(f"schema: 1\ncolour: {'r' * 10_000}")) < 150
    assert len(wrong(f"schema: 1\n{'r' * 10_000}: 1")) < 700


# Whatever it holds.

_words = st.sampled_from(
    [*KEYS, "color", "?", "", "*a", "&a 1", "!!int 1", "true", "1", ".inf", "1e999", "[", "{", "- "]
)
_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | _words,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def understood_or_refused(folder: Path, content: bytes) -> ModelFile | None:
    path = folder / "any.yaml"
    path.write_bytes(content)
    try:
        return ModelFile.of(path)
    except ModelError as error:
        message = str(error)
        assert message.startswith(f"{path}: ") and "\n" not in message and "\r" not in message, message
        return None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any")


@settings(max_examples=300, deadline=None)
@given(content=st.binary(max_size=80))
def test_whatever_bytes_a_model_file_holds_it_is_read_or_refused_with_its_name(
    folder: Path, content: bytes
) -> None:
    understood_or_refused(folder, content)
    understood_or_refused(folder, b"schema: 1\n" + content)


@settings(max_examples=300, deadline=None)
@given(
    text=st.lists(
        _words | st.text(max_size=4) | st.sampled_from([": ", "\n", "\n  ", ", ", "]", "}"]), max_size=20
    )
)
def test_whatever_text_a_model_file_holds_it_is_read_or_refused_with_its_name(
    folder: Path, text: list[str]
) -> None:
    understood_or_refused(folder, ("schema: 1\n" + "".join(text)).encode("utf-8", "surrogatepass"))


@settings(max_examples=500, deadline=None)
@example(content={"labels": "a\0b"})
@example(content={"labels": "."})
@example(content={"labels": "x" * 5000})
@example(content={"labels": "\ud800"})
@example(content={"mean": [10**400]})
@example(content={"label_offset": 10**400})
@example(content={"version": "1\n"})
@given(content=st.dictionaries(st.sampled_from(KEYS[1:]), _values, max_size=4))
def test_whatever_values_keys_are_given_they_are_read_or_refused_with_the_files_name(
    folder: Path, content: dict[str, Any]
) -> None:
    understood_or_refused(folder, json.dumps({"schema": 1} | content).encode())


def test_a_version_of_two_lines_is_refused(folder: Path) -> None:
    assert understood_or_refused(folder, b'schema: 1\nversion: "1\\n"\n') is None


def test_an_integer_of_a_million_digits_is_refused_at_once(folder: Path) -> None:
    assert understood_or_refused(folder, b"schema: 1\npad: " + b"9" * 1_000_000) is None


def test_brackets_without_end_are_refused(folder: Path) -> None:
    assert understood_or_refused(folder, b"schema: " + b"[" * 100_000) is None
    assert understood_or_refused(folder, b"schema: " + b"{a: " * 100_000) is None


def test_a_model_file_that_is_no_text_or_cannot_be_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "street.yaml"
    path.write_bytes(b"schema: 1\n\xff")
    with pytest.raises(ModelError, match=r"street\.yaml: is no UTF-8 text at byte 10$"):
        ModelFile.of(path)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "street.yaml"
    path.write_bytes(b"\xef\xbb\xbfschema: 1\npad: 3\n")
    assert ModelFile.of(path).pad == 3


@given(
    value=st.text()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
)
@example(value="1e3")
@example(value="\x7f\x85\u2028\U0001f600\U000e0001")
def test_what_is_written_is_read_as_it_was(value: object) -> None:
    if isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        return  # no text that a model file could hold
    text = f"a: {model_file_text._value([value])}"
    assert plain_yaml.load(text) == {"a": [value]}


# What editors and people are given.


def test_the_schema_for_editors_is_that_of_the_code() -> None:
    text = (ROOT / "docs/model-file.schema.json").read_text()
    assert text == json_schema(), "run: framewire models schema > docs/model-file.schema.json"


def test_the_schema_describes_every_key_and_allows_no_other() -> None:
    schema = json.loads(json_schema())
    assert list(schema["properties"]) == KEYS
    assert schema["additionalProperties"] is False and schema["required"] == ["schema"]
    assert "null" not in json.dumps(schema["properties"])
    missing = [key for key, described in schema["properties"].items() if "description" not in described]
    assert missing == ["schema"]


def test_the_page_on_model_files_tells_every_key_and_its_examples_are_right() -> None:
    page = (ROOT / "docs/model-file.md").read_text()
    assert not [key for key in KEYS if f"`{key}`" not in page]
    assert not [preset for preset in PRESETS if f"`{preset}`" not in page]
    examples = [part.split("```")[0] for part in page.split("```yaml\n")[1:]]
    assert len(examples) > 2
    for text in examples:
        ModelFile.parse(text, "docs/model-file.md")


def same(one: ModelSpec, other: ModelSpec) -> bool:
    """Whether two specs serve alike; what they rest on may differ."""
    return _facts(one) == _facts(other)


def _facts(spec: ModelSpec) -> dict[str, Any]:
    names = ("name", "family", "preprocessing", "input_width", "input_height", "largest_batch", "labels",
             "score_threshold", "baked_score", "iou_threshold", "max_detections", "class_agnostic")  # fmt: skip
    extra = {name: value.tolist() for name, value in spec.extra_inputs.items()}
    return {name: getattr(spec, name) for name in names} | {"extra_inputs": extra}


def models(folder: Path) -> dict[str, Path]:
    names = {"names": "{0: 'null', 1: 'caf\\xe9: \"x\", #1', 2: '7', 3: 'no', 4: ' a ', 5: 'x\\u2028y'}"}
    ultralytics = {"stride": "32", "task": "detect"}
    return {
        "odd labels": onnx_models.yolov8(folder / "odd.onnx", classes=6, metadata=names | ultralytics),
        "80 labels": onnx_models.yolov8(folder / "coco.onnx", classes=80),
        "numbered": onnx_models.yolov8(folder / "numbered.onnx", classes=3),
        "open": onnx_models.yolov8(folder / "open.onnx", size=None),
        "rows": onnx_models.ssd(folder / "rows.onnx", rows=[[0, 1, 0.9, 0, 0, 1, 1]]),
        "normalising": onnx_models.ssd(
            folder / "n.onnx", rows=[[0, 1, 0.9, 0, 0, 1, 1]], first=("Sub", "Mul")
        ),
    }


STATED = {
    "nothing": "",
    "a preset": "preset: imagenet-800\n",
    "std": "std: [58.395, 57.12, 57.375]\nversion: '7'\nclass_agnostic: true\n",
    "suppression": "suppress: true\niou_threshold: 0.3\nlabel_offset: 1\nbox_units: net\n",
    "labels": "suppress: false\ninterpolation: cubic\nlabels: {1: one, 5: five}\n",
}


@pytest.mark.parametrize("kind", ["odd labels", "80 labels", "numbered", "open", "rows", "normalising"])
@pytest.mark.parametrize("stated", STATED)
def test_the_model_file_of_what_was_decided_decides_the_same(tmp_path: Path, kind: str, stated: str) -> None:
    model = models(tmp_path)[kind]
    place = model.with_suffix(".yaml")
    if STATED[stated]:
        place.write_text("schema: 1\n" + STATED[stated])
    before = recognise(model)
    text = model_file_text.of_spec(before)
    place.write_text(text, encoding="utf-8")
    after = recognise(model)
    assert _facts(after) == _facts(before)
    assert ("version: '7'" in STATED[stated]) == (
        after.version == before.version
    )  # else that of the files, which changed
    assert "$schema" not in text, "there is no schema beside it yet"
    assert not after.doubts, "all is stated"


@pytest.mark.parametrize(
    ("sentence", "keys"),
    [
        ("the input's size is open: 640x640 is taken; state input_size for another", {"input_size"}),
        ("state preset: yolox for one", {"preset"}),
        ("State both in its model file: `preset: raw` and `box_format: yxyx`", {"preset", "box_format"}),
        ("then state colour, mean and std", {"colour", "mean", "std"}),
        ("its mean is usual; state preset if the labels file says so", {"preset"}),
        ("state family in the model file: yolox if the labels are few", {"family"}),
        ("its model file states family 'x'; the scale: odd", set()),
        ("no more is known of its background", set()),
    ],
)
def test_the_keys_that_a_sentence_asks_for_are_told_from_plain_words(sentence: str, keys: set[str]) -> None:
    assert model_file_text.keys_asked_for(sentence) == keys


def test_the_model_file_of_a_refusal_lists_the_keys_and_the_values_that_it_names() -> None:
    reason = "its preset cannot be told: state preset: yolo or tao-yolo, and box_units in the model file"
    text = model_file_text.of_refusal(reason, ["ssd", "yolov8"])
    assert text is not None and ModelFile.parse(text, "x").stated() == {}
    lines = text.splitlines()
    assert [line for line in lines if line.endswith(":")] == ["# preset:", "# box_units:"]
    assert lines[lines.index("# preset:") + 1] == "#   yolo, tao-yolo"
    assert "#   norm or net" in lines


def test_families_that_always_refuse_are_never_offered() -> None:
    text = model_file_text.of_refusal("state family in the model file", offered())
    assert text is not None and "ssd," in text and "yolov8," in text
    assert not [name for name in ("grounding-dino", "other-tasks", "retinanet") if name in text]


def test_the_example_of_a_refusal_is_its_model_file() -> None:
    reason = "state what is so:\n    schema: 1\n    family: darknet\n    new_coords: false"
    text = model_file_text.of_refusal(reason, ["darknet"])
    assert text is not None
    assert text.splitlines()[1:] == ["schema: 1", "# family: darknet", "# new_coords: false"]


def test_a_refusal_that_asks_for_no_key_has_no_model_file() -> None:
    assert model_file_text.of_refusal("its tensors are of no family", ["ssd", "yolov8"]) is None


def test_a_bare_number_counts_for_all_channels() -> None:
    stated = ModelFile.parse("schema: 1\nmean: 127\nstd: 255\n", "x")
    assert stated.preprocessing() == {"mean": (127.0,), "scale": (1 / 255,)}


def test_a_preset_that_is_close_to_one_gets_a_hint() -> None:
    assert wrong("schema: 1\npreset: yolx") == "`preset`: there is no 'yolx'; is it `yolox`?"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("schema: 1\nlabels [a]\npad: 3\n", 2),
        ("schema: 1\nmean: [1, 2\npad: 3\n", 2),
        ("schema: 1\nversion: '7\npad: 3\n", 2),
        ("schema: 1\npad: 3\n  mean: 1\n", 3),
    ],
)
def test_broken_yaml_is_told_by_the_line_that_is_broken(text: str, line: int) -> None:
    assert f"is not plain YAML: line {line}: " in wrong(text)


def test_what_does_nothing_is_not_written(tmp_path: Path) -> None:
    text = model_file_text.of_spec(recognise(onnx_models.yolov8(tmp_path / "n.onnx")))
    lines = text.splitlines()
    assert "std: 255" in lines and "pad: 114" in lines
    assert not [line for line in lines if line.startswith(("mean:", "scale:"))]
    text = model_file_text.of_spec(recognise(models(tmp_path)["normalising"]))
    assert "pad" not in text and "resize: stretch" in text
