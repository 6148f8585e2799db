"""What the layers of a net are, for the report: widths before and after, ranks kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

Layer = Mapping[str, Any]


def shapes(module: nn.Module) -> list[dict[str, Any]]:
    """Every convolution and linear layer: ``name``, ``kind``, ``in``, ``out``, ``kernel``, ``weights``."""
    from torch import nn
    from torch.nn.modules.conv import _ConvNd

    found = []
    for name, layer in module.named_modules():
        if isinstance(layer, _ConvNd):
            kernel = list(layer.kernel_size)
            kind = "depthwise" if layer.groups > 1 else "pointwise" if prod(kernel) == 1 else "conv"
            sizes = {"in": layer.in_channels, "out": layer.out_channels, "kernel": kernel}
        elif isinstance(layer, nn.Linear):
            kind, sizes = "linear", {"in": layer.in_features, "out": layer.out_features, "kernel": []}
        else:
            continue
        found.append({"name": name, "kind": kind, **sizes, "weights": layer.weight.numel()})
    return found


def factorised(before: Sequence[Layer], after: Sequence[Layer]) -> list[dict[str, Any]]:
    """Layers of ``before`` that ``after`` has as a product: ``layer``, ``ranks``, ``chain``, and weights.

    A product stands where the layer stood, its factors named ``LAYER.0``, ``LAYER.1``, ...; the ranks are the
    channels between them. ``dense`` is what the layer would weigh at the outer widths it has now.
    """
    left = {layer["name"] for layer in after}
    out = []
    for layer in before:
        parts = [a for a in after if a["name"].rpartition(".")[0] == layer["name"]]
        if layer["name"] in left or len(parts) < 2:
            continue
        chain = [parts[0]["in"], *(part["out"] for part in parts)]
        out.append(
            {
                "layer": layer["name"],
                "kind": layer["kind"],
                "ranks": chain[1:-1],
                "chain": chain,
                "dense": chain[0] * chain[-1] * prod(layer["kernel"]),
                "weights": sum(part["weights"] for part in parts),
            }
        )
    return out
