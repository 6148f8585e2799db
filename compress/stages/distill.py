"""Learning from a teacher's logits."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from compress.errors import InputError
from compress.models.zoo import CheckpointModel, ModelSpec, PretrainedModel
from compress.net import Net
from compress.stages.base import Context, Plan, Stage
from compress.stages.training import default_lr, seed_of, train_net

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from compress.train import LossFn, TrainSpec

_SHARE = 0.5  # of the recipe's learning rate, for a net that has learned already


class PretrainedTeacher(PretrainedModel):
    """A pretrained net, fine-tuned on train with AdamW the first time it is needed."""

    epochs: int = Field(8, ge=1, description="Fine-tuning on train.")
    lr: float = Field(1e-3, gt=0, description="Peak learning rate of AdamW.")
    image_size: int | None = Field(
        None, ge=32, le=1024, description="Side in pixels at which it sees images; the student's if left out."
    )


class Distill(Stage):
    """Train towards a teacher's softened outputs ("Distilling the Knowledge in a Neural Network",
    Hinton et al. 2015); after quantize, quantization-aware.

    The teacher sees every image as augmented and mixed for the student, so a long training with mixup
    is "patient and consistent" (Beyer et al. 2022): ``epochs: 300, mixup: 1.0, alpha: 1.0, temperature: 1``.
    """

    kind: Literal["distill"] = "distill"
    teacher: Literal["baseline", "previous"] | PretrainedTeacher = Field(
        "baseline", description="baseline: the net the chain started from; previous: the net as it is."
    )
    temperature: float = Field(4.0, gt=0, description="Softens both outputs; more shows more of the teacher.")
    alpha: float = Field(
        0.9, ge=0, le=1, description="Weight of the teacher; the labels, by train.loss, have the rest."
    )
    epochs: int = Field(60, ge=1, description="Passes over train.")
    lr: float | None = Field(
        None,
        gt=0,
        description="Peak learning rate; 0.5 of the recipe's, all of it for a fresh student, "
        "0.01 after quantize.",
    )
    mixup: float | None = Field(None, ge=0, description="Alpha of mixup; the recipe's if left out.")
    views: int | None = Field(
        None,
        ge=1,
        description="Augmented versions of train to cycle through: the teacher sees each once, which is "
        "faster; the recipe's if left out.",
    )
    student: ModelSpec | None = Field(None, description="A fresh net to train instead of the net as it is.")

    after_quantize: ClassVar[bool] = True

    def plan(self, net: Net, ctx: Context) -> Plan:
        self._check(net)
        how = "float" if net.quant is None else "quantization-aware"
        lr = self._lr(net, ctx)
        notes = [f"{self.epochs} epochs, {how}, learning rate {lr:g}, T {self.temperature:g}"]
        if isinstance(self.teacher, PretrainedTeacher):
            notes.append(
                f"teacher {self.teacher.name}: fine-tuned for {self.teacher.epochs} epochs, then kept"
            )
        elif self.teacher == "baseline" and self.student is None:
            notes.append(_compared(_tune_f1(ctx.baseline, ctx), _tune_f1(net, ctx)))
        if self.student is not None:
            notes.append(f"a fresh student ({self.student.kind}) takes the place of the net")
        return Plan(notes=tuple(notes))

    def apply(self, net: Net, plan: Plan, ctx: Context) -> Net:
        from compress.training.device import use_bf16_forward, use_device
        from compress.training.losses import loss_of

        self._check(net)
        lr = self._lr(net, ctx)
        before = _tune_f1(net, ctx)
        teacher = self._teacher(net, ctx)
        compared = _compared(_tune_f1(teacher, ctx), before)
        if compared not in plan.notes:  # which are in the log already
            ctx.log(f"distill: {compared}")
        student = net if self.student is None else self._fresh(net, ctx)
        views = self.views or ctx.train_spec.views
        loss = TeacherLoss(
            teacher,
            self.temperature,
            self.alpha,
            loss_of(ctx.train_spec, ctx.train, use_device(ctx.train_spec)),
            bf16=use_bf16_forward(ctx.train_spec),
            keep=bool(views),
        )
        train_net(
            student,
            ctx,
            epochs=self.epochs,
            lr=lr,
            loss=loss,
            name="distill",
            mixup=self.mixup,
            views=views,
        )
        return student

    def _check(self, net: Net) -> None:
        if self.student is not None and net.quant is not None:
            raise InputError(
                "distill: a fresh student cannot take the place of an int8 net; put it before quantize"
            )
        self.check_student()

    def check_student(self) -> None:
        """InputError where the student is int8: trained as float, it would lose its ranges."""
        from compress.models.checkpoint import FLOAT_NET, load_net

        if isinstance(self.student, CheckpointModel) and load_net(self.student.path).quant is not None:
            raise InputError(f"distill: its student {self.student.path} is int8; give {FLOAT_NET}")

    def _lr(self, net: Net, ctx: Context) -> float:
        return self.lr or default_lr(net, ctx, _SHARE if self.student is None else 1.0)

    def _teacher(self, net: Net, ctx: Context) -> Net:
        """A copy, for it moves to the device and its batch norms are folded."""
        if self.teacher == "baseline":
            return ctx.baseline.copy()
        if self.teacher == "previous":
            return net.copy()
        spec = self.teacher
        size = spec.image_size or net.preprocess.size
        training = _teacher_training(spec, ctx.train_spec)
        key = {"teacher": spec.canonical(), "size": size, "training": training.canonical(), "seed": ctx.seed}
        key["images"] = ctx.train.images.shape[1]  # which it is trained on, as it will see them: enlarged
        return ctx.remember(key, lambda work: _fine_tuned(spec, training, size, work, ctx)).copy()

    def _fresh(self, net: Net, ctx: Context) -> Net:
        import torch

        assert self.student is not None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(ctx, "student"))
            return self.student.build(net.labels, net.preprocess.size)


def kd_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    soft_targets: Tensor,
    temperature: float,
    alpha: float,
    labels: Tensor | None = None,
) -> Tensor:
    """alpha T^2 KL(teacher at T || student at T) + (1 - alpha) cross entropy with the targets.

    All N x C; a scalar, the mean over N. T^2 keeps the gradient's size as T grows (Hinton et al. 2015).
    ``labels``, a scalar, takes the place of the cross entropy.
    """
    from torch.nn.functional import cross_entropy, kl_div, log_softmax

    soft = kl_div(
        log_softmax(student_logits / temperature, 1),
        log_softmax(teacher_logits / temperature, 1),
        reduction="batchmean",
        log_target=True,
    )
    hard = cross_entropy(student_logits, soft_targets) if labels is None else labels
    return alpha * temperature**2 * soft + (1 - alpha) * hard


class TeacherLoss:
    """``kd_loss`` with a net as the teacher, as a loss of ``compress.train.fit``.

    Args:
        teacher: sees the images at its own size and normalised its own way; moves to their device.
        labels: the loss on the labels; cross entropy when left out.
        bf16: run it in bfloat16.
        keep: remember its logits by the content of a batch, for trainings that come back to the same
            batches (``views``); on a CPU only, where a look at the content is cheap.
    """

    def __init__(
        self,
        teacher: Net,
        temperature: float,
        alpha: float,
        labels: LossFn | None = None,
        *,
        bf16: bool = False,
        keep: bool = False,
    ) -> None:
        from compress.ops.fold import folded

        self.temperature, self.alpha, self.labels = temperature, alpha, labels
        self.bf16, self.keep = bf16, keep
        self.preprocess = teacher.preprocess
        self.module = folded(teacher.module, teacher.example())
        self.known: dict[bytes, Tensor] = {}

    def __call__(self, logits: Tensor, soft_targets: Tensor, images: Tensor) -> Tensor:
        labels = None if self.labels is None else self.labels(logits, soft_targets, images)
        known = self._known_logits(images)
        return kd_loss(logits, known, soft_targets, self.temperature, self.alpha, labels)

    def _known_logits(self, images: Tensor) -> Tensor:
        if not self.keep or images.device.type != "cpu":
            return self.logits(images)
        key = hashlib.sha256(images.contiguous().numpy().data).digest()
        if key not in self.known:
            self.known[key] = self.logits(images)
        return self.known[key]

    def logits(self, images: Tensor) -> Tensor:
        """The teacher's float32 N x C logits of images in 0..255, N x 3 x H x W, in eval mode."""
        import torch

        from compress.training.batch import inputs

        device = images.device
        self.module.to(device)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=self.bf16):
            out: Tensor = self.module(inputs(images, self.preprocess, channels_last=True))
        return out.float()


