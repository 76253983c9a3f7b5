"""The U^2-Net architecture (Qin et al. 2020, arXiv 2005.09007), in every size.

Module names are those of the published code (``stage1.rebnconvin.conv_s1.weight``,
``side1.weight``, ``outconv.weight``), so that ``u2net.pth`` and ``u2netp.pth`` load with
``strict=True``. The widths are configuration: `FULL` is the 176 MB network, `SMALL` the
4.7 MB one, and any other tuple gives a network of the same form.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

STAGES = ("stage1", "stage2", "stage3", "stage4", "stage5", "stage6")
DECODERS = ("stage5d", "stage4d", "stage3d", "stage2d", "stage1d")
# How deep the small U-Net inside each stage is; None is the dilated form without pooling.
DEPTHS: dict[str, int | None] = {
    "stage1": 7, "stage2": 6, "stage3": 5, "stage4": 4, "stage5": None, "stage6": None,
    "stage5d": None, "stage4d": 4, "stage3d": 5, "stage2d": 6, "stage1d": 7,
}  # fmt: skip


@dataclass(frozen=True)
class Widths:
    """Channels inside and after each stage, in the order of `STAGES` and `DECODERS`."""

    encoder_mid: tuple[int, ...]
    encoder_out: tuple[int, ...]
    decoder_mid: tuple[int, ...]
    decoder_out: tuple[int, ...]

    def __post_init__(self) -> None:
        """Reject tuples that do not name every stage."""
        lengths = tuple(map(len, (self.encoder_mid, self.encoder_out)))
        if lengths != (6, 6) or (len(self.decoder_mid), len(self.decoder_out)) != (5, 5):
            raise ValueError("U^2-Net has six encoder stages and five decoder stages")


FULL = Widths(
    encoder_mid=(32, 32, 64, 128, 256, 256),
    encoder_out=(64, 128, 256, 512, 512, 512),
    decoder_mid=(256, 128, 64, 32, 16),
    decoder_out=(512, 256, 128, 64, 64),
)
SMALL = Widths((16,) * 6, (64,) * 6, (16,) * 5, (64,) * 5)


def upsample_like(source: Tensor, target: Tensor) -> Tensor:
    """Resize `source` bilinearly to the height and width of `target`."""
    return functional.interpolate(source, size=target.shape[2:], mode="bilinear")


class ConvNormRelu(nn.Module):
    """A 3x3 convolution, batch norm and ReLU, under their published names."""

    def __init__(self, in_channels: int, out_channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv_s1 = nn.Conv2d(in_channels, out_channels, 3, padding=dilation, dilation=dilation)
        self.bn_s1 = nn.BatchNorm2d(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        """[b, in, h, w] -> [b, out, h, w], never negative."""
        return functional.relu(self.bn_s1(self.conv_s1(features)))


class ResidualUBlock(nn.Module):
    """RSU-L: a U-Net of `depth` levels whose output is added to its first features.

    The last level does not pool but dilates, as published.
    """

    def __init__(self, depth: int, in_channels: int, mid: int, out_channels: int) -> None:
        super().__init__()
        self.depth = depth
        self.rebnconvin = ConvNormRelu(in_channels, out_channels)
        for level in range(1, depth + 1):
            width = out_channels if level == 1 else mid
            dilation = 2 if level == depth else 1
            self.add_module(f"rebnconv{level}", ConvNormRelu(width, mid, dilation))
        for level in range(depth - 1, 0, -1):
            width = out_channels if level == 1 else mid
            self.add_module(f"rebnconv{level}d", ConvNormRelu(2 * mid, width))

    def forward(self, features: Tensor) -> Tensor:
        """[b, in, h, w] -> [b, out, h, w]."""
        entry: Tensor = self.rebnconvin(features)
        skips: list[Tensor] = []
        current = entry
        for level in range(1, self.depth):
            current = self.get_submodule(f"rebnconv{level}")(current)
            skips.append(current)
            if level < self.depth - 1:
                current = functional.max_pool2d(current, 2, stride=2, ceil_mode=True)
        current = self.get_submodule(f"rebnconv{self.depth}")(current)
        for level in range(self.depth - 1, 0, -1):
            skip = skips[level - 1]
            if current.shape[2:] != skip.shape[2:]:
                current = upsample_like(current, skip)
            joined = torch.cat((current, skip), 1)
            current = self.get_submodule(f"rebnconv{level}d")(joined)
        summed: Tensor = current + entry
        return summed


class DilatedUBlock(nn.Module):
    """RSU-4F: the block of the coarse stages, where dilation takes the place of pooling."""

    def __init__(self, in_channels: int, mid: int, out_channels: int) -> None:
        super().__init__()
        self.rebnconvin = ConvNormRelu(in_channels, out_channels)
        self.rebnconv1 = ConvNormRelu(out_channels, mid, 1)
        self.rebnconv2 = ConvNormRelu(mid, mid, 2)
        self.rebnconv3 = ConvNormRelu(mid, mid, 4)
        self.rebnconv4 = ConvNormRelu(mid, mid, 8)
        self.rebnconv3d = ConvNormRelu(2 * mid, mid, 4)
        self.rebnconv2d = ConvNormRelu(2 * mid, mid, 2)
        self.rebnconv1d = ConvNormRelu(2 * mid, out_channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """[b, in, h, w] -> [b, out, h, w]."""
        entry: Tensor = self.rebnconvin(features)
        first = self.rebnconv1(entry)
        second = self.rebnconv2(first)
        third = self.rebnconv3(second)
        current = self.rebnconv4(third)
        current = self.rebnconv3d(torch.cat((current, third), 1))
        current = self.rebnconv2d(torch.cat((current, second), 1))
        summed: Tensor = self.rebnconv1d(torch.cat((current, first), 1)) + entry
        return summed


def _block(name: str, in_channels: int, mid: int, out_channels: int) -> nn.Module:
    depth = DEPTHS[name]
    if depth is None:
        return DilatedUBlock(in_channels, mid, out_channels)
    return ResidualUBlock(depth, in_channels, mid, out_channels)


class U2Net(nn.Module):
    """Salient-object detection at any width; pictures normalised as for ImageNet.

    `forward` gives the first side output d1, which is what the published code uses;
    `side_outputs` gives all seven for training with deep supervision.
    """

    def __init__(self, widths: Widths = FULL) -> None:
        super().__init__()
        self.widths = widths
        inputs = (3, *widths.encoder_out[:-1])
        for name, *channels in zip(STAGES, inputs, widths.encoder_mid, widths.encoder_out, strict=True):
            self.add_module(name, _block(name, *channels))
        skips = widths.encoder_out[-2::-1]
        below = (widths.encoder_out[-1], *widths.decoder_out[:-1])
        for index, name in enumerate(DECODERS):
            joined = skips[index] + below[index]
            mid, out = widths.decoder_mid[index], widths.decoder_out[index]
            self.add_module(name, _block(name, joined, mid, out))
        sides = (*widths.decoder_out[::-1], widths.encoder_out[-1])
        for number, channels_in in enumerate(sides, start=1):
            self.add_module(f"side{number}", nn.Conv2d(channels_in, 1, 3, padding=1))
        self.outconv = nn.Conv2d(6, 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """[b, 3, h, w] normalised -> d1 [b, 1, h, w] in 0..1 (sigmoid applied)."""
        return torch.sigmoid(self.get_submodule("side1")(self._decode(images)[0]))

    def side_outputs(self, images: Tensor) -> Sequence[Tensor]:
        """[b, 3, h, w] -> logits (d0, d1, ..., d6), each [b, 1, h, w]."""
        features = self._decode(images)
        sides = [self.get_submodule(f"side{n}")(f) for n, f in enumerate(features, 1)]
        sides = [sides[0], *(upsample_like(side, sides[0]) for side in sides[1:])]
        return [self.outconv(torch.cat(sides, 1)), *sides]

    def _decode(self, images: Tensor) -> list[Tensor]:
        """Features of the decoder, finest first, the coarsest encoder stage last."""
        encoded: list[Tensor] = []
        current = images
        for name in STAGES:
            if encoded:
                current = functional.max_pool2d(current, 2, stride=2, ceil_mode=True)
            current = self.get_submodule(name)(current)
            encoded.append(current)
        decoded = [current]
        for name, skip in zip(DECODERS, encoded[-2::-1], strict=True):
            joined = torch.cat((upsample_like(current, skip), skip), 1)
            current = self.get_submodule(name)(joined)
            decoded.append(current)
        return decoded[::-1]
