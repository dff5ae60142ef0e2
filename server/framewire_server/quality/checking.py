"""Runs a model as it would be served and says whether what it finds looks right."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import cv2
import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from framewire import FrameResult
from framewire.commands.draw import draw
from framewire_server.errors import ModelError
from framewire_server.models.model_file import ModelFile
from framewire_server.models.places import locate, model_file_of
from framewire_server.models.recognition import read
from framewire_server.models.spec import ModelSpec
from framewire_server.quality import goldens
from framewire_server.quality.contact_sheet import fitted, grid
from framewire_server.quality.runner import Runner
from framewire_server.quality.trial import Attempt, attempts, state
from framewire_server.quality.verdict import judge
from framewire_server.vision.decode import Picture

_MOST_ROWS = 8
_MOST_COLUMNS = 4
_TILE = 400, 300
_MOST_NAMED = 6
_MOST_DIFFERENCES = 20
_CLEARLY = 1.5


class Check:
    """One model, some pictures, and a folder for what there is to look at."""

    def __init__(self, console: Console, file: Path, pictures: Sequence[Path], output: Path) -> None:
        self._console = console
        self._file = file
        self._pictures = pictures
        self._output = output

    def run(
        self, golden: Path | None, write_golden: Path | None, try_presets: bool, choose: int | None
    ) -> bool:
        """Returns whether all looks right."""
        try:
            spec, network = read(self._file)
        except ModelError as error:
            return self._refused(error, choose)
        runner = Runner(spec, network)
        self._console.print(f"{self._file}: {spec.family}, {spec.preprocessing}")
        results = {picture: runner(picture) for picture in self._pictures}
        self._report(results)
        verdict = judge(spec, results)
        self._console.print(verdict.text)
        good = verdict.good
        answered = all(result.ok for result in results.values())
        if golden is not None:  # references know better than any rule of thumb
            good = self._compare(golden, runner) and answered
        if write_golden is not None:
            self._write_golden(write_golden, runner)
        for doubt in spec.doubts:
            self._console.print(f"in doubt: {doubt}")
        if try_presets or choose is not None or (golden is None and ((not good and answered) or spec.doubts)):
            chosen = self._try(spec, choose)
            good = good or chosen
        return good

    def _refused(self, error: Exception, choose: int | None) -> bool:
        """A model that is refused for want of its preprocessing is tried with all; another refusal is final."""
        try:
            chosen = self._try(None, choose, before=f"{error}\n")
        except ModelError:
            raise error from None
        return chosen

    def _report(self, results: Mapping[Path, FrameResult]) -> None:
        self._output.mkdir(parents=True, exist_ok=True)
        for picture, result in results.items():
            self._console.print(f"  {picture.name}: {_describe(result)}")
            pixels = _pixels(picture)
            if pixels is not None:
                cv2.imwrite(str(self._output / f"{picture.stem}.jpg"), draw(pixels, result))
        self._console.print(f"look at the boxes in {self._output}")

    def _compare(self, golden: Path, runner: Runner) -> bool:
        references = goldens.read(golden)
        least = goldens.stored_from(references.compared_from)
        compared = [
            comparison
            for picture in self._pictures
            if (comparison := references.compare(picture, runner(picture, least)))
        ]
        if not compared:
            raise OSError(f"{golden} has no references for these pictures")
        differences = [
            f"  {each.picture}: {kind} {found.label} {found.score:.3f}"
            for each in compared
            for kind, items in (("missing", each.missing), ("extra", each.extra))
            for found in items
        ]
        for line in differences[:_MOST_DIFFERENCES]:
            self._console.print(line)
        if len(differences) > _MOST_DIFFERENCES:
            self._console.print(f"  and {len(differences) - _MOST_DIFFERENCES} more differences")
        missing, extra = (sum(len(getattr(each, kind)) for each in compared) for kind in ("missing", "extra"))
        matched = sum(each.matched for each in compared)
        self._console.print(
            f"references: {matched} of {matched + missing} found, {extra} too many, on {len(compared)} pictures "
            f"(score from {references.compared_from:g}, IoU {goldens.LEAST_IOU}, scores within "
            f"{goldens.MOST_SCORE_OFF})"
        )
        return not missing and not extra

    def _write_golden(self, path: Path, runner: Runner) -> None:
        threshold = max(runner.spec.score_threshold, runner.spec.baked_score)
        least = goldens.stored_from(threshold)
        found = {picture: runner(picture, least) for picture in self._pictures}
        goldens.write(path, runner.spec.name, found, threshold)
        answered = sum(result.ok for result in found.values())
        self._console.print(f"wrote the detections of {answered} of {len(found)} pictures to {path}")

    def _try(self, now: ModelSpec | None, choose: int | None, before: str = "") -> bool:
        """Tries other ways of preparing pictures; returns whether one was chosen and written."""
        model_file = model_file_of(locate(self._file))
        decoded = {picture: _pixels(picture) for picture in self._pictures}
        shown = {picture: pixels for picture, pixels in decoded.items() if pixels is not None}
        if not shown:
            return False
        shown = dict(list(shown.items())[:_MOST_COLUMNS])
        with Progress(console=self._console, transient=True) as progress:
            task = progress.add_task("trying ways of preparing pictures")
            tried = attempts(
                self._file,
                ModelFile.of(model_file),
                list(shown),
                now,
                lambda done, of: progress.update(task, completed=done, total=of),
            )
        ranked = tried[:_MOST_ROWS]
        ranked += [attempt for attempt in tried[_MOST_ROWS:] if not attempt.keys]  # to compare with
        if before:
            self._console.print(before)
        self._console.print(_ranking(ranked))
        self._console.print(_advice(tried))
        self._console.print(
            f"look at the contact sheet {self._sheet(ranked, list(shown.values()))}, a row for each of these"
        )
        if choose is None and sys.stdin.isatty():
            choose = typer.prompt("Which row looks right? (0 for none)", type=int, default=0)
        if not choose:
            self._console.print(f"to choose row N: framewire models check {self._file} ... --choose N")
            return False
        if not 1 <= choose <= len(ranked):
            raise OSError(f"--choose {choose}: there are rows 1 to {len(ranked)}")
        keys = ranked[choose - 1].keys
        if not keys:
            self._console.print(f"row {choose} is how the model is served now: nothing to write")
            return True
        state(model_file, keys)
        self._console.print(
            f"wrote {', '.join(f'{key}: {value}' for key, value in keys.items())} to {model_file}"
        )
        return True

    def _sheet(self, ranked: Sequence[Attempt], pictures: Sequence[Picture]) -> Path:
        rows = [
            [
                fitted(draw(picture, result), *_TILE)
                for picture, result in zip(pictures, attempt.results, strict=True)
            ]
            for attempt in ranked
        ]
        captions = [f"{n}  {attempt}   ({attempt.sureness:.2f})" for n, attempt in enumerate(ranked, 1)]
        target = self._output / "contact-sheet.jpg"
        self._output.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), grid(rows, captions))
        return target


def _pixels(picture: Path) -> Picture | None:
    return cast("Picture | None", cv2.imread(str(picture), cv2.IMREAD_COLOR))


def _describe(result: FrameResult) -> str:
    if not result.ok:
        return f"{result.reason}: {result.message}"
    named = ", ".join(f"{found.label} {found.score:.2f}" for found in result.found[:_MOST_NAMED])
    more = len(result.found) - _MOST_NAMED
    return (named or "nothing found") + (f" and {more} more" if more > 0 else "")


def _advice(tried: Sequence[Attempt]) -> str:
    """What the surest way of preparing pictures means for the user."""
    best = tried[0]
    now = next((attempt for attempt in tried if not attempt.keys), None)
    if best.sureness == 0:
        return (
            f"tried {len(tried)} ways of preparing pictures: with none is anything found that stands a second look. "
            "Are there objects of the model's classes on these pictures? If so, state family or box_format"
        )
    if now is None or best.sureness > _CLEARLY * now.sureness:
        return f"tried {len(tried)} ways of preparing pictures: the surest is {best}"
    return f"tried {len(tried)} ways of preparing pictures: none is clearly surer than how it is served now"


def _ranking(ranked: Sequence[Attempt]) -> Table:
    table = Table("row", "model file", "preprocessing", "sureness", box=None, padding=(0, 2, 0, 0))
    for n, attempt in enumerate(ranked, 1):
        table.add_row(str(n), str(attempt), str(attempt.spec.preprocessing), f"{attempt.sureness:.2f}")
    return table
