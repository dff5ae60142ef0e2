"""Rows of a table that outlive the process that found them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_WIDEST = 48


class Row(NamedTuple):
    """One finding."""

    what: str
    figure: str
    note: str = ""


class Table:
    """Appends rows to a file as they are found, and prints them."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def add(self, what: str, figure: str, note: str = "") -> None:
        """Adds a row."""
        row = Row(what, figure, note)
        with self._file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{what}: {figure}{f' ({note})' if note else ''}", flush=True)


def read(file: Path) -> list[Row]:
    """The rows of a file, none if there is no file."""
    if not file.is_file():
        return []
    return [Row(*json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]


def text(rows: Sequence[Row]) -> str:
    """The rows below each other; a figure that is a sentence pushes its note aside, and no other row's."""
    widths = [max((len(row[n]) for row in rows if len(row[n]) <= _WIDEST), default=0) for n in (0, 1)]
    return "\n".join(
        f"{what:<{widths[0]}}  {figure:<{widths[1]}}  {note}".rstrip() for what, figure, note in rows
    )
