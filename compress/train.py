"""The one training loop: what can be said of a training, ``fit`` and ``predict_logits``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from compress.data.augment import AugmentSpec, FlipCrop
from compress.errors import InputError
from compress.net import Net, Preprocess
from compress.spec import Spec
from compress.training.losses import LossFn

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from compress.data.images import ImageSet

__all__ = ["FitResult", "LossFn", "TrainSpec", "fit", "float_f1", "macro_f1", "predict_logits"]


class TrainSpec(Spec):
    """How a net is trained. The defaults suit some thousand images from scratch."""

    epochs: int = Field(60, ge=0, description="Passes over train; 0: none.")
    batch_size: int = Field(32, ge=2, description="Images a step; a smaller last batch is left out.")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="sgd is with Nesterov momentum.")
    lr: float | None = Field(None, gt=0, description="Peak learning rate: 0.1 (sgd), 0.001 (adamw).")
    momentum: float = Field(0.9, ge=0, lt=1, description="Of sgd.")
    weight_decay: float = Field(5e-4, ge=0, description="Not on biases and batch-norm.")
    schedule: Literal["one_cycle", "cosine"] = Field("one_cycle", description="Of the learning rate.")
    warmup: float | None = Field(
        None, gt=0, lt=1, description="Part of the steps with a rising rate: 0.3 (one_cycle), 0.05 (cosine)."
    )
    label_smoothing: float = Field(0.1, ge=0, lt=1, description="Part of a label spread over all classes.")
    loss: Literal["cross_entropy", "class_balanced", "logit_adjusted"] = Field(
        "cross_entropy", description="The other two are for rare classes (Cui 2019, Menon 2021)."
    )
    beta: float = Field(0.999, ge=0, lt=1, description="Of class_balanced: nearer 1 favours rare classes.")
    tau: float = Field(1.0, gt=0, description="Of logit_adjusted: strength.")
    mixup: float = Field(0.0, ge=0, description="Alpha of mixup's Beta distribution; 0: off.")
    cutmix: float = Field(0.0, ge=0, description="Alpha of cutmix's Beta distribution; 0: off.")
    mix_prob: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Part of the batches that mixup or cutmix changes; where both are on, each takes half of "
        "them.",
    )
    ema: float | None = Field(None, gt=0, lt=1, description="Decay of a moving average of the weights.")
    augment: AugmentSpec = Field(default_factory=FlipCrop, description="Random changes of the images.")
    views: int | None = Field(
        None, ge=1, description="Augmented versions of train to cycle through; fresh ones when left out."
    )
    patience: int | None = Field(
        None, ge=1, description="Stop after so many epochs without a better tune F1, and keep the best."
    )
    clip_grad: float | None = Field(None, gt=0, description="Largest norm of the gradient.")
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto: bf16 on a GPU that has it; fp32 on a CPU, where it is faster."
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto: a GPU where there is one.")
    channels_last: bool = Field(True, description="Memory layout; the faster one for convolutions.")
    compile: bool = Field(False, description="torch.compile: minutes to start, for very long runs.")

    @model_validator(mode="after")
    def _something_to_mix(self) -> TrainSpec:
        if self.mix_prob < 1 and not self.mixup and not self.cutmix:
            raise ValueError("mix_prob says how many batches mixup or cutmix changes, but both are off")
        return self

    @model_serializer(mode="wrap")
    def _dump(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Without cutmix's fields at their defaults: trainings from before it was there keep their digest."""
        content: dict[str, Any] = handler(self)
        for name, off in (("cutmix", 0.0), ("mix_prob", 1.0)):
            if content.get(name) == off:
                del content[name]
        return content

    def changed(self, **changes: Any) -> TrainSpec:
        """The same but for ``changes``, validated; where they leave nothing to mix, ``mix_prob`` is dropped.

        Raises:
            pydantic.ValidationError: a change is none that a recipe may make.
        """
        content = {**self.model_dump(), **changes}
        if not content.get("mixup") and not content.get("cutmix"):
            content.pop("mix_prob", None)
        return TrainSpec.model_validate(content)

    @property
    def peak_lr(self) -> float:
        """``lr``, or the optimizer's default."""
        return self.lr if self.lr is not None else {"sgd": 0.1, "adamw": 1e-3}[self.optimizer]


