"""Has a person choose how pictures are prepared: a table and a contact sheet of ways, surest first."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import typer
import yaml
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from framewire.commands.draw import draw
from framewire_server.errors import ModelError
from framewire_server.models.places import locate, model_file_of
from framewire_server.models.spec import ModelSpec
from framewire_server.models.stated.model_file import ModelFile
from framewire_server.quality.contact_sheet import fitted, grid
from framewire_server.quality.trial import PREPARATION, Attempt, attempts, proposed, state
from framewire_server.vision.decode import Picture

_MOST_ROWS = 8
_MOST_COLUMNS = 4
_MOST_PICTURES = 8
_TILE = 400, 300
_CLEARLY = 1.5
"""A way is clearly surer than another from this ratio on: nearly equal ways of resizing differ by less."""
_LEAST_EVIDENCE = 3.0
"""Sureness, summed over the pictures, from which a ranking means something: three objects found for certain."""


class Choice:
    """The ways of preparing pictures for one model."""

    def __init__(self, console: Console, model: Path, output: Path) -> None:
        """`output` is the folder for the contact sheet."""
        self._console = console
        self._model = model
        self._model_file = model_file_of(locate(model))
        self._output = output

    def offer(
        self, pictures: Mapping[Path, Picture], now: ModelSpec | None, advice: Sequence[str], before: str = ""
    ) -> bool:
        """Tries ways of preparing pictures, shows them after the text `before`, and asks a person if there is one.
        Returns whether one was chosen. Raises ModelError when none can be tried."""
        shown = _spread(list(pictures), _MOST_PICTURES)
        with Progress(console=self._console, transient=True) as progress:
            task = progress.add_task("trying ways of preparing pictures")
            tried = attempts(
                self._model,
                ModelFile.of(self._model_file),
                shown,
                now,
                advice,
                lambda done, of: progress.update(task, completed=done, total=of),
            )
        compared = [{}, *(keys for sentence in advice for keys in proposed(sentence))]
        ranked = tried[:_MOST_ROWS] + [attempt for attempt in tried[_MOST_ROWS:] if attempt.keys in compared]
        if before:
            self._console.print(before)
        some = f"{len(shown)} of {len(pictures)} pictures" if len(shown) < len(pictures) else "all pictures"
        self._console.print(f"tried {len(tried)} ways of preparing pictures on {some}, surest first")
        self._console.print(_table(ranked))
        self._console.print(
            "sureness: squared scores of what is found again where a picture is small and mirrored; compare it only "
            "within this table"
        )
        self._console.print(_verdict(tried, len(shown)))
        sheet = self._sheet(ranked, [pictures[path] for path in shown[:_MOST_COLUMNS]])
        self._console.print(f"look at {sheet}, which has a row for each of these")
        return self._ask(ranked)

    def write(self, text: str) -> None:
        """Writes a row's words, as in `preset: yolox`, to the model file. Raises ModelError when they are none."""
        try:
            keys = yaml.safe_load("{" + text + "}")
        except yaml.YAMLError:
            keys = None
        if not isinstance(keys, dict) or not keys or not set(keys) <= set(PREPARATION):
            raise ModelError(
                f"--choose {text}: is what a row of the table says, for example --choose 'preset: yolox'; keys are "
                + ", ".join(PREPARATION)
            )
        state(self._model_file, keys)
        self._console.print(f"wrote {text} to {self._model_file}")

    def _ask(self, ranked: Sequence[Attempt]) -> bool:
        if not sys.stdin.isatty():
            example = next(str(attempt) for attempt in ranked if attempt.keys)
            self._console.print(f"to choose one, add its words: --choose '{example}'")
            return False
        row: int = typer.prompt("Which row looks right? (0 for none)", type=int, default=0)
        if not 1 <= row <= len(ranked):
            return False
        if ranked[row - 1].keys:
            self.write(str(ranked[row - 1]))
        return True

    def _sheet(self, ranked: Sequence[Attempt], pictures: Sequence[Picture]) -> Path:
        rows = [
            [
                fitted(draw(picture, result), *_TILE)
                for picture, result in zip(pictures, attempt.results, strict=False)
            ]
            for attempt in ranked
        ]
        captions = [f"{n}  {attempt}   ({attempt.sureness:.2f})" for n, attempt in enumerate(ranked, 1)]
        target = self._output / "contact-sheet.jpg"
        self._output.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), grid(rows, captions))
        return target


def _spread(paths: list[Path], most: int) -> list[Path]:
    """At most so many, from all over the list."""
    if len(paths) <= most:
        return paths
    return [paths[n * len(paths) // most] for n in range(most)]


def _verdict(tried: Sequence[Attempt], pictures: int) -> str:
    """What the ranking on so many pictures means for the user."""
    best = tried[0].sureness
    if best == 0:
        return (
            "with none is anything found that stands a second look: are there objects of the model's classes on these "
            "pictures? If so, family or box_format may be wrong"
        )
    if best * pictures < _LEAST_EVIDENCE:
        return "too little is found to tell: give pictures with more objects of the model's classes"
    close = [attempt for attempt in tried if attempt.sureness * _CLEARLY >= best]
    if any(not attempt.keys for attempt in close):
        return "none is clearly surer than how it is served now"
    if len(close) == 1:
        return f"clearly the surest is {tried[0]}"
    return f"rows 1 to {len(close)} are about equally sure: compare their boxes, or give more pictures"


def _table(ranked: Sequence[Attempt]) -> Table:
    table = Table("row", "model file", "preprocessing", "sureness", box=None, padding=(0, 2, 0, 0))
    for n, attempt in enumerate(ranked, 1):
        table.add_row(str(n), str(attempt), str(attempt.spec.preprocessing), f"{attempt.sureness:.2f}")
    return table
