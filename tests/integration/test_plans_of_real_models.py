"""Plans of real models on photographs: half floats and cut heads find what the network finds, with nothing beside them.

Half floats are computed here as ONNX Runtime does on a CPU, which rounds weights but hardly anything between.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from typer.testing import CliRunner

from framewire_server.cli.app import app
from framewire_server.engines.front import ROWS, add_front
from framewire_server.engines.tensorrt.precision import in_precision
from framewire_server.engines.top_k import add_top_k
from framewire_server.models.recognition import read
from framewire_server.models.spec import ModelSpec
from framewire_server.pipeline.building import feeds
from framewire_server.vision.boxes import Candidates, best, plausible, suppress
from framewire_server.vision.placing import place
from tests.references import PICTURES, REFERENCES, Reference, answers, verdict
from tests.sim import install

pytestmark = pytest.mark.models

CUT = [reference for reference in REFERENCES if reference.name in ("yolov8n_640", "yolo-fastest-1.1.decoded")]
KEPT = 300
LOW = 0.05


def photographs(shared: Path) -> list[Path]:
    return sorted((shared / "data/images").glob("*.jpg"))


def placed(spec: ModelSpec, shared: Path) -> Iterator[NDArray[np.uint8]]:
    """The rows of all photographs, one by one."""
    for path in photographs(shared):
        rows = np.zeros((1, spec.input_height, spec.input_width, 3), np.uint8)
        picture = cv2.imread(str(path))
        assert picture is not None
        place(np.asarray(picture, np.uint8), rows[0], spec.preprocessing)
        yield rows


def session(network: onnx.ModelProto, spec: ModelSpec) -> ort.InferenceSession:
    assert spec.signature.image is not None
    front = add_front(
        network,
        spec.signature.image,
        channels_last=spec.signature.channels_last,
        preprocessing=spec.preprocessing,
        cast_first=True,
    )
    return ort.InferenceSession(front.SerializeToString(), providers=["CPUExecutionProvider"])


def run(network: ort.InferenceSession, rows: NDArray[np.uint8]) -> dict[str, Any]:
    names = [output.name for output in network.get_outputs()]
    return dict(zip(names, network.run(names, {ROWS: rows}), strict=True))


def final(found: Candidates, spec: ModelSpec) -> Candidates:
    return best(suppress(plausible(found), spec.iou_threshold or 1.0), spec.max_detections)


def same(found: Candidates, expected: Candidates) -> None:
    np.testing.assert_array_equal(found.boxes, expected.boxes)
    np.testing.assert_array_equal(found.scores, expected.scores)
    np.testing.assert_array_equal(found.class_ids, expected.class_ids)


@pytest.mark.parametrize("reference", CUT, ids=lambda reference: reference.name)
def test_a_cut_head_finds_what_the_whole_one_finds(
    shared: Path, tmp_path: Path, reference: Reference
) -> None:
    spec, network = read(reference.install(shared, tmp_path))
    assert spec.ranking is not None
    whole, cut = session(network, spec), session(add_top_k(network, spec.ranking, KEPT), spec)
    compared = {spec.score_threshold: 0, LOW: 0}
    for rows in placed(spec, shared):
        expected, found = run(whole, rows), run(cut, rows)
        for threshold in compared:
            every = spec.decoder(expected, 0, threshold)
            if len(every) <= KEPT:
                compared[threshold] += 1
                same(spec.decoder(found, 0, threshold), every)
                same(
                    final(spec.decoder(found, 0, threshold), spec),
                    final(spec.decoder(expected, 0, threshold), spec),
                )
    assert compared[spec.score_threshold] == PICTURES, "more anchors than are kept, so that nothing is shown"
    assert compared[LOW] > PICTURES // 2


@pytest.mark.parametrize("reference", CUT, ids=lambda reference: reference.name)
def test_half_floats_answer_nearly_the_same(shared: Path, tmp_path: Path, reference: Reference) -> None:
    spec, network = read(reference.install(shared, tmp_path))
    assert spec.ranking is not None
    pictures = tuple(feeds(spec, tuple(photographs(shared)[:4])))
    exact, halved = session(network, spec), session(in_precision(network, "fp16", pictures), spec)
    for rows in placed(spec, shared):
        expected, found = (run(each, rows)[spec.ranking.output][0] for each in (exact, halved))
        if spec.ranking.channels_first:
            expected, found = expected.T, found.T
        apart = np.abs(found[:, 4:] - expected[:, 4:])
        assert apart.max() < 0.05
        sure = expected[:, 4:].max(axis=1) > spec.score_threshold
        np.testing.assert_allclose(found[sure, :4], expected[sure, :4], rtol=0.01, atol=1.5)


@pytest.mark.parametrize("reference", CUT, ids=lambda reference: reference.name)
async def test_a_plan_alone_finds_what_the_reference_found(
    shared: Path, tmp_path: Path, reference: Reference
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "plan").mkdir()
    model = reference.install(shared, tmp_path / "model")
    plan = tmp_path / "plan" / f"{reference.name}.plan"
    with install("11.4"):
        arguments = [
            "models",
            "build",
            model,
            "-o",
            plan,
            "--precision",
            "fp16",
            "--top-k",
            KEPT,
            "--batch",
            "1,4",
        ]
        done = CliRunner().invoke(app, [*map(str, arguments), "--calibrate", str(photographs(shared)[0])])
        assert done.exit_code == 0, done.output
    with install("11.4"):
        found = await answers(
            plan, shared, reference, 3, device="cuda", plan_cache=tmp_path / "plans", cuda_graphs=False
        )
    assert len(found.lines) == PICTURES
    results = tmp_path / "results.jsonl"
    results.write_text("\n".join(found.lines))
    judged = verdict(shared, reference.golden, results)
    assert judged.returncode == 0, judged.stdout + judged.stderr
