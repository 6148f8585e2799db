"""The stages a recipe may name: ours, and those other packages give by entry point.

A package adds a stage with, in its own metadata::

    [options.entry_points]
    beyondnas.stages =
        sparsify = their_package.sparsify:Sparsify
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import EntryPoint, entry_points

from compress.errors import InputError
from compress.stages.base import Stage
from compress.stages.decompose import Decompose
from compress.stages.distill import Distill
from compress.stages.finetune import Finetune
from compress.stages.prune import Prune
from compress.stages.quantize import Quantize
from compress.stages.resize import Resize

GROUP = "beyondnas.stages"
BUILT_IN: dict[str, type[Stage]] = {
    "prune": Prune,
    "decompose": Decompose,
    "distill": Distill,
    "quantize": Quantize,
    "resize": Resize,
    "finetune": Finetune,
}


@cache
def found() -> dict[str, EntryPoint]:
    """Stages of other packages by kind; ours cannot be replaced."""
    return {e.name: e for e in entry_points(group=GROUP) if e.name not in BUILT_IN}


def kinds() -> list[str]:
    """Every kind of stage a recipe may name here."""
    return [*BUILT_IN, *found()]


def stage(kind: str) -> type[Stage] | None:
    """The class of a kind, None for an unknown one; another package is imported only when named.

    Raises:
        InputError: the package that should bring it cannot be imported, or brings something else.
    """
    if kind in BUILT_IN:
        return BUILT_IN[kind]
    if kind not in found():
        return None
    entry = found()[kind]
    where = f"stage {kind!r} ({entry.value})"
    try:
        made = entry.load()
    except Exception as error:  # anything may go wrong in a package of others
        raise InputError(f"{where} cannot be imported: {type(error).__name__}: {error}") from error
    if not (isinstance(made, type) and issubclass(made, Stage)):
        raise InputError(f"{where} is not a subclass of compress.stages.base.Stage")
    if made.model_fields["kind"].default != kind:
        raise InputError(f"{where} has the kind {made.model_fields['kind'].default!r}, not {kind!r}")
    return made
