"""Runs a model as it would be served and says whether what it finds looks right."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console

from framewire import FrameResult
from framewire.commands.outputs import Annotated, Origin
from framewire_server.errors import ModelError
from framewire_server.models.network.formats import is_plan, network_of_plan
from framewire_server.models.places import locate
from framewire_server.models.recognition import read
from framewire_server.quality import goldens
from framewire_server.quality.choosing import Choice
from framewire_server.quality.runner import Runner
from framewire_server.quality.verdict import judge
from framewire_server.vision.decode import Picture

_MOST_NAMED = 6
_MOST_DIFFERENCES = 20


class Check:
    """One model, some pictures, and a folder for what there is to look at."""

    def __init__(self, console: Console, file: Path, pictures: Sequence[Path], output: Path) -> None:
        self._console = console
        self._file = file
        self._pictures = pictures
        self._output = output
        self._choice = Choice(console, file, output)

    def run(
        self,
        *,
        references: goldens.Golden | None = None,
        write_golden: Path | None = None,
        try_others: bool = False,
        choose: str | None = None,
    ) -> bool:
        """Returns whether all looks right: as the references if there are any, otherwise by rules of thumb."""
        _refuse_plans(self._file)
        if choose is not None:
            self._choice.write(choose)
        try:
            spec, network = read(self._file)
        except ModelError as error:
            return self._refused(error)
        runner = Runner(spec, network)
        self._console.print(f"{self._file}: {spec.family}, {spec.preprocessing}")
        results = {picture: runner(picture) for picture in self._pictures}
        self._report(results)
        verdict = judge(spec, results)
        answered = all(result.ok for result in results.values())
        good = verdict.good
        if references is not None:
            good = self._compare(references, runner) and answered
        else:
            self._console.print(verdict.text)
        if write_golden is not None:
            self._write_golden(write_golden, runner)
        for doubt in spec.doubts:
            self._console.print(f"in doubt: {doubt}")
        if try_others or (references is None and ((not good and answered) or spec.doubts)):
            good = self._choice.offer(self._decoded(), spec, spec.doubts) or good
        return good

    def _refused(self, error: ModelError) -> bool:
        """A model that is refused for want of its preprocessing is tried with all; another refusal is final."""
        pictures = self._decoded()
        if not pictures:
            raise error
        try:
            return self._choice.offer(pictures, None, (str(error),), before=str(error))
        except ModelError:
            raise error from None

    def _decoded(self) -> dict[Path, Picture]:
        """The pictures that can be read, uint8 [h, w, 3] BGR."""
        read_all = {path: cv2.imread(str(path), cv2.IMREAD_COLOR) for path in self._pictures}
        return {path: pixels.astype(np.uint8) for path, pixels in read_all.items() if pixels is not None}

    def _report(self, results: Mapping[Path, FrameResult]) -> None:
        annotated = Annotated(self._output, single=False)
        for picture, result in results.items():
            self._console.print(f"  {picture.name}: {_describe(result)}")
            annotated.write(result, Origin(picture, None, None))
        self._console.print(f"look at the boxes in {self._output}")

    def _compare(self, references: goldens.Golden, runner: Runner) -> bool:
        least = goldens.stored_from(references.compared_from)
        compared = [
            comparison
            for picture in self._pictures
            if (comparison := references.compare(picture, runner(picture, least)))
        ]
        if not compared:
            raise ModelError("there are no references for these pictures")
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
            f"references: {matched} of {matched + missing} found, {extra} too many, on {len(compared)} of "
            f"{len(self._pictures)} pictures (score from {references.compared_from:g}, IoU {goldens.LEAST_IOU}, "
            f"scores within {goldens.MOST_SCORE_OFF})"
        )
        return not missing and not extra

    def _write_golden(self, path: Path, runner: Runner) -> None:
        threshold = max(runner.spec.score_threshold, runner.spec.baked_score)
        least = goldens.stored_from(threshold)
        found = {picture: runner(picture, least) for picture in self._pictures}
        goldens.write(path, runner.spec.name, found, threshold)
        answered = sum(result.ok for result in found.values())
        self._console.print(f"wrote the detections of {answered} of {len(found)} pictures to {path}")


def _refuse_plans(file: Path) -> None:
    path = locate(file)
    if is_plan(path):
        network = network_of_plan(path)
        raise ModelError(
            f"{path}: is a TensorRT plan, and models check runs ONNX files: check {network}.onnx. Plans run, on the "
            f"GPU that they were built for, with\n    framewire detect {path} IMAGE...\n    framewire eval {path} "
            f"--against {network}.onnx --images DIR"
        )


def _describe(result: FrameResult) -> str:
    if not result.ok:
        return f"{result.reason}: {result.message}"
    named = ", ".join(f"{found.label} {found.score:.2f}" for found in result.found[:_MOST_NAMED])
    more = len(result.found) - _MOST_NAMED
    return (named or "nothing found") + (f" and {more} more" if more > 0 else "")
