"""A family of somebody else's: the one that docs/families.md shows, installed, recognised and served."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).resolve().parents[2]
PATIENCE_S = 90.0
BOXES = np.array([[[8, 4, 24, 28], [9, 4, 25, 28], [0, 0, 4, 4]]], np.float32)
SCORES = np.array([[[0.1, 0.9, 0.0], [0.0, 0.8, 0.0], [0.0, 0.0, 0.2]]], np.float32)


def blocks(language: str) -> list[str]:
    """The page's code of one language."""
    page = (ROOT / "docs/families.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def install(folder: Path, code: str, project: str) -> Path:
    """Installs the page's package with pip; returns what to put on the path."""
    source, site = folder / "source", folder / "site"
    (source / "corners_family").mkdir(parents=True)
    (source / "corners_family/__init__.py").write_text(code)
    (source / "pyproject.toml").write_text(project)
    if importlib.util.find_spec("hatchling") is None or importlib.util.find_spec("pip") is None:
        points = re.search(r'\[project\.entry-points\."(.*?)"\]\n(.*)', project, re.DOTALL)
        assert points is not None
        return register(source, f"[{points[1]}]\n{points[2]}")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps"]
    command = [*pip, "--no-index", "--no-build-isolation", "--target", str(site), str(source)]
    subprocess.run(command, check=True, timeout=PATIENCE_S)
    return site


def register(site: Path, points: str) -> Path:
    """Does what an installer would do for the package in `site`."""
    info = site / "corners_family-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: corners-family\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(points.replace('"', ""))
    return site


def broken(site: Path, code: str) -> Path:
    """Installs a package whose family is wrong."""
    (site / "broken_family.py").write_text(code)
    return register(site, "[framewire.families]\nbroken = broken_family:Broken\n")


def network(path: Path) -> Path:
    """Writes a network of that family, whose answer is always the same."""
    constants = [
        numpy_helper.from_array(array, name) for name, array in (("boxes", BOXES), ("marks", SCORES))
    ]
    constants.append(numpy_helper.from_array(np.zeros((1, 1, 1), np.float32), "nothing"))
    nodes = [
        helper.make_node("ReduceMean", ["picture"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Mul", ["mean", "nothing"], ["zero"]),
        helper.make_node("Add", ["zero", "boxes"], ["corners"]),
        helper.make_node("Add", ["zero", "marks"], ["scores"]),
    ]
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "corners",
        [value("picture", TensorProto.FLOAT, [1, 3, 32, 32])],
        [value("corners", TensorProto.FLOAT, [1, 3, 4]), value("scores", TensorProto.FLOAT, [1, 3, 3])],
        constants,
    )
    onnx.save(helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 13)]), path)
    return path


def framewire(site: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith("FRAMEWIRE_")}
    environment |= {"PYTHONPATH": str(site), "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(
        [sys.executable, "-m", "framewire_server", *map(str, arguments)],
        capture_output=True, text=True, timeout=PATIENCE_S, env=environment, check=False,
    )  # fmt: skip
    assert "Traceback" not in done.stdout + done.stderr, done.stderr
    return done


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    ((code,), (project,)) = (blocks("python"), blocks("toml"))
    return install(tmp_path_factory.mktemp("family"), code, project)


def test_the_family_of_the_page_is_short(installed: Path) -> None:
    (code,) = blocks("python")
    assert len([line for line in code.splitlines() if line.strip()]) <= 40


def test_the_family_of_the_page_recognises_its_model(installed: Path, tmp_path: Path) -> None:
    done = framewire(installed, "models", "inspect", network(tmp_path / "lab.onnx"))
    assert done.returncode == 0, done.stderr
    assert re.search(r"^family +corners$", done.stdout, re.MULTILINE)
    assert (
        "  - outputs are corners and scores: the networks of our lab, RGB / 255" in done.stdout.splitlines()
    )


