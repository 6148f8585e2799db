"""Which strides a slot may still take, so that the whole net ends within its bounds."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class StridePlan:
    """Reachable totals, slot by slot; exact, so that no draw leads into a dead end.

    A map of n pixels is never smaller than n // total after strides of that product: with the paddings of
    the model format every convolution rounds up and MBConv rounds down.

    Attributes:
        options: the strides of each slot's blocks.
        least, most: bounds of their product; ``most`` covers that of the last map.
        image_size: for messages.
    """

    options: tuple[frozenset[int], ...]
    least: int
    most: int
    image_size: int

    @cached_property
    def _after(self) -> list[frozenset[int]]:
        """Products of the strides from each slot on."""
        return _products(self.options[::-1], self.most)[::-1]

    @cached_property
    def _before(self) -> list[frozenset[int]]:
        """Products of the strides before each slot."""
        return _products(self.options, self.most)

    @property
    def possible(self) -> bool:
        return self.leads(-1, 1)

    @property
    def bounds(self) -> str:
        return f"a total stride from {self.least} to {self.most} on {self.image_size} px"

    def leads(self, slot: int, total: int) -> bool:
        """Whether a product of ``total`` after ``slot`` can end within the bounds."""
        return any(self.least <= total * rest <= self.most for rest in self._after[slot + 1])

    def ever(self, slot: int, stride: int) -> bool:
        """Whether any choice before and after ``slot`` leaves room for ``stride`` there."""
        return any(self.leads(slot, total * stride) for total in self._before[slot])


def _products(options: Iterable[frozenset[int]], most: int) -> list[frozenset[int]]:
    """Products up to ``most`` of one number of each of the first 0, 1, 2, ... sets."""
    found = [frozenset((1,))]
    for numbers in options:
        found.append(frozenset(p for n in numbers for m in found[-1] if (p := n * m) <= most))
    return found
