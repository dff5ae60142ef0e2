"""Plans as model files: what is known of a network that hides its graph, and what must be stated. No GPU is needed, as
the tests say themselves what TensorRT would tell of a plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from framewire_server.engines.tensorrt import prefix
from framewire_server.errors import ModelError, OperatorError
from framewire_server.models import files
from framewire_server.models.finding import find
from framewire_server.models.network.formats import Format, is_plan, sniff
from framewire_server.models.network.onnx_file import external_data
from framewire_server.models.plans import PlanTensors
from framewire_server.models.recognition import look, noted, read, recognise
from framewire_server.models.repository import Repository
from framewire_server.tensors import Tensor
from tests.unit import onnx_models

PLAN = b"ftrt" + bytes(64)
CATS = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "task": "detect"}
ULTRALYTICS = {
    "names": {"0": "cat", "1": "dog"},
    "stride": 32,
    "task": "detect",
    "imgsz": [32, 32],
    "batch": 8,
    "args": {"nms": False},
}
HEAD = (Tensor("images", (None, 3, 32, 32), "float32"),), (Tensor("output0", (None, 6, 21), "float32"),)


class Gpu:
    """A PlanReader: says of every plan the same, but reads what really stands before it."""

    def __init__(
        self, tensors: tuple[tuple[Tensor, ...], tuple[Tensor, ...]] = HEAD, largest: int | None = 4
    ) -> None:
        self._found = PlanTensors(*tensors, largest)
        self.plugins: tuple[str, ...] | None = None

    def notes(self, path: Path) -> Mapping[str, Any]:
        return prefix.split(path.read_bytes())[0] or {}

    def tensors(self, path: Path, plugins: tuple[str, ...]) -> PlanTensors:
        self.plugins = plugins
        return self._found


class NoGpu(Gpu):
    """What reads plans on a machine without a GPU."""

    def tensors(self, path: Path, plugins: tuple[str, ...]) -> PlanTensors:
        raise OperatorError("there is no GPU here")


def write(path: Path, notes: Mapping[str, Any] | None = None) -> Path:
    path.write_bytes(PLAN if notes is None else prefix.join(notes, PLAN))
    return path


def refusal(path: Path, reader: Gpu | None = None) -> str:
    with pytest.raises(ModelError) as caught:
        recognise(path, None, reader)
    return str(caught.value)


# What a file is.


def test_a_plan_that_its_network_lies_beside_is_told_and_not_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "inside").mkdir()
    for folder, name in ((tmp_path, "d"), (tmp_path / "inside", "model")):
        onnx_models.yolov8(folder / f"{name}.onnx")
        write(folder / f"{name}.plan")
    write(tmp_path / "alone.plan")
    (tmp_path / ".d.plan").touch()
    assert set(Repository((), tmp_path).entries) == {"alone", "d", "inside"}
    assert [record.message for record in caplog.records] == [
        f"{tmp_path / 'd.plan'} is beside d.onnx and is not served; name it to serve it",
        f"{tmp_path / 'inside' / 'model.plan'} is beside model.onnx and is not served; name it to serve it",
    ]
    caplog.clear()
    Repository((tmp_path / "inside",), None)
    assert "model.plan is beside model.onnx" in caplog.text


@pytest.mark.parametrize("notes", [None, ULTRALYTICS, {"answer": "x" * 200_000}])
def test_a_plan_is_told_by_its_content_however_much_stands_before_it(
    tmp_path: Path, notes: Mapping[str, Any] | None
) -> None:
    path = write(tmp_path / "street.onnx", notes)
    assert is_plan(path)
    assert sniff(path, plans=True) is Format.PLAN
    assert not is_plan(onnx_models.yolov8(tmp_path / "other.engine"))


def test_without_a_gpu_it_is_said_where_a_plan_runs(tmp_path: Path) -> None:
    path = write(tmp_path / "street.engine")
    assert refusal(path) == (
        f"{path}: it is a TensorRT plan, which runs on the kind of GPU that it was built for. Serve it there with\n"
        "    framewire serve street.engine --device cuda\n"
        "  or anywhere the ONNX file that it was built from:\n    framewire serve street.onnx"
    )


# Plans that others built.


def test_a_plan_of_ultralytics_is_read_like_its_onnx_file(tmp_path: Path) -> None:
    twin = recognise(onnx_models.yolov8(tmp_path / "twin.onnx", metadata=CATS))
    spec = recognise(write(tmp_path / "street.engine", ULTRALYTICS), None, Gpu())
    assert (spec.name, spec.family, spec.labels) == ("street", "yolov8", ("cat", "dog"))
    assert (spec.preprocessing, spec.score_threshold, spec.iou_threshold) == (
        twin.preprocessing,
        twin.score_threshold,
        twin.iou_threshold,
    )
    assert spec.doubts == ()
    assert spec.largest_batch == 4, "the profiles' largest"
    assert spec.version == files.version(files.digest(spec.path))


def test_what_ultralytics_notes_of_suppression_counts_for_plans_too(tmp_path: Path) -> None:
    tensors = HEAD[0], (Tensor("output0", (None, 300, 6), "float32"),)
    notes = {**ULTRALYTICS, "args": {"nms": True}}
    spec = recognise(write(tmp_path / "street.engine", notes), None, Gpu(tensors))
    assert (spec.family, spec.iou_threshold) == ("end2end", None)


def test_a_bare_plan_is_doubted_where_only_its_graph_would_tell(tmp_path: Path) -> None:
    path = write(tmp_path / "street.engine")
    spec = recognise(path, None, Gpu())
    (doubt,) = (doubt for doubt in spec.doubts if "hides its graph" in doubt)
    assert doubt.endswith("state mean and scale")
    path.with_suffix(".yaml").write_text("schema: 1\npreset: yolo\n")
    assert not recognise(path, None, Gpu()).doubts


def test_a_family_that_would_have_to_try_a_bare_plan_says_what_to_state(tmp_path: Path) -> None:
    tensors = HEAD[0], (Tensor("output0", (None, 21, 7), "float32"),)
    path = write(tmp_path / "street.engine")
    assert "state family in the model file: yolox, yolov6 or yolov8" in refusal(path, Gpu(tensors))
    path.with_suffix(".yaml").write_text("schema: 1\nfamily: yolov6\n")
    assert recognise(path, None, Gpu(tensors)).family == "yolov6"


@pytest.mark.parametrize(
    ("text", "said"), [("", "do not decode|does not decode"), ("box_units: net\n", "states box_units")]
)
def test_boxes_of_a_yolox_are_taken_as_it_exports_them_unless_stated(
    tmp_path: Path, text: str, said: str
) -> None:
    tensors = HEAD[0], (Tensor("output", (None, 21, 7), "float32"),)
    path = write(tmp_path / "street.engine")
    path.with_suffix(".yaml").write_text(f"schema: 1\nfamily: yolox\n{text}")
    spec = recognise(path, None, Gpu(tensors))
    assert any(word in reason for reason in spec.evidence for word in said.split("|"))
    assert any("state box_units: net" in doubt for doubt in spec.doubts) is not bool(text)


def test_labels_and_plugins_are_found_as_for_other_models(tmp_path: Path) -> None:
    path = write(tmp_path / "street.engine")
    (tmp_path / "labels.txt").write_text("chat\nchien\n")
    path.with_suffix(".yaml").write_text("schema: 1\nplugins: [libyolo_layer.so]\n")
    gpu = Gpu()
    assert recognise(path, None, gpu).labels == ("chat", "chien")
    assert gpu.plugins == ("libyolo_layer.so",)


def test_a_plan_of_one_picture_is_told_apart_from_an_export_of_one(tmp_path: Path) -> None:
    path = write(tmp_path / "street.engine", ULTRALYTICS)
    (warning,) = recognise(path, None, Gpu(largest=1)).warnings
    assert warning.startswith("the plan takes 1 picture a batch; for more, build one for larger batches")


@pytest.mark.parametrize(
    ("stated", "notes", "size", "said"),
    [
        ("", ULTRALYTICS, (32, 32), "the metadata's imgsz says"),
        ("", {**ULTRALYTICS, "imgsz": [32, 64]}, (64, 32), "the metadata's imgsz says"),
        ("input_size: [64, 32]", ULTRALYTICS, (64, 32), "the model file says"),
        ("", {**ULTRALYTICS, "imgsz": None}, (640, 640), "640x640 is taken; state input_size"),
    ],
)
def test_an_open_size_is_chosen_as_for_onnx_files(
    tmp_path: Path, stated: str, notes: dict[str, Any], size: tuple[int, int], said: str
) -> None:
    open_ones = (
        (Tensor("images", (None, 3, None, None), "float32"),),
        (Tensor("output0", (None, 6, None), "float32"),),
    )
    path = write(tmp_path / "street.engine", notes)
    path.with_suffix(".yaml").write_text(f"schema: 1\n{stated}\n")
    spec = recognise(path, None, Gpu(open_ones))
    assert (spec.family, spec.input_width, spec.input_height) == ("yolov8", *size)
    assert spec.signature.image == Tensor("images", (None, 3, size[1], size[0]), "float32")
    assert any(said in reason for reason in (*spec.evidence, *spec.warnings))


# Plans that we built.


def built(
    onnx: Path, batches: tuple[int, ...] = (1, 4), *, takes_rows: bool = True, top_k: int | None = None
) -> dict[str, Any]:
    """What stands before a plan that was built from a model."""
    spec, network = read(onnx)
    notes = {
        "signature": noted(spec, network),
        "batches": list(batches),
        "takes_rows": takes_rows,
        "top_k": top_k,
    }
    return json.loads(json.dumps({**spec.signature.metadata, "framewire": notes}))  # type: ignore[no-any-return]


def test_our_plan_is_recognised_as_what_it_was_built_from_and_without_a_gpu(tmp_path: Path) -> None:
    onnx = onnx_models.yolov8(tmp_path / "twin.onnx")
    onnx.with_suffix(".yaml").write_text("schema: 1\nlabels: [chat, chien]\nscore_threshold: 0.4\n")
    twin = recognise(onnx)
    spec = recognise(write(tmp_path / "street.engine", built(onnx)), None, NoGpu())
    for key in ("family", "preprocessing", "labels", "score_threshold", "doubts", "input_width"):
        assert getattr(spec, key) == getattr(twin, key)
    assert (spec.name, spec.largest_batch) == ("street", 4)
    assert look(spec.path, NoGpu()).table() == twin.signature.table()


def test_a_model_file_beside_our_plan_overrules_what_it_was_built_with(tmp_path: Path) -> None:
    onnx = onnx_models.yolov8(tmp_path / "twin.onnx", metadata=CATS)
    path = write(tmp_path / "street.engine", built(onnx))
    path.with_suffix(".yaml").write_text("schema: 1\nlabels: [chat, chien]\npad: 0\n")
    spec = recognise(path, None, NoGpu())
    assert (spec.labels, spec.preprocessing.pad) == (("chat", "chien"), 0)


def test_what_is_built_into_our_plan_cannot_be_overruled(tmp_path: Path) -> None:
    onnx = onnx_models.yolov8(tmp_path / "twin.onnx", metadata=CATS)
    path = write(tmp_path / "street.engine", built(onnx))
    path.with_suffix(".yaml").write_text("schema: 1\npreset: yolo\n")
    assert recognise(path, None, NoGpu()).family == "yolov8", "the same as before"
    path.with_suffix(".yaml").write_text("schema: 1\ncolour: bgr\n")
    message = refusal(path, NoGpu())
    assert "its model file asks for" in message and "build it again, or take that out" in message


def test_nothing_of_the_pixels_is_in_our_plan_that_takes_them_prepared(tmp_path: Path) -> None:
    onnx = onnx_models.yolov8(tmp_path / "twin.onnx", metadata=CATS)
    path = write(tmp_path / "street.engine", built(onnx, takes_rows=False))
    path.with_suffix(".yaml").write_text("schema: 1\ncolour: bgr\n")
    assert recognise(path, None, NoGpu()).preprocessing.colour == "bgr"


@pytest.mark.parametrize(
    "stated", ["label_offset: -1", "score_activation: sigmoid", "family: yolov5\nlabels: [cat]"]
)
def test_what_chose_the_best_anchors_cannot_be_overruled(tmp_path: Path, stated: str) -> None:
    onnx = onnx_models.yolov8(tmp_path / "twin.onnx", metadata=CATS)
    for top_k in (None, 5):
        path = write(tmp_path / f"street_{top_k}.engine", built(onnx, top_k=top_k))
        path.with_suffix(".yaml").write_text(f"schema: 1\n{stated}\n")
    assert recognise(tmp_path / "street_None.engine", None, NoGpu()), "all anchors may be read otherwise"
    message = refusal(path, NoGpu())
    assert "scores read otherwise" in message and "only the 5 anchors" in message
    path.with_suffix(".yaml").write_text("schema: 1\nscore_threshold: 0.1\nlabels: [chat, chien]\n")
    assert recognise(path, None, NoGpu()).score_threshold == 0.1


@pytest.mark.parametrize("notes", [None, {}, {"signature": {"inputs": 3}, "batches": [1]}, {"batches": [1]}])
def test_notes_of_ours_that_cannot_be_read_ask_for_another_build(tmp_path: Path, notes: Any) -> None:
    path = write(tmp_path / "street.engine", {"framewire": notes})
    message = refusal(path, NoGpu())
    assert message.startswith(f"{path}: ") and message.endswith("build it again with this Framewire")


def test_our_plan_without_its_notes_is_refused(tmp_path: Path) -> None:
    rows = (Tensor("framewire_rows", (None, 32, 32, 3), "uint8"),), HEAD[1]
    message = refusal(write(tmp_path / "street.plan"), Gpu(rows))
    assert "what was noted before the plan is gone: build it again" in message


# Folders.


def test_folders_hold_plans_but_for_those_beside_the_network_they_were_built_from(tmp_path: Path) -> None:
    onnx_models.yolov8(tmp_path / "pets.onnx")
    for name in ("pets.engine", "street.engine", "night.plan", ".making.plan"):
        write(tmp_path / name)
    (tmp_path / "alone").mkdir()
    write(tmp_path / "alone/model.plan")
    assert [(model.name, model.path.name) for model in find(tmp_path)] == [
        ("alone", "model.plan"),
        ("night", "night.plan"),
        ("pets", "pets.onnx"),
        ("street", "street.engine"),
    ]
    assert [entry.name for entry in Repository((), tmp_path).entries.values()] == [
        "alone",
        "night",
        "pets",
        "street",
    ]


def test_a_plan_is_not_read_for_weights_outside_of_it(tmp_path: Path) -> None:
    path = write(tmp_path / "street.engine", ULTRALYTICS)
    assert external_data(path) == ()