def _teacher_training(spec: PretrainedTeacher, base: TrainSpec) -> TrainSpec:
    """The recipe's settings, with AdamW, and without what is meant for a long training."""
    return base.changed(
        epochs=spec.epochs,
        optimizer="adamw",
        lr=spec.lr,
        schedule="one_cycle",
        warmup=None,
        weight_decay=0.01,
        patience=None,
        ema=None,
        mixup=0.0,
        cutmix=0.0,
        views=None,
        compile=False,
    )


def _fine_tuned(spec: PretrainedTeacher, training: TrainSpec, size: int, work: Path, ctx: Context) -> Net:
    import torch

    from compress.train import fit

    ctx.log(f"distill: fine-tuning the teacher {spec.name} at {size} px")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed_of(ctx, "teacher"))  # its new last layer
        net = spec.build(ctx.baseline.labels, size)
    fit(
        net.module,
        ctx.train,
        training,
        preprocess=net.preprocess,
        tune=ctx.tune,
        seed=seed_of(ctx, "teacher"),
        work=work,
        progress=ctx.progress,
        log=ctx.log,
    )
    return net


def _tune_f1(net: Net, ctx: Context) -> float:
    from compress.train import float_f1

    return float_f1(net, ctx.tune)


def _compared(teacher: float, student: float) -> str:
    line = f"tune F1 of the teacher {teacher:.3f}, of the net before {student:.3f}"
    return line if teacher >= student else f"{line}: the teacher is worse than its student"
