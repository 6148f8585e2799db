"""Model files of the competition's format, to modules.

``input_channel``, ``depth_multiple``, ``width_multiple`` and ``backbone``, a list of rows
``[repeat, block, args]``; other keys are left alone. The blocks are those of ``rows.BLOCKS``.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from operator import index
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.errors import InputError
from compress.models import sizes
from compress.models.arguments import nearest, positive, read_args, show, whole
from compress.models.layers import Layer, divisible
from compress.models.rows import BLOCKS, CLASSIFIERS, Block

if TYPE_CHECKING:
    from torch import nn

    from compress.yamlio import Located

Source = str | Path | Mapping[str, Any]


@dataclass(frozen=True)
class Arch:
    """A checked model file.

    Attributes:
        name: the file, for messages.
        input_channels: of the images.
        rows: the layers of each row of ``backbone``, in order.
        classes: channels of the logits.
    """

    name: str
    input_channels: int
    rows: tuple[tuple[Layer, ...], ...]
    classes: int


def build(
    source: Source, num_classes: int | None = None, *, size: int | tuple[int, int] | None = None
) -> nn.Sequential:
    """A model file as a module: float N x ``input_channel`` x H x W to N x C logits.

    Args:
        source: the file, or its content.
        num_classes: replaces the output channels of the last Conv, FixedConv or Linear.
        size: the images' side, or height and width, in pixels. Default: the file's INPUT_SIZE.

    Raises:
        InputError: one line for each thing wrong in the file, naming its row.
    """
    from compress.models import blocks

    return blocks.sequential(plan(source, num_classes, size=size).rows)


def plan(
    source: Source, num_classes: int | None = None, *, size: int | tuple[int, int] | None = None
) -> Arch:
    """What ``build`` would build, and every error it would raise, without torch."""
    if isinstance(source, Mapping):
        return _Reader("model", source, num_classes).plan(size)
    from compress import yamlio

    located = yamlio.read_located(source)
    return _Reader(located.name, located.data, num_classes, located).plan(size)


class _Reader:
    """Reads one file; ``problems`` collects one line for each thing wrong."""

    def __init__(
        self, name: str, data: Mapping[str, Any], num_classes: int | None, located: Located | None = None
    ) -> None:
        self.name, self.data, self.num_classes = name, data, _classes(num_classes)
        self.located = located
        self.problems: list[str] = located.problems() if located else []

    def plan(self, size: int | tuple[int, int] | None) -> Arch:
        input_channels = self.key("input_channel", whole, "a whole number above 0")
        depth = self.key("depth_multiple", positive, "a number above 0")
        width = self.key("width_multiple", positive, "a number above 0")
        rows = self.key("backbone", _list, "a list of rows [repeat, block, args], at least one")
        layers = self.rows(rows or [], input_channels, depth, width)
        if not self.problems:
            self.sizes(layers, _pair(size or self.data.get("INPUT_SIZE")))
        if self.problems:
            raise InputError(self.problems)
        return Arch(self.name, input_channels, tuple(layers), layers[-1][-1].channels)

    def key(self, key: str, read: Any, text: str) -> Any:
        if key not in self.data:
            self.problems.append(f"{self.name}: {key} is missing{nearest(key, [str(k) for k in self.data])}")
            return None
        try:
            return read(self.data[key])
        except ValueError:
            self.problems.append(f"{self.at(key)}: {key} must be {text}, found {show(self.data[key])}")
            return None

    def rows(self, rows: list[Any], channels: int | None, depth: float | None, width: float | None) -> Any:
        parsed = [self.row(i, row) for i, row in enumerate(rows)]
        replaced = self.classifier(parsed)
        layers: list[tuple[Layer, ...]] = []
        flat: bool | None = False
        for i, found in enumerate(parsed):
            if found is None:
                channels = flat = None  # unknown from here on: what depends on them is left unchecked
                continue
            repeat, name, args = found
            block = BLOCKS[name]
            if flat is not None and block.takes == ("map" if flat else "flat"):
                needs = "a map, but it is flattened by now" if flat else "N x C, so Flatten before it"
                self.wrong(i, rows[i], f"{name} takes {needs}")
                flat = None
            elif block.takes != "any":
                flat = block.takes == "flat"
            if channels is not None and depth is not None and width is not None:
                count = max(round(repeat * depth), 1) if repeat > 1 else repeat
                classes = self.num_classes if i == replaced else None
                try:
                    layers.append(tuple(block.expand(args, channels, count, _width(block, width, classes))))
                    channels = layers[-1][-1].channels
                except ValueError as error:
                    self.wrong(i, rows[i], str(error))
                    channels = None
            flat = True if name == "Flatten" else flat
        if self.num_classes and channels is not None and channels != self.num_classes:
            last = "none" if replaced is None else f"row {replaced + 1}"
            self.problems.append(
                f"{self.name}: num_classes={self.num_classes} sets the last of {', '.join(CLASSIFIERS)} "
                f"({last}), but the list ends with {channels} channels"
            )
        return layers

    def row(self, i: int, row: Any) -> tuple[int, str, dict[str, Any]] | None:
        if not isinstance(row, (list, tuple)) or len(row) != 3 or not isinstance(row[2], (list, tuple)):
            self.wrong(i, row, "expected [repeat, block, args] with args a list")
            return None
        repeat, name, values = row
        before = len(self.problems)
        try:
            repeat = whole(repeat)
        except ValueError:
            self.wrong(i, row, f"repeat must be a whole number above 0, found {show(repeat)}")
        block = BLOCKS.get(name) if isinstance(name, str) else None
        if block is None:
            known = f"{nearest(name, BLOCKS)}; known: {', '.join(sorted(BLOCKS))}"
            self.wrong(i, row, f"unknown block {show(name)}{known}")
            return None
        if not sum(arg.required for arg in block.args) <= len(values) <= len(block.args):
            self.wrong(i, row, f"{name} takes {block.usage()}, found {len(values)}")
            return None
        args, problems = read_args(block.args, values)
        for problem in problems:
            self.wrong(i, row, problem)
        return (repeat, name, args) if len(self.problems) == before else None

    def classifier(self, parsed: list[tuple[int, str, dict[str, Any]] | None]) -> int | None:
        """The place of the row whose channels ``num_classes`` replaces."""
        return max((i for i, row in enumerate(parsed) if row and row[1] in CLASSIFIERS), default=None)

    def sizes(self, layers: list[tuple[Layer, ...]], size: tuple[int, int] | None) -> None:
        try:
            sizes.check(layers, size)
        except sizes.Misfit as misfit:
            self.wrong(misfit.row, self.data["backbone"][misfit.row], misfit.line)

    def wrong(self, i: int, row: Any, line: str) -> None:
        self.problems.append(f"{self.at('backbone', i)}: row {i + 1} {show(row)}: {line}")

    def at(self, *path: str | int) -> str:
        """``file:line`` of a key, where there is a file."""
        return f"{self.name}:{self.located.line_of(path)}" if self.located else self.name


def _classes(found: Any) -> int | None:
    """A number of classes, NumPy's too; 2.0 is none."""
    if found is None:
        return None
    with suppress(TypeError):
        if not isinstance(found, bool) and index(found) > 0:
            return index(found)
    raise InputError(f"num_classes must be a whole number above 0, found {found!r}")


def _width(block: Block, multiple: float, classes: int | None) -> Any:
    if classes is not None:
        return lambda c: classes
    return (lambda c: divisible(c * multiple)) if block.scaled else int


def _list(value: Any) -> list[Any]:
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError
    return list(value)


def _pair(value: Any) -> tuple[int, int] | None:
    """Height and width from a side or a pair; INPUT_SIZE is not part of the format, so anything
    else counts as not said."""
    try:
        if isinstance(value, (list, tuple)) and len(value) == 2:
            return whole(value[0]), whole(value[1])
        return whole(value), whole(value)
    except ValueError:
        return None
