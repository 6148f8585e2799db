"""How large the map is after each row, and whether it is 1 x 1 where the format needs that."""

from __future__ import annotations

from collections.abc import Iterable

from compress.models.layers import Layer

DEFAULT = (224, 224)  # what the format's files are written for
COMMON = (224, 32, 64, 96, 128, 160, 192, 256, 288, 299, 320, 384, 448, 512)


class Misfit(Exception):
    """The map does not fit a row: the row's place in the list, and a line for a person."""

    def __init__(self, row: int, line: str) -> None:
        super().__init__(line)
        self.row = row
        self.line = line


def trace(rows: Iterable[Iterable[Layer]], size: tuple[int, int]) -> list[tuple[int, int] | None]:
    """Height and width of the map after each row; None once it is flat.

    Raises:
        Misfit: the map vanishes, or is not 1 x 1 where it is flattened or where the list ends.
    """
    state: tuple[int, int] | None = size
    out: list[tuple[int, int] | None] = []
    for i, layers in enumerate(rows):
        for layer in layers:
            if layer.output == "flat" and state is not None:
                _pooled(state, i, size, "flattens")
                state = None
            elif layer.output == "pooled":
                state = (1, 1)
            elif layer.windows and state is not None:
                after = tuple(w.out(side) for w, side in zip(layer.windows, state, strict=True))
                if min(after) < 1:
                    raise Misfit(i, f"its window does not fit the {_by(state)} map that {_by(size)} px leave")
                state = after[0], after[1]
        out.append(state)
    if state is not None:
        _pooled(state, len(out) - 1, size, "ends in")
    return out


def check(rows: list[tuple[Layer, ...]], size: tuple[int, int] | None) -> None:
    """The same for ``size``, or where it is not known for a size that the rows may be meant for.

    A list that ends in a linear layer only runs at its own size, so any common size will do. One
    that ends in a map runs at any size and would give N x C x H x W, so 224 px decide.
    """
    ends_linear = any(layer.module == "Linear" for row in rows for layer in row)
    tries = [size] if size else [(s, s) for s in COMMON] if ends_linear else [DEFAULT]
    first = _misfit(rows, tries[0])
    if first is not None and all(_misfit(rows, candidate) for candidate in tries[1:]):
        raise first


def _misfit(rows: list[tuple[Layer, ...]], size: tuple[int, int]) -> Misfit | None:
    try:
        trace(rows, size)
    except Misfit as misfit:
        return misfit
    return None


def _pooled(state: tuple[int, int], row: int, size: tuple[int, int], verb: str) -> None:
    if state != (1, 1):
        raise Misfit(
            row,
            f"{verb} an N x C x {_by(state)} map at {_by(size)} px, expected N x C x 1 x 1: "
            "put a GlobalAvgPool before it, or say INPUT_SIZE",
        )


def _by(pair: tuple[int, int]) -> str:
    return f"{pair[0]} x {pair[1]}"
