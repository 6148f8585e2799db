"""Training that feels int8: quantise and dequantise in the forward pass, straight through backward.

Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
Inference, CVPR 2018. Weights: int8, symmetric, one scale per output channel, taken from the current
weight at every forward, in as many levels as an export on this machine gives them. Inputs of each Conv2d
and Linear: uint8, asymmetric, one scale per tensor, from calibration and then moving averages while
training.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from compress.ops.cpu import weight_top
from compress.ops.ranges import METHODS, Histogram, keep
from compress.ops.surgery import is_under

_CHILD = "input_fake_quant"
_TINY = torch.finfo(torch.float32).tiny


def quantise_weight(weight: Tensor, top: int = 127) -> Tensor:
    """``weight`` (out first) rounded to the levels -``top`` to ``top``, which span each output channel's
    [-amax, amax]."""
    values = weight.float()
    scale = (values.detach().abs().flatten(1).amax(1) / top).clamp_min(_TINY)
    zero = torch.zeros_like(scale, dtype=torch.int32)
    return torch.fake_quantize_per_channel_affine(values, scale, zero, 0, -top, top).to(weight.dtype)


def quantise_input(x: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """``x`` rounded to 256 levels that span [low, high] and hit 0 exactly (padding is exact).

    Args:
        low, high: float scalars, low <= 0 <= high.
    """
    scale = ((high - low) / 255).clamp_min(1e-12)
    zero = torch.round(-low / scale).clamp(0, 255).to(torch.int32)
    return torch.fake_quantize_per_tensor_affine(x.float(), scale, zero, 0, 255).to(x.dtype)


class _WeightQuant(nn.Module):
    def __init__(self, top: int) -> None:
        super().__init__()
        self.top = top

    def forward(self, weight: Tensor) -> Tensor:
        return quantise_weight(weight, self.top)


class InputQuant(nn.Module):
    """Fake quantisation of a layer's input; its range is in the state_dict, so a resumed training goes on
    from the same one.

    Attributes:
        low, high: moving averages of the smallest and largest input seen, 0 included.
        keep_low, keep_high: which fraction of each the calibration method keeps (1 for minmax).
        momentum: weight of a new batch in the averages.
    """

    low: Tensor
    high: Tensor
    keep_low: Tensor
    keep_high: Tensor

    def __init__(self, momentum: float = 0.01) -> None:
        super().__init__()
        self.momentum = momentum
        self.register_buffer("low", torch.zeros(()))
        self.register_buffer("high", torch.zeros(()))
        self.register_buffer("keep_low", torch.ones(()))
        self.register_buffer("keep_high", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            low, high = x.detach().float().aminmax()
            # A layer the calibration images did not reach starts from the first batch it sees.
            share = torch.where(self.low == self.high, 1.0, self.momentum)
            self.low.lerp_(low.clamp_max(0), share)
            self.high.lerp_(high.clamp_min(0), share)
        return quantise_input(x, self.low * self.keep_low, self.high * self.keep_high)


def _quantise_first(layer: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """The forward pre-hook: a plain function, so that a layer can be copied and pickled with it."""
    quant: Any = getattr(layer, _CHILD)
    return (quant(args[0]), *args[1:])


@contextmanager
def fake_quantized(
    module: nn.Module, calibration: Tensor, method: str = "minmax", exclude: Sequence[str] = ()
) -> Iterator[None]:
    """Inside, every Conv2d and Linear of ``module`` computes with fake-quantised weight and input.

    Weights have the levels that an export on this machine gives them; see ``compress.ops.cpu``.

    Outside it is the plain float module again, with the weights as trained: the same Parameter
    objects, no hook, child or parametrization left, also after an exception. Inside, a weight's name
    in the state_dict is ``<layer>.parametrizations.weight.original``.

    Args:
        calibration: normalised N x 3 x H x W float inputs that set the first ranges.
        method: ``minmax``, ``entropy`` or ``percentile``; see ``compress.ops.ranges``.
        exclude: names of modules left in float, with all that is inside them.

    Raises:
        ValueError: an unknown method or module name, uint8 calibration, a module already inside.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    if not calibration.is_floating_point():
        raise ValueError(f"calibration must be normalised float inputs, got {calibration.dtype}")
    names = {name for name, _ in module.named_modules()}
    for name in exclude:
        if name not in names:
            raise ValueError(f"exclude names {name!r}, which is no module of the net")
    layers: dict[str, nn.Module] = {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Conv2d | nn.Linear) and not is_under(name, exclude)
    }
    if any(hasattr(layer, _CHILD) for layer in layers.values()):
        raise ValueError("the module is already inside fake_quantized")

    quants = _calibrated(module, layers, calibration, method)
    device = next(module.parameters()).device
    top = weight_top()
    hooks = []
    try:
        for name, layer in layers.items():
            quants[name].train(layer.training).to(device)
            layer.add_module(_CHILD, quants[name])
            hooks.append(layer.register_forward_pre_hook(_quantise_first))
            parametrize.register_parametrization(layer, "weight", _WeightQuant(top))
        yield
    finally:
        for hook in hooks:
            hook.remove()
        for layer in layers.values():
            if hasattr(layer, _CHILD):
                delattr(layer, _CHILD)
            _float_weight(layer)


def _float_weight(layer: Any) -> None:
    """Take ``_WeightQuant`` off the weight again, and nothing else (weight and spectral norm stay)."""
    if not parametrize.is_parametrized(layer, "weight"):
        return
    steps = layer.parametrizations.weight
    if len(steps) > 1 and isinstance(steps[-1], _WeightQuant):
        del steps[-1]
    elif isinstance(steps[-1], _WeightQuant):
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
        for key in [k for k in layer._parameters if k != "weight"]:  # back behind the weight
            layer._parameters[key] = layer._parameters.pop(key)


def _calibrated(
    module: nn.Module, layers: dict[str, nn.Module], calibration: Tensor, method: str
) -> dict[str, InputQuant]:
    """An InputQuant per layer, its range from the float net's activations on ``calibration``."""
    quants = {name: InputQuant() for name in layers}

    def widen(name: str, x: Tensor) -> None:
        low, high = x.float().aminmax()
        quant = quants[name]
        quant.low = torch.minimum(quant.low, low.cpu())
        quant.high = torch.maximum(quant.high, high.cpu())

    _watch(module, layers, calibration, widen)
    if method != "minmax":
        histograms = {name: Histogram(float(q.low), float(q.high)) for name, q in quants.items()}
        _watch(module, layers, calibration, lambda name, x: histograms[name].add(x))
        for name, quant in quants.items():
            low, high = keep(histograms[name], method)
            if quant.low < 0:
                quant.keep_low.fill_(low / float(quant.low))
            if quant.high > 0:
                quant.keep_high.fill_(high / float(quant.high))
    return quants


def _watch(module: nn.Module, layers: dict[str, nn.Module], calibration: Tensor, see: Any) -> None:
    """Run ``calibration`` in eval mode; ``see(name, input)`` for each call of each layer."""
    modes = {m: m.training for m in module.modules()}
    device = next(module.parameters()).device
    hooks = [
        layer.register_forward_pre_hook(lambda _, args, name=name: see(name, args[0]))
        for name, layer in layers.items()
    ]
    try:
        module.eval()
        with torch.no_grad():
            for batch in torch.split(calibration, 32):
                module(batch.to(device))
    finally:
        for hook in hooks:
            hook.remove()
        for m, training in modes.items():
            m.training = training
