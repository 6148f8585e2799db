"""State and steps of one training; ``compress.train.fit`` is the way in."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from compress.data.loader import Batches, Timed
from compress.errors import DivergedError
from compress.train import macro_f1, predict_logits
from compress.training import checkpoint
from compress.training.batch import inputs, mix
from compress.training.device import make_fabric, use_bf16, use_device
from compress.training.ema import Ema
from compress.training.losses import LossFn, loss_of, soft_targets
from compress.training.optim import lr_at, make_optimizer
from compress.training.progress import Reporter

if TYPE_CHECKING:
    from compress.data.images import ImageSet
    from compress.net import Preprocess
    from compress.train import TrainSpec

_CHECK_EVERY = 50  # steps between looks at the loss on a GPU, where each look waits for its queue
_WAITED, _WAITED_S = 0.05, 10.0  # a line says so when more of the time, and more than that, was waiting
_MODULE, _MIXUP = 3, 4  # streams of random numbers beside the two of Batches


class Loop:
    """What a checkpoint holds, and the loop that advances it. The arguments are ``fit``'s.

    Attributes:
        done: epochs done.
        history: see ``FitResult``.
        f1: macro F1 on tune of the weights the model has after ``run``.
    """

    def __init__(
        self,
        model: nn.Module,
        data: ImageSet,
        spec: TrainSpec,
        preprocess: Preprocess,
        loss: LossFn | None,
        tune: ImageSet | None,
        seed: int,
        work: Path | None,
        log: Callable[[str], None],
    ) -> None:
        self.model, self.data, self.spec, self.preprocess = model, data, spec, preprocess
        self.tune, self.seed, self.work, self.log = tune, seed, work, log
        self.device = use_device(spec)
        self.done, self.stopped = 0, False
        self.history: list[dict[str, Any]] = []
        self.best: dict[str, Any] | None = None  # with patience: epoch, f1, state
        self.f1: float | None = None
        settings = (spec.canonical(), preprocess.size, preprocess.mean, preprocess.std, seed)
        self.fingerprint = "" if work is None else checkpoint.fingerprint(model, data, *settings)

        model.to(self.device).train()
        if spec.channels_last:
            model.to(memory_format=torch.channels_last)
        self.optimizer = make_optimizer(model, spec.optimizer, spec.peak_lr, spec.momentum, spec.weight_decay)
        self.fabric = make_fabric(spec)
        self.forward, self.wrapped = self.fabric.setup(
            torch.compile(model) if spec.compile else model, self.optimizer
        )
        self.loss = loss if loss is not None else loss_of(spec, data, self.device)
        self.infinite = frozenset(not_finite(model))  # by intent, such as a mask's -inf
        self.ema = Ema(model, spec.ema, self.infinite) if spec.ema is not None else None
        self.steps = len(self._batches(0))

    def run(self, progress: bool, until: int | None = None) -> None:
        """Train until the last epoch, the early stop or epoch ``until``, then leave the weights to keep, as
        if it ended there, in the model; the checkpoint has those to go on from."""
        spec, already = self.spec, self.done
        end = spec.epochs if until is None else min(until, spec.epochs)
        if self._unfinished(end):
            self.log(
                f"training on {len(self.data)} images: {spec.epochs} epochs of {self.steps} steps, "
                f"{spec.optimizer} {spec.peak_lr:g} {spec.schedule}, {self.device} "
                f"{'bf16' if use_bf16(spec) else 'fp32'}"
                + (f", going on after epoch {self.done}" if self.done else "")
                + (f", paused after epoch {end}" if end < spec.epochs else "")
            )
        with Reporter("training", spec.epochs, self.steps, self.done, progress, self.log) as reporter:
            while self._unfinished(end):
                record = self._epoch(reporter)
                self.history.append(record)
                self.done += 1
                record["f1"] = self._tune_f1()
                self._keep_best(record["f1"])
                self._save()
                reporter.epoch(record)
        if (line := waiting(self.history)) and self.done > already:
            self.log(line)
        if self.stopped and self.done > already:
            self.log(f"stopped after epoch {self.done}: no better tune F1 in {spec.patience} epochs")
        self.f1 = self.history[-1]["f1"] if self.history else None
        if self.best is not None:
            self.model.load_state_dict(self.best["state"])
            self.f1 = self.best["f1"]
        elif self.ema is not None:
            self.model.load_state_dict(self.ema.state)

    def resume(self) -> None:
        """Take up the checkpoint in ``work``, if there is one of this very training."""
        state = checkpoint.load(self.work, self.fingerprint, self.log) if self.work is not None else None
        if state is None:
            return
        self.done, self.stopped, self.history = state["epoch"], state["stopped"], state["history"]
        self.best = state["best"]
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.ema is not None:
            self.ema.updates = state["ema"]["updates"]
            for name, value in state["ema"]["state"].items():
                self.ema.state[name].copy_(value)

    def _unfinished(self, end: int) -> bool:
        return self.done < end and not self.stopped

    def _view(self, epoch: int) -> int:
        return epoch % self.spec.views if self.spec.views else epoch

    def _batches(self, epoch: int) -> Batches:
        return Batches(
            self.data,
            self.spec.batch_size,
            augment=self.spec.augment,
            shuffle=True,
            seed=self.seed,
            epoch=self._view(epoch),
            drop_last=True,
            prefetch=0 if self.device == "cpu" else 4,
            threads=min(4, max(1, (os.cpu_count() or 1) - 1)),
            device=self.device,
        )

    def _epoch(self, reporter: Reporter) -> dict[str, Any]:
        """One pass. Every random draw follows from (seed, epoch), so an epoch can be run again alone."""
        epoch, start = self.done, time.perf_counter()
        torch.manual_seed(int(np.random.default_rng([self.seed, epoch, _MODULE]).integers(2**62)))
        mixing = np.random.default_rng([self.seed, self._view(epoch), _MIXUP])
        self.model.train()
        total = torch.zeros((), device=self.device)
        lr = 0.0
        batches = Timed(self._batches(epoch))
        for i, (images, targets) in enumerate(batches):
            lr = self._set_lr(epoch * self.steps + i)
            value = self._step_loss(images, targets, mixing)
            total += value.detach()
            looked = None
            if self.device == "cpu" or (i + 1) % _CHECK_EVERY == 0 or i + 1 == self.steps:
                looked = float(value.detach())
                if not torch.isfinite(total):
                    raise self._diverged(f"loss {looked}", lr, i)
            self._step(value)
            reporter.step(epoch, i, looked)
        broken = [name for name in not_finite(self.model) if name not in self.infinite]
        if broken:
            raise self._diverged(f"NaN or infinite values in {broken[0]}", lr, self.steps - 1)
        seconds = round(time.perf_counter() - start, 3)
        loss = float(total) / self.steps
        waited = round(batches.waited, 3)
        return {"epoch": epoch + 1, "loss": loss, "lr": lr, "f1": None, "seconds": seconds, "waited": waited}

    def _set_lr(self, step: int) -> float:
        spec = self.spec
        lr = spec.peak_lr * lr_at(spec.schedule, step, spec.epochs * self.steps, spec.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        return lr

    def _step_loss(self, images: Tensor, targets: Tensor, rng: np.random.Generator) -> Tensor:
        spec = self.spec
        soft = soft_targets(targets, len(self.data.labels), spec.label_smoothing)
        images, soft = mix(images, soft, rng, spec.mixup, spec.cutmix, spec.mix_prob)
        logits = self.forward(inputs(images, self.preprocess, spec.channels_last))
        return self.loss(logits.float(), soft, images)

    def _step(self, value: Tensor) -> None:
        self.fabric.backward(value)
        if self.spec.clip_grad is not None:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.spec.clip_grad)
        self.wrapped.step()
        self.wrapped.zero_grad(set_to_none=True)
        if self.ema is not None:
            self.ema.update(self.model)

    def _tune_f1(self) -> float | None:
        every = 1 if self.spec.patience is not None else max(1, self.spec.epochs // 10)
        if self.tune is None or not len(self.tune) or (self.done % every and self.done != self.spec.epochs):
            return None
        with self.ema.applied(self.model) if self.ema is not None else nullcontext():
            logits = predict_logits(self.model, self.tune, self.preprocess, device=self.device)
        return macro_f1(self.tune.targets, logits.argmax(1))

    def _keep_best(self, f1: float | None) -> None:
        if self.spec.patience is None or f1 is None:
            return
        if self.best is None or f1 > self.best["f1"]:
            state = self.ema.state if self.ema is not None else self.model.state_dict()
            copied = {k: v.detach().clone() for k, v in state.items()}
            self.best = {"epoch": self.done, "f1": f1, "state": copied}
        self.stopped = self.done - self.best["epoch"] >= self.spec.patience

    def _save(self) -> None:
        if self.work is None:
            return
        state = {
            "fingerprint": self.fingerprint,
            "epoch": self.done,
            "stopped": self.stopped,
            "history": self.history,
            "best": self.best,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "ema": None if self.ema is None else {"state": self.ema.state, "updates": self.ema.updates},
        }
        checkpoint.save(self.work, state)

    def _diverged(self, what: str, lr: float, step: int) -> DivergedError:
        good = "there is no checkpoint yet"
        if self.work is not None and self.done:
            good = f"the last good checkpoint is {self.work / checkpoint.NAME} (epoch {self.done})"
        advice = f"try an lr below {self.spec.peak_lr:g}, clip_grad: 1.0"
        advice += ", precision: fp32" if use_bf16(self.spec) else ""
        return DivergedError(
            f"training diverged in epoch {self.done + 1}, step {step + 1} of {self.steps}: {what} at "
            f"learning rate {lr:.3g}; {good}; {advice}"
        )


def waiting(history: list[dict[str, Any]]) -> str | None:
    """A line when a training spent a noticeable part of its time waiting for batches."""
    waited, seconds = (sum(record.get(key, 0.0) for record in history) for key in ("waited", "seconds"))
    if waited <= max(_WAITED_S, _WAITED * seconds):
        return None
    return f"{waited / seconds:.0%} of the training time ({waited:.1f} s) was waiting for images"


def not_finite(model: nn.Module) -> list[str]:
    """Names of the weights and statistics that hold a NaN or an infinity."""
    floats = {k: v for k, v in model.state_dict().items() if v.is_floating_point() and v.numel()}
    if not floats:
        return []
    worst = torch.stack([v.abs().max().float() for v in floats.values()])
    return [name for name, finite in zip(floats, torch.isfinite(worst).tolist(), strict=True) if not finite]
