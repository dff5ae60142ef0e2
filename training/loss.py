"""Task-aligned label assignment and the training loss."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from training.network import BINS, Detector

CANDIDATES = 9  # cells per object that learn it
SCORE_POWER, OVERLAP_POWER = 0.5, 5.0
SCORE_WEIGHT, BOX_WEIGHT, BINS_WEIGHT = 1.0, 5.0, 1.0


def pad_boxes(boxes: list[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """Boxes of a batch as (N, M, 5) rows of class, left, top, right, bottom, and a mask (N, M)."""
    most = max(1, *(len(b) for b in boxes))
    padded, valid = torch.zeros(len(boxes), most, 5), torch.zeros(len(boxes), most, dtype=torch.bool)
    for index, rows in enumerate(boxes):
        padded[index, : len(rows)] = torch.from_numpy(rows)
        valid[index, : len(rows)] = True
    return padded, valid


def overlap(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU of broadcastable corner boxes (..., 4)."""
    low, high = torch.maximum(first[..., :2], second[..., :2]), torch.minimum(first[..., 2:], second[..., 2:])
    inner = (high - low).clamp(min=0).prod(-1)
    areas = [(box[..., 2:] - box[..., :2]).clamp(min=0).prod(-1) for box in (first, second)]
    union = areas[0] + areas[1] - inner + 1e-6
    hull = torch.maximum(first[..., 2:], second[..., 2:]) - torch.minimum(first[..., :2], second[..., :2])
    around = hull.clamp(min=0).prod(-1) + 1e-6
    iou = inner / union
    return iou, iou - (around - union) / around


@torch.no_grad()
def assign(
    model: Detector, logits: Tensor, boxes: Tensor, truth: Tensor, valid: Tensor
) -> tuple[Tensor, Tensor]:
    """Gives each cell an object or none.

    Returns the object index per cell (N, A) and the soft class target per cell (N, A), 0 for
    background. An object takes its best cells by score^a * IoU^b among those whose centre it
    contains; a cell wanted by several objects goes to the one it overlaps most.
    """
    classes = truth[..., 0].long()
    iou, _ = overlap(boxes[:, None], truth[:, :, None, 1:])  # (N, M, A)
    scores = logits.sigmoid().transpose(1, 2)
    scores = scores.gather(1, classes[..., None].expand(-1, -1, scores.shape[2]))
    middle = (truth[..., 1:3] + truth[..., 3:5]) / 2
    extent = (truth[..., 3:5] - truth[..., 1:3]) / 2
    # Objects smaller than a cell may contain no centre, so each reaches at least 3/4 of a stride.
    reach = torch.maximum(extent[:, :, None], 0.75 * model.strides)
    inside = ((model.centres - middle[:, :, None]).abs() < reach).all(-1) & valid[..., None]
    metric = scores**SCORE_POWER * iou.clamp(min=1e-4) ** OVERLAP_POWER * inside
    best = metric.topk(CANDIDATES, dim=2)
    chosen = torch.zeros_like(metric).scatter_(2, best.indices, (best.values > 0).float())
    contested = iou * chosen + chosen * 1e-3
    owner = contested.argmax(1)
    mine = torch.zeros_like(chosen).scatter_(1, owner[:, None], 1.0) * chosen
    metric = metric * mine
    peak = metric.amax(2, keepdim=True)
    target = metric / (peak + 1e-9) * (iou * mine).amax(2, keepdim=True)
    return owner, target.amax(1)


def detection_loss(model: Detector, images: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Scalar loss: BCE on soft class targets, GIoU and bin cross-entropy on assigned cells."""
    logits, sides = model.raw(images)
    boxes = model.corners(sides)
    owner, target = assign(model, logits, boxes, truth, valid)
    rows = truth.gather(1, owner[..., None].expand(-1, -1, 5))
    goal = functional.one_hot(rows[..., 0].long(), model.classes) * target[..., None]
    total = target.sum().clamp(min=1.0)
    score_loss = functional.binary_cross_entropy_with_logits(logits, goal, reduction="sum") / total
    taken = target > 0
    weight = target[taken]
    _, giou = overlap(boxes[taken], rows[..., 1:][taken])
    box_loss = ((1 - giou) * weight).sum() / total
    bins_loss = (_bins_loss(model, sides, rows[..., 1:], taken) * weight).sum() / total
    return SCORE_WEIGHT * score_loss + BOX_WEIGHT * box_loss + BINS_WEIGHT * bins_loss


def _bins_loss(model: Detector, sides: Tensor, corners: Tensor, taken: Tensor) -> Tensor:
    """Cross-entropy towards the two bins next to each true side distance, per taken cell."""
    reach = torch.cat([model.centres - corners[..., :2], corners[..., 2:] - model.centres], 2) / model.strides
    reach = reach[taken].clamp(0, BINS - 1.01)
    low = reach.long()
    high_share = reach - low
    log = sides[taken].log_softmax(2)
    near = log.gather(2, low[..., None])[..., 0] * (1 - high_share)
    far = log.gather(2, low[..., None] + 1)[..., 0] * high_share
    return -(near + far).mean(1)
