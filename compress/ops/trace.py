"""What a net does on an input: its operators in order, and the kernels a runtime makes of them.

Taken from one eager run below autograd, so control flow, functional calls and subclasses of layers are
no obstacle, and what is counted is what runs.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from compress.ops.flops import unfused_attention

INPUT = -1  # in ``reads``: the net's own input

_KINDS = {
    "conv": "convolution _convolution conv2d",
    "linear": "addmm mm bmm baddbmm matmul linear",
    "norm": "_native_batch_norm_legit_no_training native_batch_norm cudnn_batch_norm native_layer_norm "
    "native_group_norm _batch_norm_no_update",
    "act": "relu relu6 hardtanh hardswish hardsigmoid sigmoid silu gelu leaky_relu elu tanh mish softplus "
    "clamp clamp_min clamp_max _prelu_kernel",
    "add": "add sub rsub",
    "mul": "mul div",
    "pool": "mean _adaptive_avg_pool2d avg_pool2d max_pool2d_with_indices",
    "cat": "cat",
    "view": "view _unsafe_view reshape permute t transpose unsqueeze squeeze expand flatten unflatten slice "
    "select alias detach split split_with_sizes chunk unbind as_strided _reshape_alias",
    "copy": "clone _to_copy copy contiguous constant_pad_nd",
}
_KIND = {name: kind for kind, names in _KINDS.items() for name in names.split()}


@dataclass(frozen=True)
class Op:
    """One operator of a run.

    Attributes:
        module: dotted name of the module that called it; empty for the net itself.
        kind: ``conv``, ``linear``, ``norm``, ``act``, ``add``, ``mul``, ``pool``, ``cat``, ``view``,
            ``copy`` or ``other``.
        target: aten's name of it, in-place or not (``hardswish``).
        reads: of its activations, the indices in the trace of the operators that made them, or ``INPUT``.
        shapes: of these activations, batch first.
        out: shape of its (first) result.
        params: elements of parameters and buffers it reads.
        macs: multiply-accumulates.
        kernel, stride, groups: of a convolution.
        itemsize: bytes an element of the result has.
    """

    module: str
    kind: str
    target: str
    reads: tuple[int, ...]
    shapes: tuple[tuple[int, ...], ...]
    out: tuple[int, ...]
    params: int = 0
    macs: int = 0
    kernel: tuple[int, ...] = (1, 1)
    stride: tuple[int, ...] = (1, 1)
    groups: int = 1
    itemsize: int = 4


@dataclass(frozen=True)
class Kernel:
    """Operators that run as one: a layer with the norm and the activation after it, or one of the others.

    Attributes:
        op: the operator it is called by.
        index: of ``op`` in the trace.
        fused: the norms and activations merged into it.
        reads: the kernels whose results it reads, by their position, or ``INPUT``.
    """

    op: Op
    index: int
    fused: tuple[Op, ...]
    reads: tuple[int, ...]

    @property
    def act(self) -> str | None:
        """The merged activation's name."""
        return next((op.target for op in self.fused if op.kind == "act"), None)

    @property
    def read(self) -> int:
        """Elements of activations read."""
        return sum(map(math.prod, self.op.shapes))

    @property
    def written(self) -> int:
        """Elements written."""
        return math.prod(self.op.out)

    @property
    def memory(self) -> int:
        """Memory access cost (Ma et al., ShuffleNet V2, 2018): elements read, written, and weights."""
        return self.read + self.written + self.op.params


def trace(module: nn.Module, example: Tensor) -> list[Op]:
    """Every operator of one eval-mode forward of ``example``; ``module`` is left as it is."""
    training = [layer for layer in module.modules() if layer.training]
    module.eval()
    try:
        with (
            torch.no_grad(),
            unfused_attention(),
            _names(module) as where,
            _Recorder(module, example, where) as recorder,
        ):
            module(example)
    finally:
        for layer in training:
            layer.training = True
    ops: list[Op] = recorder.ops
    return ops


