"""All the nets a study can build, and what of their training is searched too."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field, field_validator, model_validator

from compress.explain import Problem, validate
from compress.spec import Spec
from search.blocks import BlockSpec
from search.strides import StridePlan
from search.values import Activations, Batches, Numbers, Operations, Sides, Wholes, ends


class Slot(Spec):
    """One place of the net, and the blocks it may hold."""

    blocks: tuple[BlockSpec, ...] = Field(min_length=1)

    @field_validator("blocks")
    @classmethod
    def _each_kind_once(cls, blocks: tuple[BlockSpec, ...]) -> tuple[BlockSpec, ...]:
        kinds = [block.kind for block in blocks]
        twice = [kind for kind in kinds if kinds.count(kind) > 1]
        if twice:
            raise ValueError(f"{twice[0]} stands twice; give one with the whole range")
        return blocks


class Head(Spec):
    """What follows the slots: a 1 x 1 convolution; then the mean over the map and the classes."""

    channels: Wholes = Field(description="Of the convolution, before width_multiple.")
    activation: Activations = "ReLU"


class TotalStride(Spec):
    """Between which bounds the product of all strides lies."""

    least: int = Field(1, ge=1)
    most: int = Field(32, ge=1)


class Training(Spec):
    """What is searched of the recipe's ``train``; what is left out stays as it is there."""

    epochs: Wholes | None = None
    batch_size: Batches | None = None
    lr: Numbers | None = None
    n_select: Operations | None = Field(
        None, description="Of `augment: {kind: competition}`: operations on each image."
    )


class Space(Spec):
    """A YAML node: slots in a row, each with a choice of blocks, between the image and a head.

    Every net in it is valid: strides are drawn from those that still lead to a total stride within the
    bounds and to a last map of at least ``least_map`` pixels.
    """

    image_size: Sides
    depth_multiple: Numbers = Field(1.0, description="Of repeats above 1.")
    width_multiple: Numbers = Field(1.0, description="Of channels, rounded to a multiple of 8.")
    total_stride: TotalStride = TotalStride()
    least_map: int = Field(1, ge=1, description="Smallest side of the last map, in pixels.")
    slots: tuple[Slot, ...] = Field(min_length=1, max_length=64)
    head: Head
    train: Training = Training()

    @model_validator(mode="after")
    def _strides_meet_the_bounds(self) -> Space:
        plans = [self.strides(size) for size in ends(self.image_size)]
        for plan in plans:
            if not plan.possible:
                raise ValueError(f"no choice of strides gives {plan.bounds}")
        for i, slot in enumerate(self.slots):
            for block in slot.blocks:
                for stride in block.strides:
                    if not any(plan.ever(i, stride) for plan in plans):
                        raise ValueError(
                            f"slots[{i}]: {block.kind} with stride {stride} can never be drawn: the other "
                            f"slots' strides never bring it to {plans[-1].bounds}"
                        )
        return self

    def strides(self, image_size: int) -> StridePlan:
        """Which strides are possible where, on images of that size."""
        most = min(self.total_stride.most, image_size // self.least_map)
        options = tuple(frozenset(s for block in slot.blocks for s in block.strides) for slot in self.slots)
        return StridePlan(options, self.total_stride.least, most, image_size)


def sizes_beyond(space: Space, data: Spec) -> Iterator[Problem]:
    """The smallest and the largest images of a space, where a study's ``data`` cannot give them."""
    sizes = ends(space.image_size)
    for size in sorted({min(sizes), max(sizes)}):
        content = {**data.canonical(), "image_size": size}
        for wrong in validate(type(data), content)[1]:
            if wrong.path == ("image_size",):
                yield Problem(("space", "image_size"), f"{wrong.text} with data of kind {content['kind']}")
