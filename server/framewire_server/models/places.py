"""Where things lie: the model of a folder, its name, its model file."""

from __future__ import annotations

import re
from pathlib import Path

from framewire_server.errors import ModelError
from framewire_server.models.stated.errors import MAY_BE

_ONNX = ".onnx"
_PLANS = (".engine", ".plan")
SUFFIXES = ", ".join(f"*{suffix}" for suffix in (_ONNX, *_PLANS))
"""What model files are called, for people."""
_ANONYMOUS = ("model", "inference")
_OF_ANY = "model.yaml"
_ANY_KEY = re.compile(rf"^(?:{'|'.join(MAY_BE)})\s*:".encode(), re.MULTILINE)
_SCHEMA = re.compile(rb"^schema\s*:", re.MULTILINE)
_MOST_BYTES = 1 << 16


def models_in(folder: Path) -> list[Path]:
    """Model files right in a folder, in order of their names; hidden ones are somebody's in the making. A plan beside
    the ONNX file of its name was made from it, for some GPU, and does not count. Raises ModelError when the folder
    cannot be looked into."""
    try:
        files = [file for file in folder.iterdir() if not is_hidden(file) and file.is_file()]
    except OSError as error:
        raise ModelError(f"{folder}: cannot be looked into: {error.strerror}") from error
    networks = [file for file in files if file.suffix.lower() == _ONNX]
    stems = {file.stem for file in networks}
    plans = [file for file in files if file.suffix.lower() in _PLANS and file.stem not in stems]
    return sorted(networks + plans)


def overlooked_plans(folder: Path) -> list[tuple[Path, Path]]:
    """Plans right in a folder that do not count, each with the ONNX file that does. Raises ModelError as `models_in`
    does."""
    networks = {path.stem: path for path in models_in(folder) if path.suffix.lower() == _ONNX}
    return [
        (path, networks[path.stem])
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in _PLANS and path.stem in networks and path.is_file() and not is_hidden(path)
    ]


def is_hidden(path: Path) -> bool:
    """Whether a file or folder is not meant to be seen: copies in progress, and what mounted volumes hide."""
    return path.name.startswith(".")


def locate(path: Path) -> Path:
    """Returns the model file that `path` means: itself or, of a folder, the one in it.

    Raises ModelError when a folder holds none or several.
    """
    if not path.is_dir():
        return path
    found = models_in(path)
    if not found:
        raise ModelError(
            f"{path}: holds no model ({SUFFIXES}); serve folders of folders with --models {path}"
        )
    if len(found) > 1:
        names = ", ".join(file.name for file in found)
        raise ModelError(
            f"{path}: holds several models ({names}); name one, or serve all with --models {path}"
        )
    return found[0]


def name_of(model: Path, *, of_folder: bool) -> str:
    """The name under which a model is served: its file's or, for model.onnx and inference.onnx that a folder
    was named for, the folder's."""
    folder = model.resolve().parent.name
    name = folder if of_folder and folder and model.stem.lower() in _ANONYMOUS else model.stem
    return name.replace("@", "-")  # in what clients ask for, @ begins the version


def model_files(model: Path) -> tuple[Path, Path]:
    """Where the model file of a model may be: NAME.yaml, and model.yaml, which counts in a folder of just it."""
    return model.with_suffix(".yaml"), model.with_name(_OF_ANY)


def model_file_of(model: Path) -> Path:
    """The model file of a model, whether or not it exists: NAME.yaml or, in a folder of just this model,
    model.yaml. Raises ModelError when there are both."""
    own, of_folder = model_files(model)
    if own == of_folder or not of_folder.is_file() or models_in(model.parent) != [model]:
        return own
    if own.is_file():
        raise ModelError(
            f"{model.parent}: {own.name} and {of_folder.name} both speak of {model.name}; leave one"
        )
    return of_folder


def misnamed(model: Path) -> tuple[str, ...]:
    """A sentence on each file that was meant for a model's model file, but is called otherwise, so that nobody reads
    it."""
    names = (f"{model.stem}.yml", f"{model.name}.yaml", f"{model.name}.yml")
    meant = [name for name in names if _holds(model.with_name(name), _ANY_KEY)]
    return tuple(f"{name} is not read; call it {model.stem}.yaml" for name in meant)


def states_nothing(model: Path) -> tuple[str, ...]:
    """A sentence on the model file of a model, if there is one, for when it states nothing."""
    own = model_file_of(model)
    return (f"{own.name} is there, but states nothing yet: edit it",) if own.is_file() else ()


def orphans(folder: Path) -> list[Path]:
    """Model files right in a folder whose model is not there."""
    models = models_in(folder)
    stems = {name for model in models for name in (model.stem, model.name)}
    if len(models) == 1:
        stems.add(Path(_OF_ANY).stem)
    return [
        path for path in sorted(folder.glob("*.yaml")) if path.stem not in stems and _holds(path, _SCHEMA)
    ]


def _holds(path: Path, key: re.Pattern[bytes]) -> bool:
    """Whether a file has a key of model files; other tools put YAML beside models, too."""
    try:
        with path.open("rb") as file:
            return bool(key.search(file.read(_MOST_BYTES)))
    except OSError:
        return False