def test_the_family_of_the_page_serves_its_model(installed: Path, tmp_path: Path) -> None:
    model, picture = network(tmp_path / "lab.onnx"), tmp_path / "white.png"
    (tmp_path / "lab.names").write_text("cat\ndog\nbus\n")
    assert cv2.imwrite(str(picture), np.full((64, 128, 3), 255, np.uint8))
    done = framewire(installed, "detect", picture, "--model", model, "--json", "-")
    assert done.returncode == 0, done.stderr
    (line,) = (json.loads(line) for line in done.stdout.splitlines())
    assert line["detections"] == [
        {"label": "dog", "class_id": 1, "score": pytest.approx(0.9, abs=1e-3), "box": [32.0, 8.0, 96.0, 56.0]}
    ], "stretched, suppressed, and without what is below the threshold"


_WHOSE = "entry point framewire.families: broken = broken_family:Broken of corners-family 1.0"
_FAILED = f"family 'broken' ({_WHOSE}) failed on this model: "
_WRONG = f"family 'broken' ({_WHOSE}) answered wrongly: "
_MATCH = """\
        from dataclasses import replace
        from framewire_server.models.stated.presets import RAW
        from framewire_server.models.spec import Match
        match = Match("broken", -1, RAW, print, 3, None, 0.3, None)
        return replace(match, {})
"""


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("        raise KeyError('corners')", f"{_FAILED}KeyError: 'corners'"),
        ("        return signature.outputs[9]", f"{_FAILED}IndexError: tuple index out of range"),
        ("        return 42", f"{_WRONG}match() must return a Match, a Refusal or None, not int"),
        (_MATCH.format("decoder=7"), f"{_WRONG}decoder of its Match must be callable, not 7"),
        (
            _MATCH.format("labels=['a']"),
            f"{_WRONG}labels of its Match must be a tuple of texts or None, not ['a']",
        ),
        (
            _MATCH.format("evidence='seen'"),
            f"{_WRONG}evidence of its Match must be a tuple of texts, not 'seen'",
        ),
        (
            _MATCH.format("score_threshold=30"),
            f"{_WRONG}score_threshold of its Match must be a number from 0 to 1",
        ),
        (
            _MATCH.format("preprocessing=None"),
            f"{_WRONG}preprocessing of its Match must be a Preprocessing, not None",
        ),
    ],
)
def test_a_family_that_is_wrong_gets_one_error_that_says_whose_it_is(
    tmp_path: Path, body: str, message: str
) -> None:
    code = f"class Broken:\n    name = 'broken'\n    def match(self, signature):\n{body}\n"
    site = broken(tmp_path, code)
    model = network(tmp_path / "lab.onnx")
    done = framewire(site, "models", "inspect", model)
    assert done.returncode == 1
    assert done.stderr.startswith(f"framewire: {model}: {message}")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "import no_such_module",
            f"{_WHOSE} cannot be loaded: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        ("", f"{_WHOSE} cannot be loaded: AttributeError: "),
        ("class Broken:\n    def __init__(self, key): pass", f"{_WHOSE} cannot be loaded: TypeError: "),
        (
            "class Broken: name = 'broken'",
            f"{_WHOSE} is no family: it needs a `name` (text) and a method `match(",
        ),
        (
            "class Broken:\n    name = 'yolov8'\n    def match(self, signature): pass",
            f"{_WHOSE}: there is another family called 'yolov8'; rename this one",
        ),
    ],
)
def test_a_family_that_cannot_be_loaded_gets_one_error_that_says_whose_it_is(
    tmp_path: Path, code: str, message: str
) -> None:
    site = broken(tmp_path, code)
    model = network(tmp_path / "lab.onnx")
    done = framewire(site, "serve", model, "--listen", "127.0.0.1:0")
    assert done.returncode == 1
    assert done.stderr.startswith(f"framewire: {model}: {message}")
    assert len(done.stderr.splitlines()) == 1
