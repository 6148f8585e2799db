"""The rows of a model file: what each block takes, and the layers a row stands for.

Nothing here imports torch, so a model file is checked, down to channels and map sizes, in
milliseconds. ``compress.models.blocks`` holds the modules that a ``Layer`` names.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from compress.models.arguments import (
    ACTIVATION,
    CHANNELS,
    COUNT,
    FACTOR,
    FALSE,
    FLAG,
    ODD,
    PADDING,
    PAIR,
    POOL_PADDING,
    PROBABILITY,
    Arg,
)
from compress.models.layers import Layer, Window, divisible, same_padding

Width = Callable[[float], int]  # the channels a row asks for -> those it gets
Args = dict[str, Any]
Expand = Callable[[Args, int, int, Width], Iterator[Layer]]


@dataclass(frozen=True)
class Block:
    """A block of the format: its arguments in order, and ``expand(args, channels in, repeat, width)``.

    ``scaled`` says whether its output channels follow ``width_multiple``; ``expand`` raises
    ValueError, with a line for a person, where the arguments do not fit the channels.
    """

    args: tuple[Arg, ...]
    expand: Expand
    takes: Literal["map", "flat", "any"] = "map"
    scaled: bool = True

    def usage(self) -> str:
        """``2 to 6 arguments (c, k, stride=1, ...)``."""
        least, most = sum(arg.required for arg in self.args), len(self.args)
        count = f"{most}" if least == most else f"{least} to {most}"
        listed = f" ({', '.join(map(str, self.args))})" if self.args else ""
        return f"{count if most else 'no'} argument{'s' if most != 1 else ''}{listed}"


def _square(kernel: int, stride: int, padding: int) -> tuple[Window, Window]:
    return (Window(kernel, stride, padding),) * 2


def _conv(a: Args, channels: int, repeat: int, width: Width) -> Iterator[Layer]:
    out = width(a["c"])
    for i in range(repeat):
        stride = a["stride"] if i == repeat - 1 else 1
        groups = a.get("groups") or math.gcd(channels, out)  # DWConv has no groups of its own
        if channels % groups or out % groups:
            raise ValueError(f"groups={groups} must divide the {channels} channels in and {out} out")
        padding = a["k"] // 2 if a["padding"] is None else a["padding"]
        kwargs = {
            "in_channels": channels,
            "out_channels": out,
            "kernel_size": a["k"],
            "stride": stride,
            "padding": padding,
            "groups": groups,
            "activation": a["activation"],
        }
        yield Layer("Conv", kwargs, out, _square(a["k"], stride, 2 * padding))
        channels = out


def _inverted_residual_v2(a: Args, channels: int, repeat: int, width: Width) -> Iterator[Layer]:
    out = width(a["c"])
    for i in range(repeat):
        stride = a["s"] if i == 0 else 1
        hidden = _at_least_1("t", a["t"], channels, round(channels * a["t"]))
        kwargs = {
            "in_channels": channels,
            "hidden_channels": hidden,
            "out_channels": out,
            "stride": stride,
            "expand": a["t"] != 1,
        }
        yield Layer("InvertedResidualv2", kwargs, out, _square(3, stride, 2))
        channels = out


def _inverted_residual_v3(a: Args, channels: int, repeat: int, width: Width) -> Iterator[Layer]:
    out = width(a["c"])
    for i in range(repeat):
        stride = a["s"] if i == 0 else 1
        kwargs = {
            "in_channels": channels,
            "hidden_channels": divisible(channels * a["t"]),
            "out_channels": out,
            "kernel_size": a["k"],
            "stride": stride,
            "squeeze": divisible(divisible(channels * a["t"]) // 4) if a["se"] else 0,
            "activation": "Hardswish" if a["hs"] else "ReLU",
        }
        yield Layer("InvertedResidualv3", kwargs, out, _square(a["k"], stride, a["k"] - 1))
        channels = out


def _mbconv(a: Args, channels: int, repeat: int, width: Width) -> Iterator[Layer]:
    out = width(a["c"])
    for i in range(repeat):
        stride = a["s"] if i == 0 else 1
        kwargs = {
            "in_channels": channels,
            "hidden_channels": _at_least_1("t", a["t"], channels, round(channels * a["t"])),
            "out_channels": out,
            "kernel_size": a["k"],
            "stride": stride,
            "squeeze": max(1, channels // 4),
        }
        yield Layer("MBConv", kwargs, out, _square(a["k"], stride, sum(same_padding(a["k"], stride))))
        channels = out


def _bottleneck(a: Args, channels: int, repeat: int, width: Width) -> Iterator[Layer]:
    for i in range(repeat):
        out = width(a["c"]) if i == repeat - 1 else channels
        hidden = _at_least_1("expansion", a["expansion"], out, int(out * a["expansion"]))
        if hidden % a["groups"] or out % a["groups"]:
            raise ValueError(f"groups={a['groups']} must divide the {hidden} hidden channels and {out} out")
        kwargs = {
            "in_channels": channels,
            "hidden_channels": hidden,
            "out_channels": out,
            "shortcut": a["shortcut"] and channels == out,
            "groups": a["groups"],
            "activation": a["activation"],
        }
        yield Layer("Bottleneck", kwargs, out)
        channels = out


def _fire(a: Args, channels: int, repeat: int, width: Width) -> Iterator[Layer]:
    for _ in range(repeat):
        out = a["expand1x1"] + a["expand3x3"]
        yield Layer("Fire", {"in_channels": channels, **a}, out)
        channels = out


def _linear(a: Args, channels: int, repeat: int, width: Width) -> Iterator[Layer]:
    out = width(a["out"])
    for _ in range(repeat):
        kwargs = {"in_features": channels, "out_features": out, "activation": a["activation"]}
        yield Layer("Linear", kwargs, out, output="flat")
        channels = out


def _pool(module: str) -> Expand:
    def expand(a: Args, channels: int, repeat: int, width: Width) -> Iterator[Layer]:
        kernel, padding, ceil = a["kernel_size"], a["padding"], a["ceil_mode"]
        if isinstance(padding, bool):  # [kernel, stride, true] in several files, for ceil_mode
            padding, ceil = (0, 0), padding or ceil
        stride = a["stride"] or kernel
        dilation = a.get("dilation", (1, 1))
        kwargs = {**a, "stride": stride, "padding": padding, "ceil_mode": ceil}
        if any(2 * p > k for p, k in zip(padding, kernel, strict=True)):
            raise ValueError(f"padding {_short(padding)} is over half of kernel_size {_short(kernel)}")
        windows = tuple(
            Window(d * (k - 1) + 1, s, 2 * p, ceil)
            for k, s, p, d in zip(kernel, stride, padding, dilation, strict=True)
        )
        for _ in range(repeat):
            yield Layer(module, kwargs, channels, windows)

    return expand


def _plain(module: str, output: Literal["pooled", "flat", "same"], **kwargs: Any) -> Expand:
    def expand(a: Args, channels: int, repeat: int, width: Width) -> Iterator[Layer]:
        for _ in range(repeat):
            yield Layer(module, {**a, **kwargs}, channels, output=output)

    return expand


def _at_least_1(name: str, factor: float, channels: int, hidden: int) -> int:
    if hidden < 1:
        raise ValueError(f"{name}={factor:g} leaves none of {channels} channels")
    return hidden


def _short(pair: Sequence[int]) -> str:
    return str(pair[0]) if len(set(pair)) == 1 else str(list(pair))


_CONV = (
    Arg("c", CHANNELS),
    Arg("k", COUNT),
    Arg("stride", COUNT, 1),
    Arg("padding", PADDING, None),
    Arg("groups", COUNT, 1),
    Arg("activation", ACTIVATION, "ReLU"),
)
_POOL = (Arg("kernel_size", PAIR), Arg("stride", PAIR, None), Arg("padding", POOL_PADDING, (0, 0)))

BLOCKS: dict[str, Block] = {
    "Conv": Block(_CONV, _conv),
    "FixedConv": Block((Arg("c", COUNT), *_CONV[1:]), _conv, scaled=False),
    "DWConv": Block((*_CONV[:4], _CONV[5]), _conv),
    "InvertedResidualv2": Block(
        (Arg("c", CHANNELS), Arg("t", FACTOR), Arg("s", COUNT)), _inverted_residual_v2
    ),
    "InvertedResidualv3": Block(
        (
            Arg("k", ODD),  # an even one could not be centred, so the shortcut would not fit
            Arg("t", FACTOR),
            Arg("c", CHANNELS),
            Arg("se", FLAG),
            Arg("hs", FLAG),
            Arg("s", COUNT),
        ),
        _inverted_residual_v3,
    ),
    "MBConv": Block(
        (Arg("t", FACTOR), Arg("c", CHANNELS), Arg("s", COUNT), Arg("k", COUNT)),
        _mbconv,
    ),
    "Bottleneck": Block(
        (
            Arg("c", CHANNELS),
            Arg("shortcut", FLAG, True),
            Arg("groups", COUNT, 1),
            Arg("expansion", FACTOR, 0.5),
            Arg("activation", ACTIVATION, "ReLU"),
        ),
        _bottleneck,
    ),
    "Fire": Block((Arg("squeeze", COUNT), Arg("expand1x1", COUNT), Arg("expand3x3", COUNT)), _fire),
    "MaxPool": Block(
        (
            *_POOL,
            Arg("dilation", PAIR, (1, 1)),
            Arg("return_indices", FALSE, False),
            Arg("ceil_mode", FLAG, False),
        ),
        _pool("MaxPool"),
    ),
    "AvgPool": Block(
        (
            *_POOL,
            Arg("ceil_mode", FLAG, False),
            Arg("count_include_pad", FLAG, True),
            Arg("divisor_override", COUNT, None),
        ),
        _pool("AvgPool"),
    ),
    "GlobalAvgPool": Block((), _plain("GlobalAvgPool", "pooled", output_size=1)),
    "Flatten": Block((), _plain("Flatten", "flat"), takes="any"),
    "Dropout": Block((Arg("p", PROBABILITY, 0.5),), _plain("Dropout", "same"), takes="any"),
    "Linear": Block(
        (Arg("out", COUNT), Arg("activation", ACTIVATION, None)), _linear, takes="flat", scaled=False
    ),
}
CLASSIFIERS = ("Conv", "FixedConv", "Linear")  # whose output channels ``num_classes`` replaces
