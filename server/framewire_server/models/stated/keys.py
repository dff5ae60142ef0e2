"""Which keys of a model file a family looks at: a key that it does not changes nothing."""

from __future__ import annotations

from typing import Any

from framewire_server.models.stated.model_file import ModelFile

_FOR_FAMILIES = (
    "box_format", "box_units", "score_activation", "background", "anchors", "masks", "strides", "scale_x_y",
    "new_coords",
)  # fmt: skip
"""Keys that nobody but a family reads, save for `background`, which says how labels count, too."""
_NOTHING = ", which means nothing to family {}"
_BACKGROUND = ": family {} does not look at it, it only says how labels count"


class Watched(ModelFile):
    """A model file that remembers which of its keys it was asked for."""

    _asked: set[str] = set()  # noqa: RUF012  # pydantic gives each its own

    def __getattribute__(self, name: str) -> Any:
        if name in _FOR_FAMILIES:
            self._asked.add(name)
        elif name == "model_dump":  # of all at once
            self._asked.update(_FOR_FAMILIES)
        return super().__getattribute__(name)

    @classmethod
    def over(cls, stated: ModelFile) -> Watched:
        """The same, watched."""
        return cls.model_construct(stated.model_fields_set, **dict(stated))

    def unread(self, family: str) -> tuple[str, ...]:
        """A warning for each key that is stated and that `family`, asked with this, did not look at."""
        stated = [key for key, value in self if value is not None and key in _FOR_FAMILIES]
        return tuple(
            f"the model file states {key}" + (_BACKGROUND if key == "background" else _NOTHING).format(family)
            for key in stated
            if key not in self._asked
        )
