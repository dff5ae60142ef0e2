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
from pathlib import Path

from framewire_server.models.recognition import recognise
from framewire_server.models.spec import ModelSpec
from tests.references import PICTURES, REFERENCES, Reference, answers, verdict

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
TARGET = ROOT / "docs/models.md"
BATCHES = (1, 3, PICTURES)

HEAD = f"""# Real models

Real networks, served as they are and asked through the SDK about {PICTURES} photographs, against the results of
independent implementations (OpenVINO, OpenCV's network module, Ultralytics' own package). A detection counts when
the reference has one of the same label with an IoU of at least 0.9 and a score within 0.02.
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
        counts = {batch: _counts(model, reference, batch, Path(folder)) for batch in batches}
    matched, total, extra = counts[1]
    stated = ", ".join(spec.signature.stated.stated()) or "nothing"
    row = f"| {reference.name} | {spec.family} | {stated} | {matched} of {total} | {extra} |"
    return row, _section(reference, spec, counts)


def _counts(model: Path, reference: Reference, batch: int, folder: Path) -> tuple[int, int, int]:
    """References found, references, detections too many."""
    found = asyncio.run(answers(model, SHARED, reference, batch))
    results = folder / "results.jsonl"
    results.write_text("\n".join(found.lines))
    said = verdict(SHARED, reference.golden, results).stdout
    numbers = re.search(r"(\d+)/(\d+) reference detections matched.*?(\d+)/\d+ of ours unmatched", said)
    if numbers is None:
        sys.exit(f"{reference.name}: the judge said {said!r}")
    return int(numbers[1]), int(numbers[2]), int(numbers[3])


def _section(reference: Reference, spec: ModelSpec, counts: dict[int, tuple[int, int, int]]) -> str:
    lines = [f"## {reference.name}", "", "| | |", "|---|---|"]
    lines += [f"| input | `{tensor}` |" for tensor in spec.signature.inputs]
    lines += [f"| output | `{tensor}` |" for tensor in spec.signature.outputs]
    lines += [f"| preprocessing | {spec.preprocessing} |"]
    lines += [f"| because | {reason} |" for reason in spec.evidence]
    lines += [f"| in doubt | {doubt} |" for doubt in spec.doubts]
    lines += [
        f"| batch {batch} | {matched} of {total} references found, {extra} too many |"
        for batch, (matched, total, extra) in counts.items()
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
