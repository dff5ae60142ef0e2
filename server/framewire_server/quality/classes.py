"""Which of a model's labels is which of a dataset's categories: by name, since numbers differ everywhere."""

from __future__ import annotations

import re
from collections.abc import Sequence

from framewire_server.models.labels import is_background

_UNUSED = re.compile(r"unused-\d+")  # what fills gaps in sparse numbering
_BETWEEN_WORDS = re.compile(r"[\s_-]+")
# Names of one thing in Pascal VOC, Darknet's coco.names, COCO and in today's spelling. Spaces do not count.
_SYNONYMS = {
    "motorbike": "motorcycle",
    "aeroplane": "airplane",
    "sofa": "couch",
    "tvmonitor": "tv",
    "television": "tv",
    "hairdryer": "hairdrier",
    "doughnut": "donut",
}


def key(name: str) -> str:
    """What two names of one class have in common: without case, spaces, hyphens, underscores and synonyms."""
    bare = _BETWEEN_WORDS.sub("", name.strip().casefold())
    return _SYNONYMS.get(bare, bare)


def categories_of(labels: Sequence[str], categories: Sequence[str]) -> tuple[int | None, ...]:
    """The index of each label's category, None for a label that has none.

    The very name goes before one that only means the same: a dataset may have both `tv` and `tvmonitor`.
    """
    same = {name.strip().casefold(): index for index, name in reversed(list(enumerate(categories)))}
    alike = {key(name): index for index, name in reversed(list(enumerate(categories)))}
    return tuple(same.get(label.strip().casefold(), alike.get(key(label))) for label in labels)


def nameable(labels: Sequence[str]) -> list[str]:
    """The labels that stand for objects, without background and fillers."""
    return [label for label in labels if not is_background(label) and not _UNUSED.fullmatch(label)]
