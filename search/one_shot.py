"""A study that trains no candidate: all share the weights of one supernet (``--one-shot``).

Yu et al., BigNAS: Scaling up neural architecture search with big single-stage models, ECCV 2020.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import InputError
from compress.inputs import seeded, splits_of
from compress.lab import versions
from compress.net import Net, Preprocess
from compress.spec import digest
from compress.stages.training import FINE_TUNE
from compress.store import source_digest
from compress.train import float_f1
from search.candidate import Candidate
from search.objective import Measuring
from search.recipes import recipe_of

if TYPE_CHECKING:
    from torch import Tensor

    from compress.data.images import ImageSet
    from compress.train import LossFn, TrainSpec
    from search.spec import OneShotSpec
    from search.supernet import Supernet

_LONGER = 5  # than one net a supernet is trained, which many share
_IMAGES, _BATCH = 512, 64  # for the statistics of a subnet's batch norms
_SUPERNET = "supernet"  # of the study's baseline: the key of the one that its trials share


@dataclass
class OneShot(Measuring):
    """The objective of ``--one-shot``: F1 on val of nets cut out of a supernet, float as they are.

    The statistics of their batch norms are estimated on train images. Such an F1 is below what the net
    reaches alone: it ranks. ``finish`` says what a net is worth.
    """

    _seen: dict[int, list[Tensor]] = field(default_factory=dict, init=False)  # batches by size

    def baseline_values(self) -> dict[str, Any]:
        _ = self.supernet  # trained here, once, before workers ask for it
        return {**super().baseline_values(), _SUPERNET: self._own_key}

    def take_up(self, base: Mapping[str, Any]) -> None:
        """As of other studies. Trials that share other weights do not compare: a study goes on with the
        supernet that it began with, whatever this version would train; those of earlier versions noted none.
        """
        super().take_up(base)
        noted = base.get(_SUPERNET)
        if noted is None or noted == self._own_key:
            return
        self.__dict__.pop("supernet", None)  # its own, where two processes began the study at once
        if not self.store.has_net(noted):
            raise InputError(self._lost)
        self.note("one-shot: on with the supernet that the study began with; another would be trained now")

    def evaluate(self, candidate: Candidate) -> dict[str, float]:
        lab = self._lab(candidate)
        return self._with_score(float_f1(lab.backbone, lab.splits.val), self.costs(candidate, needed=True))

    def finish(self, candidate: Candidate) -> dict[str, float]:
        """Fine-tuned from the shared weights, exported and timed, as a candidate of other studies is."""
        return super().evaluate(candidate)

    def finished(self, candidate: Candidate) -> Net:
        """The fine-tuned net itself."""
        lab = self._lab(candidate)
        return lab.train(lab.base_key, lab.recipe.train)[0]

    @property
    def one_shot(self) -> OneShotSpec:
        assert self.spec.one_shot is not None
        return self.spec.one_shot

    @cached_property
    def supernet(self) -> Supernet:
        """The one that the study began with, of a new study trained, or from the store."""
        key = self._known.get(_SUPERNET, self._own_key)
        with self.store.lock(key, log=self.log):
            net = self.store.net(key)
            if net is None and key != self._own_key:
                raise InputError(self._lost)
            if net is None:
                net = self._train_supernet(self._together, self.store.work(key))
                self.store.put_net(key, net)
        shared: Any = net.module
        return shared  # type: ignore[no-any-return]

    @property
    def _together(self) -> TrainSpec:
        """How the supernet is trained."""
        # Each step runs other nets, which torch.compile would compile one by one; and there is no tune F1
        epochs = self.one_shot.epochs or _LONGER * self.spec.train.epochs
        return self.spec.train.model_copy(update={"epochs": epochs, "patience": None, "compile": False})

    @cached_property
    def _own_key(self) -> str:
        """Of the supernet that this process would train."""
        code = source_digest(__name__)  # with all that it imports
        what = [self.spec.space.canonical(), self._together.canonical(), self.one_shot.subnets, code]
        return digest("supernet", *what, self._base_lab.splits.fingerprint, self.spec.seed, versions())

    @property
    def _lost(self) -> str:
        return (
            f"one_shot: the supernet that the study began with is no longer in {self.store.root}, and this "
            "version would train another; put it back, or begin another study: set name"
        )

    def _train_supernet(self, train: TrainSpec, work: Path) -> Net:
        from compress.train import fit
        from search.supernet import Supernet

        labels = self._base_lab.splits.labels
        with seeded(self.spec.seed):
            shared = Supernet(self.spec.space, len(labels))
        count = sum(weight.numel() for weight in shared.parameters())
        self.log(f"one-shot: training a supernet of {count:,} weights for {train.epochs} epochs")
        images = self._train_images(shared.size)
        net = Net(shared, Preprocess(shared.size), labels)
        loss = sandwich(shared, images, train, self.one_shot.subnets)
        rest = {"preprocess": net.preprocess, "seed": self.spec.seed, "work": work, "log": self.log}
        fit(shared, images, train, loss=loss, **rest)  # type: ignore[arg-type]
        return net

    def _train_images(self, size: int) -> ImageSet:
        data = {**self.spec.data.canonical(), "image_size": size}
        return splits_of(recipe_of(self.spec, data=data), None, lambda line: None).train

    def _training(self, train: TrainSpec) -> TrainSpec:
        gentle = {"epochs": self.one_shot.finetune, "lr": FINE_TUNE * train.peak_lr, "schedule": "cosine"}
        return train.model_copy(update=gentle)

    def _start(self, candidate: Candidate) -> Net:
        """Cut out of the supernet, with statistics of its own."""
        from compress.ops.batchnorm import reestimate

        net = Net(
            self.supernet.module(candidate), Preprocess(candidate.image_size), self._base_lab.splits.labels
        )
        if candidate.image_size not in self._seen:
            self._seen[candidate.image_size] = self._batches(net.preprocess)
        reestimate(net.module, self._seen[candidate.image_size])
        return net

    def _batches(self, preprocess: Preprocess) -> list[Tensor]:
        """Train images, drawn, as they reach a net."""
        import numpy as np

        from compress.training.batch import mixed_batches

        data = self._train_images(preprocess.size)
        picked = random.Random(self.spec.seed).sample(range(len(data)), min(_IMAGES, len(data)))
        return list(mixed_batches(data.take(np.array(sorted(picked))), preprocess, _BATCH))


def sandwich(shared: Supernet, data: ImageSet, train: TrainSpec, subnets: int) -> LossFn:
    """The loss of a step of the supernet: that of the largest net, and of the smallest and ``subnets`` drawn
    ones against what the largest says (sandwich rule, in-place distillation).

    The largest is believed as far as it believes the label: as long as it has learned nothing, it would teach
    all nets to say nothing, itself with them. The losses are summed: a weight of more nets has more to learn.
    Nets of smaller images see them resized.
    """
    import torch
    from torch.nn.functional import cross_entropy

    from compress.training.batch import inputs
    from compress.training.device import use_device
    from compress.training.losses import loss_of

    own = loss_of(train, data, use_device(train))

    def loss(logits: Tensor, soft: Tensor, images: Tensor) -> Tensor:
        total = own(logits, soft, images)
        says = logits.detach().softmax(1)
        belief = (says * soft).sum(1, keepdim=True) / soft.amax(1, keepdim=True)
        target = belief * says + (1 - belief) * soft
        rng = random.Random(int(torch.randint(2**62, ()).item()))
        for candidate in [shared.draw(rng, "low"), *(shared.draw(rng) for _ in range(subnets))]:
            x = inputs(images, Preprocess(candidate.image_size), train.channels_last)
            total = total + cross_entropy(shared.run(candidate, x).float(), target)
        return total

    return loss


def objective_of(spec: Any, log: Callable[[str], None], note: Callable[[str], None]) -> Measuring:
    """Of a study's file, with the store that all runs share."""
    from compress.store import Store

    return (Measuring if spec.one_shot is None else OneShot)(spec, Store(), log, note)
