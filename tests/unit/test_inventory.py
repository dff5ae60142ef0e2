"""Which files make up a model, and what each model of a folder is called while it changes."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from framewire_server.errors import ModelError
from framewire_server.lifecycle.inventory import Inventory, Sighting
from framewire_server.models import files
from framewire_server.models.recognition import recognise
from tests.unit import onnx_models

PETS = {"names": "{0: 'cat', 1: 'dog'}", "stride": "32", "task": "detect"}


def seen(folder: Path, known: dict[str, Sighting] | None = None, **stated: Path) -> dict[str, Sighting]:
    return Inventory().take(folder, known or {}, stated)


def with_data_outside(path: Path) -> Path:
    model = onnx.load(onnx_models.yolov8(path, metadata=PETS))
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)
    return path.with_name(f"{path.name}.data")


def test_the_digest_of_a_model_alone_is_that_of_its_file(tmp_path: Path) -> None:
    path = onnx_models.yolov8(tmp_path / "street.onnx", metadata=PETS)
    assert files.digest(path) == files.content_digest(path)
    assert recognise(path).version == files.version(files.digest(path))


@pytest.mark.parametrize(
    "name",
    ["street.yaml", "model.yaml", "street.labels.txt", "street.txt", "street.names", "labels.txt", "infer_cfg.yml",
     "street.pbtxt", "label_map.pbtxt", "config.json", "preprocessor_config.json"],
)  # fmt: skip
def test_files_that_say_how_to_serve_it_belong_to_a_model(tmp_path: Path, name: str) -> None:
    path = onnx_models.yolov8(tmp_path / "street.onnx", metadata=PETS)
    alone = files.digest(path)
    (tmp_path / name).write_text("one")
    assert files.companions(path) == (tmp_path / name,)
    one = files.digest(path)
    (tmp_path / name).write_text("two")
    assert len({alone, one, files.digest(path)}) == 3


def test_so_do_files_that_those_name(tmp_path: Path) -> None:
    path = onnx_models.yolov8(tmp_path / "street.onnx", metadata=PETS)
    (tmp_path / "street.yaml").write_text("schema: 1\nlabels: animals.list\n")
    (tmp_path / "animals.list").write_text("cat\ndog\n")
    (tmp_path / "config_infer_primary.txt").write_text(
        "[property]\nonnx-file=street.onnx\nlabelfile-path=names.lst\n"
    )
    (tmp_path / "names.lst").write_text("cat\ndog\n")
    (tmp_path / "street.cfg").write_text("[net]\nwidth=32\n")
    assert [file.name for file in files.companions(path)] == [
        "animals.list", "config_infer_primary.txt", "names.lst", "street.cfg", "street.yaml"
    ]  # fmt: skip


def test_others_do_not(tmp_path: Path) -> None:
    path = onnx_models.yolov8(tmp_path / "street.onnx", metadata=PETS)
    for name in (
        "aisle.yaml",
        "aisle.labels.txt",
        "README.md",
        "config_infer_aisle.txt",
        "notes.txt",
        ".street.yaml",
    ):
        (tmp_path / name).write_text("[property]\nonnx-file=aisle.onnx\n")
    assert files.companions(path) == ()


def test_weights_outside_of_the_file_count_and_those_elsewhere_do_not(tmp_path: Path) -> None:
    path = tmp_path / "street.onnx"
    data = with_data_outside(path)
    inventory = Inventory()
    sighting = inventory.sight(inventory.take(tmp_path, {}, {})["street"].found)
    assert sighting.weights_bytes == path.stat().st_size + data.stat().st_size
    assert recognise(path).version == files.version(inventory.digest(sighting))
    before = inventory.digest(sighting)
    data.write_bytes(bytes(data.stat().st_size))
    after = inventory.sight(sighting.found)
    assert after != sighting and inventory.digest(after) != before
    model = onnx.load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../other/secret"
    path.write_bytes(model.SerializeToString())
    (stamp,) = inventory.sight(sighting.found).stamps
    assert stamp.path == path


def test_what_is_being_copied_is_read_when_it_was_the_same_twice(tmp_path: Path) -> None:
    data = with_data_outside(tmp_path / "street.onnx")
    inventory = Inventory()
    first, second = (inventory.take(tmp_path, {}, {})["street"] for _ in range(2))
    assert data not in {stamp.path for stamp in first.stamps}
    assert data in {stamp.path for stamp in second.stamps}
    assert inventory.take(tmp_path, {}, {})["street"] == second


def test_hidden_files_and_folders_are_nobodys(tmp_path: Path) -> None:
    for name in (".street.onnx", "._street.onnx", "street.onnx.part", "..data/street.onnx", "street.onnx~"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert seen(tmp_path) == {}


def test_a_name_is_kept_and_is_free_when_its_file_is_gone(tmp_path: Path) -> None:
    for name in ("b", "a"):
        (tmp_path / name).mkdir()
    (tmp_path / "b/street.onnx").touch()
    known = seen(tmp_path)
    (tmp_path / "a/street.onnx").touch()
    now = seen(tmp_path, known)
    assert now["street"] == known["street"]
    assert now["street-2"].found.path == tmp_path / "a/street.onnx"
    assert now["street-2"].found.failure.endswith("rename one")
    (tmp_path / "b/street.onnx").unlink()
    assert seen(tmp_path, {"street-2": now["street-2"]}).keys() == {"street"}


def test_a_name_made_up_is_no_others(tmp_path: Path) -> None:
    for name in ("a/street.onnx", "b/street.onnx", "street-2.onnx"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    now = seen(tmp_path)
    assert {name: sighting.found.failure == "" for name, sighting in now.items()} == {
        "street": True,
        "street-2": True,
        "street-3": False,
    }


def test_names_of_the_operator_are_no_others_and_links_to_one_file_are_two_models(tmp_path: Path) -> None:
    folder = tmp_path / "models"
    folder.mkdir()
    elsewhere = tmp_path / "street.onnx"
    elsewhere.touch()
    (folder / "street.onnx").touch()
    (folder / "aisle.onnx").symlink_to("street.onnx")
    now = seen(folder, None, street=elsewhere)
    assert now.keys() == {"street-2", "aisle"}
    now = seen(folder, None, street=folder / "../models/street.onnx")
    assert {sighting.found.name for sighting in now.values()} == {"street"}


def test_a_folder_that_cannot_be_looked_into_tells_nothing_of_its_models(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pets").mkdir()
    (tmp_path / "pets/model.onnx").touch()
    known = seen(tmp_path)
    real = Path.iterdir

    def closed(path: Path) -> object:
        if path.name == "pets":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(Path, "iterdir", closed)
    assert seen(tmp_path)["pets"].found.failure.endswith("cannot be looked into: Permission denied")
    assert seen(tmp_path, known) == known
    known = {"left": known["pets"], "right": known["pets"]}
    assert seen(tmp_path, known) == known
    with pytest.raises(ModelError, match="is no folder"):
        seen(tmp_path / "gone")
