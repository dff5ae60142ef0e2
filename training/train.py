"""Trains the demo detector on generated scenes, exports it to ONNX and records its figures.

python -m training.train --out server/framewire_server/demo/detector.onnx
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import math
import platform
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import torch
from torch import nn

from training.data import INPUT_HEIGHT, INPUT_WIDTH, batches, load_set
from training.evaluate import open_session, score
from training.export import TOLERANCE, export_onnx, largest_difference
from training.loss import detection_loss, pad_boxes
from training.network import Detector
from training.sprites import NAMES

VALIDATION_SEED, VALIDATION_PICTURES = 1000, 500


@dataclass(frozen=True)
class Plan:
    """Training settings; all that the result depends on, with the library versions."""

    seed: int
    epochs: int
    pictures: int
    batch: int
    rate: float
    decay: float = 0.03
    warmup: int = 200  # steps


def learning_rate(plan: Plan, step: int, steps: int) -> float:
    """Linear warm-up, then a cosine down to 1 % of the peak."""
    if step < plan.warmup:
        return plan.rate * (step + 1) / plan.warmup
    done = (step - plan.warmup) / max(steps - plan.warmup, 1)
    return plan.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def make_optimizer(model: Detector, plan: Plan) -> torch.optim.Optimizer:
    """AdamW with weight decay on weights alone, not on biases and norms."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": plan.decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=plan.rate)


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, step: int) -> None:
    """Moves the averaged weights towards the current ones; early steps are forgotten quickly."""
    keep = min(0.998, (1 + step) / (10 + step))
    for mean, value in zip(average.state_dict().values(), model.state_dict().values(), strict=True):
        if mean.dtype.is_floating_point:
            mean.lerp_(value, 1 - keep)
        else:
            mean.copy_(value)


def train(plan: Plan, cache: Path, out: Path, workers: int) -> Detector:
    """Trains and returns the averaged model; exports and scores it at every quarter of the way."""
    torch.manual_seed(plan.seed)
    pictures, boxes = load_set(cache, plan.seed, plan.pictures, workers)
    model = Detector(len(NAMES), (INPUT_HEIGHT, INPUT_WIDTH))
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # absent from torch's stubs
    average = copy.deepcopy(model)
    optimizer = make_optimizer(model, plan)
    rng = np.random.default_rng([plan.seed, 1])
    per_epoch, step, started = plan.pictures // plan.batch, 0, time.monotonic()
    for epoch in range(plan.epochs):
        strength = 1.0 if epoch < 0.8 * plan.epochs else 0.35
        running = 0.0
        for stack, rows in batches(rng, pictures, boxes, plan.batch, strength):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(plan, step, per_epoch * plan.epochs)
            running += train_step(model, optimizer, stack, rows)
            follow(average, model, step)
            step += 1
        print(
            f"epoch {epoch + 1}/{plan.epochs} loss {running / per_epoch:.3f} {time.monotonic() - started:.0f} s",
            flush=True,
        )
        if (epoch + 1) % max(plan.epochs // 4, 1) == 0 and epoch + 1 < plan.epochs:
            export_onnx(average, out, NAMES)
            print(json.dumps(validate(cache, out, workers)), flush=True)
    return average


def train_step(model: Detector, optimizer: torch.optim.Optimizer, stack: Any, rows: list[Any]) -> float:
    """One optimisation step on a batch of (N, H, W, 3) uint8 pictures; returns the loss."""
    images = torch.from_numpy(stack).permute(0, 3, 1, 2).float().div_(255)
    truth, valid = pad_boxes(rows)
    loss = detection_loss(model, images, truth, valid)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(model.parameters(), 10.0)
    optimizer.step()
    return float(loss.detach())


def validate(cache: Path, path: Path, workers: int) -> dict[str, Any]:
    """COCO figures on the held-out set, whose pictures share no seed with the training set."""
    pictures, boxes = load_set(cache, VALIDATION_SEED, VALIDATION_PICTURES, workers)
    return score(path, pictures, boxes, NAMES)


def milliseconds(path: Path, repeats: int = 200) -> float:
    """Median time of one picture through the model on one thread."""
    session = open_session(path)
    images = np.zeros((1, 3, INPUT_HEIGHT, INPUT_WIDTH), np.float32)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        session.run(None, {"images": images})
        times.append(time.perf_counter() - start)
    return round(float(np.median(times)) * 1e3, 2)


def make_record(
    plan: Plan, model: Detector, out: Path, figures: dict[str, Any], minutes: float
) -> dict[str, Any]:
    """Everything needed to trust and repeat the result."""
    difference = largest_difference(model, out, plan.seed)
    if difference > TOLERANCE:
        raise SystemExit(f"the exported model differs from torch by {difference}")
    return {
        "figures": figures,
        "validation_seed": VALIDATION_SEED,
        "plan": asdict(plan),
        "names": list(NAMES),
        "parameters": sum(p.numel() for p in model.parameters()),
        "onnx_bytes": out.stat().st_size,
        "onnx_sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
        "largest_difference_to_torch": difference,
        "milliseconds_per_picture_one_thread": milliseconds(out),
        "training_minutes": round(minutes, 1),
        "machine": f"{platform.machine()} CPU, {torch.get_num_threads()} threads",
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "opencv": cv2.__version__,
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    }


def main() -> None:
    """Command line."""
    here, temporary = Path(__file__).parent, Path(tempfile.gettempdir())
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="ONNX file to write")
    parser.add_argument("--record", type=Path, default=here / "record.json")
    parser.add_argument("--cache", type=Path, default=temporary / "framewire-scenes")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--epochs", type=int, default=18)
    parser.add_argument("--pictures", type=int, default=4600)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--rate", type=float, default=3e-3, help="peak learning rate")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    plan = Plan(options.seed, options.epochs, options.pictures, options.batch, options.rate)
    load_set(options.cache, plan.seed, plan.pictures, options.threads)
    started = time.monotonic()
    model = train(plan, options.cache, options.out, options.threads)
    minutes = (time.monotonic() - started) / 60
    export_onnx(model, options.out, NAMES)
    figures = validate(options.cache, options.out, options.threads)
    record = make_record(plan, model, options.out, figures, minutes)
    options.record.write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(record, indent=2))
    print(f"final mAP@[.5:.95] {figures['map_50_95']:.4f}  mAP@.5 {figures['map_50']:.4f}")


if __name__ == "__main__":
    main()
