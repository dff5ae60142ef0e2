"""Pictures and what is in them: a COCO JSON file or a folder of YOLO text files, read into one form."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from framewire_server.errors import OperatorError

_MOST_NAMED = 5


class DatasetError(OperatorError):
    """A dataset cannot be used; `str()` says where it is wrong."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a dataset."""

    path: Path
    width: int = 0
    """Width of the upright picture in pixels; 0 when the dataset does not say."""
    height: int = 0
    """Height of the upright picture in pixels; 0 when the dataset does not say."""


@dataclass(frozen=True, slots=True)
class Object:
    """One annotated object."""

    picture: int
    """Index into the dataset's pictures."""
    category: int
    """Index into the dataset's categories."""
    box: tuple[float, float, float, float]
    """Left, top, width, height in pixels of the picture."""
    area: float
    """Square pixels, of the outline where the dataset has one; decides between small, medium and large."""
    crowd: bool = False
    """A region of many objects: detections in it count neither for nor against a model."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Pictures, their objects, and the names of the objects' categories."""

    source: Path
    pictures: tuple[Picture, ...]
    categories: tuple[str, ...]
    objects: tuple[Object, ...]
    missing: tuple[str, ...] = ()
    """Names of the dataset's pictures that are not there; they and their objects are left out."""

    @property
    def counts(self) -> Counter[int]:
        """Objects by category, without crowds."""
        return Counter(item.category for item in self.objects if not item.crowd)


def read(data: Path, images: Path) -> Dataset:
    """Reads a COCO JSON file, or a folder of YOLO text files; the pictures are those below `images`.

    Pictures that are missing are left out and named in the result. Raises DatasetError.
    """
    from framewire_server.quality import coco, yolo  # they need the types above

    check_folder(images)
    if data.is_dir():
        dataset = yolo.read(data, images)
    elif not data.exists():
        raise DatasetError(f"{data}: no such file or folder")
    elif data.suffix.lower() == ".json":
        dataset = coco.read(data, images)
    else:
        raise DatasetError(
            f"{data}: a dataset is a COCO JSON file, or a folder of YOLO text files (one for each picture)"
        )
    if not dataset.pictures:
        missing = dataset.missing
        raise DatasetError(
            f"{data}: none of its {len(missing)} pictures lies in {images} ({first_of(missing)})"
        )
    if not dataset.counts:
        raise DatasetError(
            f"{data}: has no annotated objects in the pictures of {images}, so there is nothing to score "
            "against; without --data, --against MODEL says how far two models agree"
        )
    return dataset


def check_folder(images: Path) -> None:
    """Raises DatasetError when `images` is no folder."""
    if not images.is_dir():
        raise DatasetError(f"{images}: {'is no folder' if images.exists() else 'no such folder'}")


def without_missing(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """Leaves out the pictures that do not exist, with their objects; `names` are what to call them."""
    there = [picture.path.is_file() for picture in dataset.pictures]
    new_index = {old: new for new, old in enumerate(n for n, is_there in enumerate(there) if is_there)}
    return replace(
        dataset,
        pictures=tuple(dataset.pictures[n] for n in new_index),
        objects=tuple(
            replace(item, picture=new_index[item.picture])
            for item in dataset.objects
            if item.picture in new_index
        ),
        missing=tuple(name for name, is_there in zip(names, there, strict=True) if not is_there),
    )


def first_of(names: Sequence[str]) -> str:
    """The first few of many names, for a message."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
