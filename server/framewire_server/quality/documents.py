"""What an evaluation says, for programs: one JSON document with everything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from framewire import __version__
from framewire_server.quality.accuracy import Accuracy, delta, resized
from framewire_server.quality.agreement import Agreement
from framewire_server.quality.answers import Answers

_SCHEMA = 1


def accuracy_document(result: Accuracy, images: Path) -> dict[str, Any]:
    """Everything, for programs."""
    dataset, counts = result.dataset, result.dataset.counts
    paths = [picture.path for picture in dataset.pictures]
    letters = "ab"[: len(result.models)]
    overall: dict[str, Any] = {
        letter: asdict(model.precision.overall) for letter, model in zip(letters, result.models, strict=True)
    }
    classes: list[dict[str, Any]] = [
        {"name": dataset.categories[n], "objects": counts[n]}
        | {
            letter: asdict(model.precision.classes[n])
            for letter, model in zip(letters, result.models, strict=True)
        }
        for n in result.categories
    ]
    if len(letters) == 2:
        overall["delta"] = {name: delta([overall["a"][name], overall["b"][name]]) for name in overall["a"]}
        for item in classes:
            item["delta_ap"] = delta([item["a"]["ap"], item["b"]["ap"]])
    return {
        **_head("accuracy", images, len(paths)),
        "data": str(dataset.source),
        "missing": list(dataset.missing),
        "objects": sum(counts[n] for n in result.categories),
        "crowds": sum(item.crowd for item in dataset.objects),
        "not_scored": [{"name": dataset.categories[n], "objects": counts[n]} for n in result.left_out],
        "models": [
            _model(model.answers, paths)
            | {
                "labels_without_category": list(model.unmatched_labels),
                "of_other_size": [str(paths[n]) for n in resized(dataset, model.answers)],
            }
            for model in result.models
        ],
        "overall": overall,
        "classes": classes,
    }


def agreement_document(
    result: Agreement, a: Answers, b: Answers, pictures: Sequence[Path], images: Path
) -> dict[str, Any]:
    """Everything, for programs."""
    return {
        **_head("agreement", images, len(pictures)),
        "compared": result.pictures,
        "models": [_model(model, pictures) for model in (a, b)],
        "overall": {
            "a_found": result.found_a.total(),
            "b_found": result.found_b.total(),
            "both": result.pairs.total(),
            "share_of_a": result.share_of_a,
            "share_of_b": result.share_of_b,
            "mean_iou": result.mean_iou,
            "mean_score_difference": result.mean_score_difference,
            "greatest_score_difference": result.greatest_score_difference,
        },
        "classes": [
            {"name": name, "a_found": result.found_a[name], "b_found": result.found_b[name],
             "both": result.pairs[name]}
            for name in result.classes
        ],
    }  # fmt: skip


def _head(kind: str, images: Path, pictures: int) -> dict[str, Any]:
    return {
        "schema": _SCHEMA,
        "kind": kind,
        "framewire": __version__,
        "images": str(images),
        "pictures": pictures,
    }


def _model(model: Answers, pictures: Sequence[Path]) -> dict[str, Any]:
    options = model.options
    return {
        "asked": model.asked,
        "model": model.model,
        "version": model.version,
        "labels": list(model.labels),
        "score_threshold": options.score_threshold,
        "iou_threshold": options.iou_threshold,
        "max_detections": options.max_detections,
        "not_answered": [{"picture": str(pictures[n]), "reason": text} for n, text in model.failed.items()],
    }
