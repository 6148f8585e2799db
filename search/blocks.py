"""The blocks a slot may hold: what of each is searched, and the row of a model file it becomes.

Rows are those of ``compress.models.rows``; a stride is given, since what is left of the total stride
decides it (``search.strides``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from compress.spec import Spec
from search.values import Activations, Expansions, Flags, Kernels, Strides, Wholes, ends

Pick = Callable[[str], Any]  # the name of a field -> the value drawn for it
_FIRE = 4  # expand channels are a multiple of it


class Block(Spec, ABC):
    """A YAML node: a block and the ranges of its arguments."""

    kind: str

    @property
    def strides(self) -> tuple[int, ...]:
        """Those it can have."""
        return ends(getattr(self, "stride", 1))

    @abstractmethod
    def row(self, pick: Pick, stride: int) -> list[Any] | None:
        """``[repeat, block, args]`` of a model file; None: nothing."""


class Pass(Block):
    """Nothing: the slot stays empty."""

    kind: Literal["Pass"] = "Pass"

    def row(self, pick: Pick, stride: int) -> None:
        return None


class _Repeated(Block, ABC):
    repeat: Wholes = Field(1, description="Times in a row, before depth_multiple.")


class _Plain(_Repeated, ABC):
    channels: Wholes = Field(description="Of the output, before width_multiple.")
    kernel: Kernels = 3
    stride: Strides = 1
    activation: Activations = "ReLU"
    groups: ClassVar[tuple[int, ...]] = ()  # the argument, where the row has one

    def row(self, pick: Pick, stride: int) -> list[Any]:
        args = [pick("channels"), pick("kernel"), stride, None, *self.groups, pick("activation")]
        return [pick("repeat"), self.kind, args]


class Conv(_Plain):
    """Convolution, batch norm, activation; the stride is that of the last one."""

    kind: Literal["Conv"] = "Conv"
    groups: ClassVar[tuple[int, ...]] = (1,)


class DWConv(_Plain):
    """The same with as many groups as divide both channel counts."""

    kind: Literal["DWConv"] = "DWConv"


class InvertedResidualv2(_Repeated):
    """The block of MobileNetV2: 3 x 3, ReLU6, no squeeze and excite."""

    kind: Literal["InvertedResidualv2"] = "InvertedResidualv2"
    channels: Wholes = Field(description="Of the output, before width_multiple.")
    expansion: Expansions = Field(6.0, description="Hidden channels, times those of the input.")
    stride: Strides = 1

    def row(self, pick: Pick, stride: int) -> list[Any]:
        return [pick("repeat"), "InvertedResidualv2", [pick("channels"), pick("expansion"), stride]]


class InvertedResidualv3(_Repeated):
    """The block of MobileNetV3: with ``hs`` Hardswish, else ReLU."""

    kind: Literal["InvertedResidualv3"] = "InvertedResidualv3"
    channels: Wholes = Field(description="Of the output, before width_multiple.")
    expansion: Expansions = Field(6.0, description="Hidden channels, times those of the input.")
    kernel: Kernels = 3
    stride: Strides = 1
    se: Flags = Field(False, description="Squeeze and excite.")
    hs: Flags = Field(False, description="Hardswish instead of ReLU.")

    def row(self, pick: Pick, stride: int) -> list[Any]:
        flags = [int(pick("se")), int(pick("hs"))]
        args = [pick("kernel"), pick("expansion"), pick("channels"), *flags, stride]
        return [pick("repeat"), "InvertedResidualv3", args]


class MBConv(_Repeated):
    """The block of EfficientNet: Swish and squeeze and excite, always."""

    kind: Literal["MBConv"] = "MBConv"
    channels: Wholes = Field(description="Of the output, before width_multiple.")
    expansion: Expansions = Field(6.0, description="Hidden channels, times those of the input.")
    kernel: Kernels = 3
    stride: Strides = 1

    def row(self, pick: Pick, stride: int) -> list[Any]:
        return [pick("repeat"), "MBConv", [pick("expansion"), pick("channels"), stride, pick("kernel")]]


class Fire(_Repeated):
    """The block of SqueezeNet. It has no stride, and neither multiple scales its channels."""

    kind: Literal["Fire"] = "Fire"
    squeeze: Wholes = Field(description="Channels of the first 1 x 1.")
    expand1x1: Expansions = Field(4.0, description="Channels of the second 1 x 1, times squeeze.")
    expand3x3: Expansions = Field(4.0, description="Channels of the 3 x 3, times squeeze.")

    def row(self, pick: Pick, stride: int) -> list[Any]:
        squeeze = pick("squeeze")
        # Ratios, as the range of a parameter may not depend on what another was drawn
        expand = [max(1, round(squeeze * pick(e) / _FIRE)) * _FIRE for e in ("expand1x1", "expand3x3")]
        return [pick("repeat"), "Fire", [squeeze, *expand]]


BlockSpec = Annotated[
    Conv | DWConv | InvertedResidualv2 | InvertedResidualv3 | MBConv | Fire | Pass,
    Field(discriminator="kind"),
]
