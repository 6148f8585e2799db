"""One set of weights for all nets of a space: a net's are cut out of them.

A place of the space holds, for each kind of block, the weights of the largest one it can be, and those of
the parts that only smaller ones have. A smaller one takes the first of the channels, the first of the
repeats, and the centre of the kernels (Yu et al., BigNAS, ECCV 2020; Yu and Huang, Universally slimmable
networks, ICCV 2019), so every net of the space shares weights with every other one that has a block of that
kind there.
"""

from __future__ import annotations

import random
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call

from compress.errors import CompressError
from compress.models import arch, blocks
from compress.models.arguments import ALIASES
from compress.models.layers import Layer
from search.blocks import Block
from search.candidate import Candidate
from search.dice import Dice
from search.sample import model_of, suggest
from search.space import Space
from search.values import ends

_HEAD = ("head.conv", "head.pool", "head.classes")
_EXPAND = "body.expand"  # of a block: its convolution to hidden channels


class Supernet(nn.Module):
    """The shared weights of a space, and its nets run with them.

    Called, it is the largest net of drawn blocks: in training one of torch's drawing, else always the same.
    Its own batch norms have no running statistics: it normalises by the batch, also outside of training. The
    nets that ``module`` gives have statistics, to be estimated for each of them.

    Attributes:
        size: side of the largest images, pixels.
    """

    drawn_weights = True  # a step may leave some out

    def __init__(self, space: Space, classes: int) -> None:
        super().__init__()
        self.space, self.classes = space, classes
        self.size = max(ends(space.image_size))
        self.shared = nn.ParameterDict()
        for place, weights in _largest(space, classes):
            for name, weight in weights.items():
                self.shared[_key(place, name)] = nn.Parameter(weight.detach().clone())

    def forward(self, x: Tensor) -> Tensor:
        """Normalised N x 3 x size x size to N x C logits."""
        seed = int(torch.randint(2**62, ()).item()) if self.training else 0
        return self.run(self.draw(random.Random(seed), "high"), x)

    def draw(self, rng: random.Random, end: Literal["low", "high"] | None = None) -> Candidate:
        """A net of the space; with ``end`` one of the largest or smallest, of drawn blocks."""
        return suggest(self.space, Dice(rng, end), self.classes)

    def run(self, candidate: Candidate, x: Tensor) -> Tensor:
        """What the candidate gives for ``x``, with gradients into the shared weights.

        Args:
            x: normalised N x 3 x image_size x image_size.
        """
        plain = arch.build(candidate.model).train()
        state = self._weights(candidate, plain)
        # Statistics are written, and thrown away: only those of one net, not trained on, are worth anything
        state |= {
            name: torch.zeros(b.shape, dtype=b.dtype, device=x.device) for name, b in plain.named_buffers()
        }
        logits: Tensor = functional_call(plain, state, (x,))
        return logits

    def module(self, candidate: Candidate) -> nn.Module:
        """The candidate's net with a copy of its weights, on the CPU in eval mode; its batch norms'
        statistics are those of no data yet."""
        plain = arch.build(candidate.model)
        own = self._weights(candidate, plain)
        with torch.no_grad():
            for name, weight in plain.named_parameters():
                weight.copy_(own[name])
        return plain.eval()

    def _weights(self, candidate: Candidate, plain: nn.Module) -> dict[str, Tensor]:
        """By the parameters' names in ``plain``, views of the shared weights.

        Raises:
            CompressError: the candidate is not of this space.
        """
        rows = _rows(candidate.model)
        places = [*candidate.places, *_HEAD]
        found = {}
        for name, weight in plain.named_parameters():
            row, rest = name.split(".", 1)
            copies = len(rows[int(row)]) > 1
            key = _key(places[int(row)], rest if copies else f"0.{rest}")
            whole = self.shared.get(key)
            cut = None if whole is None else cut_out(whole, weight.shape)
            if cut is None or cut.shape != weight.shape:
                where, shape = places[int(row)], tuple(weight.shape)
                raise CompressError(f"{where}: {name} of {shape} is not of this space")
            found[name] = cut
        return found