def kernels(ops: list[Op]) -> list[Kernel]:
    """What a compiling runtime launches for a trace: views are free, norms are folded and activations
    applied by the layer (or addition) that alone they read."""
    seen = _through_views(ops)
    readers = Counter(r for i, op in enumerate(ops) if op.kind != "view" for r in set(seen[i]))
    source: list[int] = []  # of each operator, the one whose kernel makes its result
    fused: dict[int, list[Op]] = {}
    for i, op in enumerate(ops):
        makers = [r if r == INPUT else source[r] for r in seen[i]]
        if op.kind == "view":
            source.append(makers[0])
        elif _fits(op, [ops[m].kind if m != INPUT else "" for m in makers]) and readers[seen[i][0]] == 1:
            source.append(makers[0])
            fused.setdefault(makers[0], []).append(op)
        else:
            source.append(i)
    own = [i for i, op in enumerate(ops) if op.kind != "view" and source[i] == i]
    place = {i: n for n, i in enumerate(own)} | {INPUT: INPUT}
    found = []
    for i in own:
        reads = tuple(place[r if r == INPUT else source[r]] for r in seen[i])
        found.append(Kernel(ops[i], i, tuple(fused.get(i, ())), reads))
    return found


def _through_views(ops: list[Op]) -> list[tuple[int, ...]]:
    """What each operator reads, views looked through."""
    seen: list[tuple[int, ...]] = []
    for op in ops:
        seen.append(tuple(seen[r][0] if r != INPUT and ops[r].kind == "view" else r for r in op.reads))
    return seen


def _fits(op: Op, makers: list[str]) -> bool:
    """Whether an operator is a norm or an activation of one layer's or addition's result."""
    one = op.kind in ("norm", "act") and len(makers) == 1 and op.shapes[0] == op.out
    return one and makers[0] in ("conv", "linear", "add")


@contextmanager
def _names(module: nn.Module) -> Iterator[Callable[[], str]]:
    """A function that says which submodule is running."""
    stack = [""]
    handles: list[Any] = []
    for name, layer in module.named_modules():
        if not name:
            continue
        handles.append(layer.register_forward_pre_hook(lambda _l, _a, name=name: stack.append(name)))
        handles.append(layer.register_forward_hook(lambda _l, _a, _o: stack.pop() and None, always_call=True))
    try:
        yield lambda: stack[-1]
    finally:
        for handle in handles:
            handle.remove()


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Writes every operator down as it runs."""

    def __init__(self, module: nn.Module, example: Tensor, where: Callable[[], str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.ops: list[Op] = []
        self._where = where
        self._weights = {id(t) for t in (*module.parameters(), *module.buffers())}
        self._made: dict[int, int] = {id(example): INPUT}
        self._alive: list[Any] = []  # or a freed tensor's id would come back as another's

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        result = func(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        packet = func.overloadpacket
        name = packet.__name__
        kind = _KIND.get(name) or _KIND.get(name.removesuffix("_"), "other")
        read = [t for t in given if id(t) in self._made]
        weights = [t for t in given if id(t) in self._weights]
        if kind == "view" and weights and not read:  # a transposed weight is a weight
            self._weights.update(map(id, made))
        elif read and made:
            flops = flop_registry.get(packet)
            self.ops.append(
                Op(
                    module=self._where(),
                    kind=kind,
                    target=name.removesuffix("_"),
                    reads=tuple(self._made[id(t)] for t in read),
                    shapes=tuple(tuple(t.shape) for t in read),
                    out=tuple(made[0].shape),
                    params=sum(t.numel() for t in weights),
                    macs=int(flops(*args, **kwargs, out_val=result)) // 2 if flops else 0,
                    itemsize=made[0].element_size(),
                    **_conv_settings(kind, args),
                )
            )
            self._made.update((id(t), len(self.ops) - 1) for t in made)
        self._alive += [*given, *made]
        return result


def _conv_settings(kind: str, args: Any) -> dict[str, Any]:
    if kind != "conv":
        return {}
    weight, stride, groups = args[1], args[3], args[8]
    return {"kernel": tuple(weight.shape[2:]), "stride": tuple(stride), "groups": int(groups)}
