"""The blocks of the competition's model files, of plain torch.nn modules.

Nothing in a forward depends on the data or the map's size, so torch.fx, torch.export, the
dependency graph of torch-pruning and batch norm folding all see through them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor, cat, nn

from compress.models.layers import Layer, same_padding


def make_activation(name: str | None) -> nn.Module:
    """``torch.nn``'s activation of that name; None: Identity."""
    if name is None:
        return nn.Identity()
    if name in ("ReLU", "ReLU6"):
        return getattr(nn, name)(inplace=True)  # type: ignore[no-any-return]
    if name in ("Softmax", "Softmin", "LogSoftmax"):
        return getattr(nn, name)(dim=1)  # type: ignore[no-any-return]
    return getattr(nn, name)()  # type: ignore[no-any-return]


class Conv(nn.Sequential):
    """Convolution without bias, batch norm, activation.

    ``padding`` is that of ``nn.Conv2d``, or (before, after) when the two ends differ.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
        groups: int = 1,
        activation: str | None = "ReLU",
    ) -> None:
        super().__init__()
        before, after = padding if isinstance(padding, tuple) else (padding, padding)
        if before != after:
            self.pad = nn.ZeroPad2d((before, after, before, after))
            before = 0
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, before, groups=groups, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)
        if activation is not None:
            self.act = make_activation(activation)


class SqueezeExcite(nn.Module):
    """Channels weighted by a small net on their means (Hu et al., 2018): N x C x H x W to the same."""

    def __init__(self, channels: int, squeeze: int, activation: str, gate: str) -> None:
        super().__init__()
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.reduce = nn.Conv2d(channels, squeeze, 1)
        self.act = make_activation(activation)
        self.expand = nn.Conv2d(squeeze, channels, 1)
        self.gate = make_activation(gate)

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = self.gate(self.expand(self.act(self.reduce(self.pool(x)))))
        return x * scale


class Residual(nn.Module):
    """``body``, plus its input where ``shortcut``."""

    def __init__(self, body: nn.Sequential, shortcut: bool) -> None:
        super().__init__()
        self.body = body
        self.shortcut = shortcut

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.body(x)
        return x + out if self.shortcut else out


class InvertedResidualv2(Residual):
    """The block of MobileNetV2 (Sandler et al., 2018)."""

    def __init__(
        self, in_channels: int, hidden_channels: int, out_channels: int, stride: int, expand: bool
    ) -> None:
        body = nn.Sequential()
        if expand:
            body.expand = Conv(in_channels, hidden_channels, 1, activation="ReLU6")
        body.depthwise = Conv(
            hidden_channels, hidden_channels, 3, stride, 1, groups=hidden_channels, activation="ReLU6"
        )
        body.project = Conv(hidden_channels, out_channels, 1, activation=None)
        super().__init__(body, stride == 1 and in_channels == out_channels)


class InvertedResidualv3(Residual):
    """The block of MobileNetV3 (Howard et al., 2019); ``squeeze`` 0: without squeeze and excite."""

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        squeeze: int,
        activation: str,
    ) -> None:
        body = nn.Sequential()
        expand = hidden_channels != in_channels
        if expand:
            body.expand = Conv(in_channels, hidden_channels, 1, activation=activation)
        depthwise = Conv(
            hidden_channels,
            hidden_channels,
            kernel_size,
            stride,
            kernel_size // 2,
            groups=hidden_channels,
            activation=None if expand and squeeze else activation,
        )
        body.depthwise = depthwise
        if squeeze:
            body.se = SqueezeExcite(hidden_channels, squeeze, "ReLU", "Hardsigmoid")
            if expand:  # here the activation comes after the weighting
                body.act = make_activation(activation)
        body.project = Conv(hidden_channels, out_channels, 1, activation=None)
        super().__init__(body, stride == 1 and in_channels == out_channels)


class MBConv(Residual):
    """The block of EfficientNet (Tan and Le, 2019), with TensorFlow's "same" padding.

    ``squeeze`` 0: without squeeze and excite, as in the Lite variants.
    """

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        squeeze: int,
        activation: str = "SiLU",
    ) -> None:
        body = nn.Sequential()
        if hidden_channels != in_channels:
            body.expand = Conv(in_channels, hidden_channels, 1, activation=activation)
        body.depthwise = Conv(
            hidden_channels,
            hidden_channels,
            kernel_size,
            stride,
            same_padding(kernel_size, stride),
            groups=hidden_channels,
            activation=activation,
        )
        if squeeze:
            body.se = SqueezeExcite(hidden_channels, squeeze, activation, "Sigmoid")
        body.project = Conv(hidden_channels, out_channels, 1, activation=None)
        super().__init__(body, stride == 1 and in_channels == out_channels)


class Bottleneck(Residual):
    """1x1 down, 3x3 up."""

    def __init__(
        self,
        in_channels: int,
        hidden_channels: int,
        out_channels: int,
        shortcut: bool,
        groups: int,
        activation: str | None,
    ) -> None:
        body = nn.Sequential()
        body.reduce = Conv(in_channels, hidden_channels, 1, activation=activation)
        body.expand = Conv(hidden_channels, out_channels, 3, 1, 1, groups=groups, activation=activation)
        super().__init__(body, shortcut)


class Fire(nn.Module):
    """The block of SqueezeNet (Iandola et al., 2016): a 1x1, then a 1x1 and a 3x3 side by side."""

    def __init__(self, in_channels: int, squeeze: int, expand1x1: int, expand3x3: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(in_channels, squeeze, 1)
        self.squeeze_act = nn.ReLU(inplace=True)
        self.expand1x1 = nn.Conv2d(squeeze, expand1x1, 1)
        self.expand1x1_act = nn.ReLU(inplace=True)
        self.expand3x3 = nn.Conv2d(squeeze, expand3x3, 3, padding=1)
        self.expand3x3_act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze_act(self.squeeze(x))
        return cat((self.expand1x1_act(self.expand1x1(x)), self.expand3x3_act(self.expand3x3(x))), 1)


class Linear(nn.Sequential):
    """A linear layer with bias, and its activation."""

    def __init__(self, in_features: int, out_features: int, activation: str | None = None) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        if activation is not None:
            self.act = make_activation(activation)


_MODULES: dict[str, Any] = {
    "Conv": Conv,
    "InvertedResidualv2": InvertedResidualv2,
    "InvertedResidualv3": InvertedResidualv3,
    "MBConv": MBConv,
    "Bottleneck": Bottleneck,
    "Fire": Fire,
    "MaxPool": nn.MaxPool2d,
    "AvgPool": nn.AvgPool2d,
    "GlobalAvgPool": nn.AdaptiveAvgPool2d,
    "Flatten": nn.Flatten,
    "Dropout": nn.Dropout,
    "Linear": Linear,
}


def sequential(rows: Iterable[Iterable[Layer]]) -> nn.Sequential:
    """One module a row, freshly initialised, and a Flatten where the rows end in N x C x 1 x 1."""
    net = nn.Sequential()
    flat = False
    for row in rows:
        layers = list(row)
        made = [_MODULES[layer.module](**layer.kwargs) for layer in layers]
        net.append(made[0] if len(made) == 1 else nn.Sequential(*made))
        flat = flat or layers[-1].output == "flat"
    if not flat:
        net.append(nn.Flatten())
    initialise(net)
    return net


def initialise(module: nn.Module) -> None:
    """He et al. (2015): convolutions by fan-out within a group, hidden linear layers by fan-in;
    the linear layer that gives the logits starts near zero."""
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            fan_out = m.out_channels * m.kernel_size[0] * m.kernel_size[1] // m.groups
            nn.init.normal_(m.weight, 0.0, (2.0 / fan_out) ** 0.5)
            if m.bias is not None:
                nn.init.zeros_(m.bias)
        elif isinstance(m, Linear):
            hidden = len(m) > 1
            nn.init.normal_(m.linear.weight, 0.0, (2.0 / m.linear.in_features) ** 0.5 if hidden else 0.01)
            nn.init.zeros_(m.linear.bias)