def cut_out(whole: Tensor, shape: torch.Size) -> Tensor:
    """The first of the channels and the centre of the kernel: a view of ``whole``.

    The groups of a DWConv depend on what divides both channel counts, so a group of a narrower one can have
    more inputs than one of the widest: they take the same filters in turn.

    Args:
        whole, shape: out x inputs of a group x height x width, or channels alone; kernels of odd sides.
    """
    if len(shape) == 4 and shape[1] > whole.shape[1]:
        whole = whole.repeat(1, -(-shape[1] // whole.shape[1]), 1, 1)
    at = [slice(n) for n in shape[:2]]
    for n, own in zip(shape[2:], whole.shape[2:], strict=True):
        start = (own - n) // 2
        at.append(slice(start, start + n))
    return whole[tuple(at)]


def _largest(space: Space, classes: int) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Every place of the space with the parameters of the largest block it can hold, its repeats as a
    Sequential, and of the parts that only smaller ones have.

    What comes before a block gives it its input: the kinds with the most channels.
    """
    depth, width = max(ends(space.depth_multiple)), max(ends(space.width_multiple))
    head = (max(ends(space.head.channels)), max(ends(space.head.activation), key=_size))
    before: list[list[Any]] = []
    odd = True  # whether what comes before may have channels that are no multiple of 8: images have 3

    def layers(body: list[list[Any]]) -> tuple[tuple[Layer, ...], ...]:
        # Strides change no weight: without them a map never becomes too small, whatever the kinds
        return _rows(model_of(body, head, classes, 64, depth, width))

    for i, slot in enumerate(space.slots):
        channels = layers(before)[len(before) - 1][-1].channels if before else 3
        widest: list[list[Any]] = []
        for block in slot.blocks:
            row = block.row(partial(_most, block), 1)
            if row is None:
                continue
            made = layers([*before, row])[len(before)]
            own = _parameters(made)
            yield f"slot{i + 1}.{block.kind}", own | _expansions(block, made, own, odd)
            if made[-1].channels > channels:
                channels, widest = made[-1].channels, [row]
        before += widest
        kinds = {block.kind for block in slot.blocks}
        odd = "Fire" in kinds or (odd and "Pass" in kinds)
    for place, one in zip(_HEAD, layers(before)[len(before) :], strict=True):
        yield place, _parameters(one)


def _parameters(made: Iterable[Layer]) -> dict[str, Tensor]:
    """Freshly initialised."""
    return dict(blocks.sequential([[layer] for layer in made]).named_parameters())


def _expansions(block: Block, made: Sequence[Layer], own: Container[str], odd: bool) -> dict[str, Tensor]:
    """Of layers that expand nothing at their largest, what they take where they are smaller.

    A block whose hidden channels are as many as its input's has no convolution that expands: at an
    ``expansion`` of 1, which may be the largest. InvertedResidualv3 rounds them to a multiple of 8, so where
    its input is ``odd`` it has one at 1, too.
    """
    if not hasattr(block, "expansion"):
        return {}
    other = any(value != 1 for value in ends(block.expansion))
    found = {}
    for i, layer in enumerate(made):
        hidden = layer.kwargs["hidden_channels"]
        smaller = other or (odd and i == 0 and block.kind == "InvertedResidualv3")
        if not smaller or f"{i}.{_EXPAND}.conv.weight" in own:
            continue
        # One channel more, which is cut off again, and the layer expands, whatever its kind
        more = {"hidden_channels": hidden + 1} | ({"expand": True} if "expand" in layer.kwargs else {})
        for name, weight in _parameters([replace(layer, kwargs={**layer.kwargs, **more})]).items():
            if name.startswith(f"0.{_EXPAND}."):
                found[f"{i}{name.removeprefix('0')}"] = weight[:hidden]
    return found


def _most(block: Block, key: str) -> Any:
    """The largest value that ``key`` of a block can have."""
    return max(ends(getattr(block, key)), key=_size)


def _size(choice: Any) -> float:
    """Of an activation how many parameters it has."""
    if isinstance(choice, int | float):
        return float(choice)
    return float(sum(p.numel() for p in blocks.make_activation(ALIASES.get(choice, choice)).parameters()))


def _rows(model: dict[str, Any]) -> tuple[tuple[Layer, ...], ...]:
    return arch.plan(model).rows


def _key(place: str, name: str) -> str:
    return f"{place}.{name}".replace(".", "/")  # a parameter's name may hold no dot
