"""One net of a space: its model file, its image size, and how it wants to be trained."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import yaml

from compress import spec
from compress.models import arch

if TYPE_CHECKING:
    from compress.train import TrainSpec


@dataclass(frozen=True)
class Candidate:
    """A net and its training.

    Attributes:
        model: a model file's content, as ``compress.models.arch.build`` takes it.
        image_size: side of the images, pixels.
        train: what it changes in the recipe's ``train``; ``augment`` is merged into one of the same kind.
        values: other values of the recipe that were drawn with it, by key path: ``stages[0].target``.
        places: where in the space each row but the head's was drawn: ``slot3.InvertedResidualv3``.
    """

    model: dict[str, Any]
    image_size: int
    train: dict[str, Any] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)
    places: tuple[str, ...] = ()

    @cached_property
    def digest(self) -> str:
        """20 hex digits of the architecture: equal for two candidates that build the same layers on
        images of the same size, however they are written; the training has no part in it.

        Raises:
            InputError: ``model`` is no valid model file.
        """
        rows = arch.plan(self.model, size=self.image_size).rows
        layers = [layer for row in rows for layer in row if layer.module != "Flatten"]
        return spec.digest(self.image_size, [(layer.module, layer.kwargs) for layer in layers])

    @cached_property
    def key(self) -> str:
        """20 hex digits of all but names and places: two trials of one key would be the same work."""
        return spec.digest(self.digest, self.train, self.values)

    def training(self, base: TrainSpec) -> TrainSpec:
        """``base`` with what this candidate changes.

        Raises:
            pydantic.ValidationError: a value that ``TrainSpec`` refuses.
        """
        data = {**base.canonical(), **self.train}
        augment = self.train.get("augment")
        if augment is not None and augment.get("kind", base.augment.kind) == base.augment.kind:
            data["augment"] = {**base.augment.canonical(), **augment}
        return type(base).model_validate(data)

    def to_yaml(self) -> str:
        """A model file, one row a line."""
        lines = [f"{key}: {_flow(value)}" for key, value in self.model.items() if key != "backbone"]
        rows = [f"  - {_flow(row)}" for row in self.model["backbone"]]
        return "\n".join([*lines, "backbone:  # [repeat, block, args]", *rows, ""])

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; ``from_dict`` gives an equal candidate."""
        drawn = {"train": self.train, "values": self.values, "places": list(self.places)}
        return {"model": self.model, "image_size": self.image_size, **drawn}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Candidate:
        model, size, places = dict(data["model"]), int(data["image_size"]), tuple(data.get("places", ()))
        return cls(model, size, dict(data["train"]), dict(data["values"]), places)


def _flow(value: Any) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=10_000, sort_keys=False)
    return text.removesuffix("\n").removesuffix("\n...")
