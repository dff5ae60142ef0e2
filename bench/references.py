"""Makes docs/models.md: every real model through server and SDK, against independent reference results.

    python -m bench.references            prints it
    python -m bench.references --write    writes docs/models.md

Needs the folder `shared` of models, photographs and references beside the checkout.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from framewire_server.models.recognition import recognise
from framewire_server.models.spec import ModelSpec
from tests.references import IN_VIDEO, PICTURES, REFERENCES, VIDEO, Reference, answers, verdict, video_answers

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
TARGET = ROOT / "docs/models.md"
BATCHES = (1, 3, PICTURES)


class Counts(NamedTuple):
    """What the judge said."""

    matched: int
    references: int
    extra: int


HEAD = f"""# Real models

Real networks, served as they are and asked through the SDK about {PICTURES} photographs (some about 47 frames of a
clip, too), against the results of independent implementations (OpenVINO, OpenCV's network module, Ultralytics' own
package). A detection counts when the reference has one of the same label with an IoU of at least 0.9 and a score
within 0.02.
Made by `python -m bench.references --write` on a CPU with ONNX Runtime; nothing here has run on a GPU.

| model | family | stated in a model file | references found | too many |
|---|---|---|---|---|
"""


def main() -> None:
    """Measures all models and prints or writes the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help=f"write {TARGET.relative_to(ROOT)}")
    wanted = parser.parse_args()
    if not SHARED.is_dir():
        sys.exit(f"{SHARED} is missing: real models and photographs are not part of the project")
    rows, sections = [], []
    for reference in REFERENCES:
        row, section = _measure(reference)
        print(row, file=sys.stderr)
        rows.append(row)
        sections.append(section)
    page = HEAD + "\n".join(rows) + "\n\n" + "\n".join(sections)
    if wanted.write:
        TARGET.write_text(page)
    else:
        print(page)


def _measure(reference: Reference) -> tuple[str, str]:
    with tempfile.TemporaryDirectory() as folder:
        model = reference.install(SHARED, Path(folder))
        spec = recognise(model)
        image = spec.signature.image
        batches = (1,) if image is not None and image.shape[0] == 1 else BATCHES
        found = {f"batch {batch}": _photographs(model, reference, batch, Path(folder)) for batch in batches}
        if reference in IN_VIDEO:
            found["clip"] = _clip(model, reference, Path(folder))
    matched, total, extra = found["batch 1"]
    stated = ", ".join(spec.signature.stated.stated()) or "nothing"
    row = f"| {reference.name} | {spec.family} | {stated} | {matched} of {total} | {extra} |"
    return row, _section(reference, spec, found)


def _photographs(model: Path, reference: Reference, batch: int, folder: Path) -> Counts:
    found = asyncio.run(answers(model, SHARED, reference, batch))
    return _judge(found.lines, SHARED / "data/goldens" / reference.golden, folder)


def _clip(model: Path, reference: Reference, folder: Path) -> Counts:
    lines, references = asyncio.run(video_answers(model, SHARED, VIDEO + reference.golden))
    golden = folder / "golden.json"
    golden.write_text(references)
    return _judge(lines, golden, folder)


def _judge(lines: Sequence[str], golden: Path, folder: Path) -> Counts:
    results = folder / "results.jsonl"
    results.write_text("\n".join(lines))
    said = verdict(SHARED, golden, results).stdout
    numbers = re.search(r"(\d+)/(\d+) reference detections matched.*?(\d+)/\d+ of ours unmatched", said)
    if numbers is None:
        sys.exit(f"{golden}: the judge said {said!r}")
    return Counts(*map(int, numbers.groups()))


def _section(reference: Reference, spec: ModelSpec, found: dict[str, Counts]) -> str:
    lines = [f"## {reference.name}", "", "| | |", "|---|---|"]
    lines += [f"| input | `{tensor}` |" for tensor in spec.signature.inputs]
    lines += [f"| output | `{tensor}` |" for tensor in spec.signature.outputs]
    lines += [f"| preprocessing | {spec.preprocessing} |"]
    lines += [f"| because | {reason} |" for reason in spec.evidence]
    lines += [f"| in doubt | {doubt} |" for doubt in spec.doubts]
    lines += [
        f"| {what} | {matched} of {total} references found, {extra} too many |"
        for what, (matched, total, extra) in found.items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
