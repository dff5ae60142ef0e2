"""The demo detector: a small anchor-free convolutional network for 5 classes at strides 8, 16, 32."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

STRIDES = (8, 16, 32)
BINS = 14  # a box side is the mean of a distribution over distances 0..BINS-1, in strides


class ConvUnit(nn.Module):
    """Convolution, batch normalisation, SiLU; keeps the size at stride 1."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        self.norm = nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.03)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        """Applies the module to (N, C, H, W)."""
        return cast(Tensor, self.act(self.norm(self.conv(x))))


class SplitStage(nn.Module):
    """Keeps half of the channels, passes the other half through residual 3x3 convolutions, fuses all."""

    def __init__(self, inputs: int, outputs: int, depth: int) -> None:
        super().__init__()
        half = outputs // 2
        self.enter = ConvUnit(inputs, outputs, 1)
        self.blocks = nn.ModuleList(ConvUnit(half, half) for _ in range(depth))
        self.leave = ConvUnit(half * (2 + depth), outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the module to (N, C, H, W)."""
        parts = list(self.enter(x).chunk(2, 1))
        for block in self.blocks:
            parts.append(parts[-1] + block(parts[-1]))
        return cast(Tensor, self.leave(torch.cat(parts, 1)))


class WideContext(nn.Module):
    """Adds max-pooled context of growing reach to the coarsest map."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.enter = ConvUnit(channels, channels // 2, 1)
        self.pool = nn.MaxPool2d(5, 1, 2)
        self.leave = ConvUnit(channels * 2, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Applies the module to (N, C, H, W)."""
        maps = [self.enter(x)]
        for _ in range(3):
            maps.append(self.pool(maps[-1]))
        return cast(Tensor, self.leave(torch.cat(maps, 1)))


class Head(nn.Module):
    """Separate classification and box branches of depthwise-separable convolutions, for one stride."""

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.scores = self._branch(channels, classes)
        self.sides = self._branch(channels, 4 * BINS)
        cast(Tensor, self.scores[-1].bias).data.fill_(-4.6)  # a prior of 1 % keeps the first steps calm

    @staticmethod
    def _branch(channels: int, outputs: int) -> nn.Sequential:
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [ConvUnit(channels, channels, 5, groups=channels), ConvUnit(channels, channels, 1)]
        return nn.Sequential(*layers, nn.Conv2d(channels, outputs, 1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Applies the module to (N, C, H, W)."""
        return self.scores(x), self.sides(x)


class Detector(nn.Module):
    """Backbone, top-down and bottom-up fusion, heads.

    Input (N, 3, H, W) float32 RGB in 0..1 with H and W multiples of 32. `raw` gives training
    tensors; calling the module gives (N, 4 + classes, A): cx, cy, w, h in pixels, class scores.
    """

    def __init__(self, classes: int, size: tuple[int, int], width: int = 64) -> None:
        super().__init__()
        self.classes = classes
        self.stem = nn.Sequential(ConvUnit(3, 16, 3, 2), ConvUnit(16, 24, 3, 2), SplitStage(24, 24, 1))
        self.stage8 = nn.Sequential(ConvUnit(24, 48, 3, 2), SplitStage(48, 48, 2))
        self.stage16 = nn.Sequential(ConvUnit(48, 80, 3, 2), SplitStage(80, 80, 2))
        self.stage32 = nn.Sequential(ConvUnit(80, 96, 3, 2), SplitStage(96, 96, 1), WideContext(96))
        self.up = nn.Upsample(scale_factor=2.0, mode="nearest")
        self.fuse16 = SplitStage(96 + 80, width, 1)
        self.fuse8 = SplitStage(width + 48, width, 1)
        self.down16 = nn.Sequential(ConvUnit(width, width, 3, 2, groups=width), ConvUnit(width, width, 1))
        self.merge16 = SplitStage(2 * width, width, 1)
        self.down32 = nn.Sequential(ConvUnit(width, width, 3, 2, groups=width), ConvUnit(width, width, 1))
        self.merge32 = SplitStage(width + 96, width, 1)
        self.heads = nn.ModuleList(Head(width, classes) for _ in STRIDES)
        centres, strides = cell_centres(size)
        self.centres: Tensor
        self.strides: Tensor
        self.bins: Tensor
        self.register_buffer("centres", centres, persistent=False)
        self.register_buffer("strides", strides, persistent=False)
        self.register_buffer("bins", torch.arange(BINS, dtype=torch.float32), persistent=False)

    def raw(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Class logits (N, A, classes) and side-distance logits (N, A, 4, BINS)."""
        c8 = self.stage8(self.stem(images))
        c16 = self.stage16(c8)
        c32 = self.stage32(c16)
        t16 = self.fuse16(torch.cat([self.up(c32), c16], 1))
        p8 = self.fuse8(torch.cat([self.up(t16), c8], 1))
        p16 = self.merge16(torch.cat([self.down16(p8), t16], 1))
        p32 = self.merge32(torch.cat([self.down32(p16), c32], 1))
        outputs = [head(level) for head, level in zip(self.heads, (p8, p16, p32), strict=True)]
        scores = torch.cat([s.flatten(2) for s, _ in outputs], 2).transpose(1, 2)
        sides = torch.cat([s.flatten(2) for _, s in outputs], 2).transpose(1, 2)
        return scores, sides.unflatten(2, (4, BINS))  # type: ignore[no-untyped-call]

    def corners(self, sides: Tensor) -> Tensor:
        """Boxes (N, A, 4) as left, top, right, bottom in pixels from side-distance logits."""
        reach = (sides.softmax(3) * self.bins).sum(3) * self.strides
        return torch.cat([self.centres - reach[..., :2], self.centres + reach[..., 2:]], 2)

    def forward(self, images: Tensor) -> Tensor:
        """Detections (N, 4 + classes, A) of images (N, 3, H, W)."""
        scores, sides = self.raw(images)
        boxes = self.corners(sides)
        low, high = boxes[..., :2], boxes[..., 2:]
        rows = torch.cat([(low + high) / 2, high - low, scores.sigmoid()], 2)
        return rows.transpose(1, 2)


def cell_centres(size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Centres (A, 2) x, y in pixels and strides (A, 1) of all cells, for an input of (H, W)."""
    centres, strides = [], []
    for stride in STRIDES:
        ys = (torch.arange(size[0] // stride) + 0.5) * stride
        xs = (torch.arange(size[1] // stride) + 0.5) * stride
        grid_y, grid_x = torch.meshgrid(ys, xs, indexing="ij")
        centres.append(torch.stack([grid_x, grid_y], 2).reshape(-1, 2))
        strides.append(torch.full((centres[-1].shape[0], 1), float(stride)))
    return torch.cat(centres), torch.cat(strides)