@dataclass(frozen=True)
class FitResult:
    """What a training did.

    Attributes:
        epochs_run: epochs of the whole training, those before a resume included.
        history: per epoch ``epoch`` (from 1), ``loss``, ``lr``, ``f1`` (tune; None where not measured),
            ``seconds``, and ``waited``: those of them in which the net had no batch to work on.
        best_f1: macro F1 on tune of the weights the model has now (None without tune, and at a pause where
            it was not measured): with patience the best epoch's, else the last one's.
        seconds: of all epochs.
    """

    epochs_run: int
    history: list[dict[str, Any]]
    best_f1: float | None
    seconds: float


def fit(
    model: nn.Module,
    data: ImageSet,
    spec: TrainSpec,
    *,
    preprocess: Preprocess | None = None,
    loss: LossFn | None = None,
    tune: ImageSet | None = None,
    seed: int = 0,
    work: Path | None = None,
    until: int | None = None,
    progress: bool = False,
    log: Callable[[str], None] = print,
) -> FitResult:
    """Train ``model`` in place; it ends on the CPU in eval mode.

    The result follows from the start weights, ``data``, ``spec``, ``loss`` and ``seed`` alone; the global
    random state is left as it was. On a CPU it is the same to the bit for the same number of threads,
    also when interrupted and taken up again.

    Args:
        model: normalised float32 N x 3 x size x size to N x C logits.
        preprocess: how images reach the model; left out, at ``data``'s size and the usual normalisation.
        loss: of (logits N x C, soft targets N x C, images N x 3 x H x W in 0..255 as augmented);
            ``spec.loss`` when None.
        tune: for a macro F1 on the way: every epoch with ``spec.patience``, else about ten times.
        work: a folder for a checkpoint after every epoch; an interrupted training goes on from it.
        until: pause after so many of ``spec.epochs``, with the weights that it would keep if it ended there
            (the moving average, or with patience the best so far). The same call without it, or with a later
            one, goes on from ``work`` and comes to what a training without pauses comes to, to the bit.
        progress: draw a bar when stderr is a terminal.
        log: takes one line at a time.

    Raises:
        DivergedError: the loss, a weight or a statistic became NaN or infinite.
        InputError: fewer than two images, early stop without tune, or a device that is not here.
    """
    import torch

    from compress.training.device import use_device
    from compress.training.loop import Loop
    from compress.training.memory import keep_freed_memory

    if len(data) < 2:
        raise InputError(f"training needs at least 2 images, found {len(data)}")
    if spec.patience is not None and (tune is None or not len(tune)):
        raise InputError("train.patience stops on the tune F1, but there are no tune images")
    preprocess = preprocess or Preprocess(int(data.images.shape[1]))
    device = use_device(spec)
    devices = [torch.cuda.current_device()] if device == "cuda" else []
    with torch.random.fork_rng(devices), keep_freed_memory(device == "cpu"):
        try:
            loop = Loop(model, data, spec, preprocess, loss, tune, seed, work, log)
            loop.resume()
            loop.run(progress, until)
        finally:
            model.to("cpu").to(memory_format=torch.contiguous_format).eval()
    seconds = sum(record["seconds"] for record in loop.history)
    return FitResult(loop.done, loop.history, loop.f1, seconds)


def predict_logits(
    model: nn.Module, data: ImageSet, preprocess: Preprocess, batch_size: int = 128, device: str = "cpu"
) -> np.ndarray:
    """float32 N x C logits of all of ``data`` in order, in eval mode and float32.

    The model ends on the device and in the mode it came in.
    """
    import numpy as np
    import torch

    from compress.data.loader import Batches
    from compress.training.batch import inputs

    home = next((p.device for p in model.parameters()), torch.device("cpu"))
    modes = [(m, m.training) for m in model.modules()]
    model.to(device).eval()
    try:
        with torch.inference_mode():
            batches = Batches(data, batch_size, device=device)
            out = [model(inputs(images, preprocess)).float().cpu().numpy() for images, _ in batches]
    finally:
        model.to(home)
        for module, training in modes:
            module.training = training
    return np.concatenate(out)


def float_f1(net: Net, data: ImageSet) -> float:
    """Macro F1 of a net as it is in torch: what ships is exported first, and may differ."""
    return macro_f1(data.targets, predict_logits(net.module, data, net.preprocess).argmax(1))


def macro_f1(targets: np.ndarray, predicted: np.ndarray) -> float:
    """Mean over the classes that occur of the F1 (scikit-learn's ``macro``)."""
    from sklearn.metrics import f1_score

    return float(f1_score(targets, predicted, average="macro", zero_division=0))
