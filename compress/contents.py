"""What is in a module or any other object, as a text that every process finds again.

Equal texts mean equal contents: no address, no ``id`` and no order of a set gets into them. Pickles do not
serve: their bytes tell apart what is equal, by which strings happen to be one object.
"""

from __future__ import annotations

import copyreg
import hashlib
import re
import sys
from types import CodeType, EllipsisType, FunctionType, NoneType
from typing import TYPE_CHECKING, Any

from compress.spec import digest
from compress.store import PACKAGE, source_digest

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

_PLAIN = (NoneType, bool, int, float, complex, str, bytes, EllipsisType)  # their repr says it all
_VERSIONED = {PACKAGE, "torch", "torchvision", "numpy", *sys.stdlib_module_names}
_PARTS = ("_parameters", "_buffers", "_modules")
_HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")
_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]+")


def contents(value: Any) -> str:
    """Text that equal values share; of modules without whether they are in training mode."""
    return _Walk({}).of(value)


class _Walk:
    """One way through an object and all that it refers to; what comes again is named by its number."""

    def __init__(self, seen: dict[int, tuple[int, Any]]) -> None:
        self.seen = seen  # numbers by id, and the objects: an id is theirs only as long as they live

    def of(self, value: Any) -> str:
        kind = type(value)
        if kind in _PLAIN:
            return f"{kind.__name__} {value!r}"
        if kind not in (tuple, frozenset):  # whether equal ones are one object is nobody's decision
            if id(value) in self.seen:
                return f"again {self.seen[id(value)][0]}"
            self.seen[id(value)] = len(self.seen), value
        return digest(_name(value) if isinstance(value, type) else self.of(kind), self._inside(value))

    def _inside(self, value: Any) -> Any:
        import numpy as np
        import torch

        if isinstance(value, torch.nn.Module):
            return self._module(value)
        if isinstance(value, torch.Tensor) and value.layout is torch.strided:
            return _tensor(value)
        if isinstance(value, np.ndarray) and not value.dtype.hasobject:
            return _array(value)
        if isinstance(value, type):
            return self._class(value)
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, CodeType):
            return self._all((value.co_code, value.co_names, value.co_consts))
        return self._container(value)

    def _container(self, value: Any) -> Any:
        kind = type(value)
        if kind in (tuple, list):
            return self._all(value)
        if kind is dict:
            return self._pairs(value.items())
        if kind in (set, frozenset):  # each as if it came first
            return sorted(_Walk(dict(self.seen)).of(one) for one in value)
        if kind.__module__.startswith("torch.fx."):  # a graph's nodes are a chain as long as the net
            return str(value)
        return self._object(value)

    def _module(self, module: nn.Module) -> list[Any]:
        from torch import nn

        mine = vars(module)
        own = mine.keys() - vars(nn.Module()).keys() - {"_compiled_call_impl"}
        parts = [self._pairs(mine[name].items()) for name in _PARTS]
        hooks = [self._all(mine[name].values()) for name in _HOOKS]  # their keys count hooks of all modules
        return [parts, hooks, self._pairs((name, mine[name]) for name in sorted(own))]

    def _class(self, kind: type) -> list[Any]:
        """Its source, and what it holds now: in a notebook a class is written anew without a new file."""
        source = _source(kind.__module__)
        if not source:
            return []
        held = {name: value for name, value in vars(kind).items() if isinstance(value, FunctionType)}
        held |= {k: v for k, v in vars(kind).items() if type(v) in _PLAIN and not k.startswith("__")}
        return [source, self._all(kind.__bases__), self._pairs(sorted(held.items()))]

    def _function(self, function: FunctionType) -> list[Any]:
        named, source = _name(function), _source(function.__module__)
        bound = [cell.cell_contents for cell in function.__closure__ or ()]
        defaults = function.__defaults__, function.__kwdefaults__
        return [named, source, *self._all((function.__code__, *defaults, bound))]

    def _object(self, value: Any) -> Any:
        """What its pickle would hold; where there is none, what it says of itself."""
        try:
            special = copyreg.dispatch_table.get(type(value))
            made = special(value) if special else value.__reduce_ex__(4)
        except Exception:  # whatever a class of others raises
            return _ADDRESS.sub("", repr(value))
        if isinstance(made, str):
            return [getattr(value, "__module__", None), made]
        make, args, state, items, pairs = (*made, None, None, None)[:5]
        told = self._pairs(sorted(state.items())) if _is_named(state) else self.of(state)
        return [self.of(make), self.of(args), told, self._all(items or ()), self._pairs(pairs or ())]

    def _all(self, values: Any) -> list[str]:
        return [self.of(one) for one in values]

    def _pairs(self, pairs: Any) -> list[list[str]]:
        return [self._all(pair) for pair in pairs]


def _tensor(value: Tensor) -> list[Any]:
    import torch

    told = [str(value.dtype), list(value.shape), value.requires_grad]
    raw = value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    return [*told, hashlib.sha256(raw.data).hexdigest()]


def _array(value: np.ndarray) -> list[Any]:
    return [value.dtype.str, list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]


def _is_named(state: Any) -> bool:
    return isinstance(state, dict) and all(isinstance(key, str) for key in state)


def _name(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _source(home: str | None) -> str:
    """Digest of a module's source; nothing for libraries whose versions are in every key."""
    return "" if home is None or home.split(".")[0] in _VERSIONED else source_digest(home)
