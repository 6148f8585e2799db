"""Whether a net's layers say of themselves what their tensors are."""

from __future__ import annotations

from torch import Tensor, nn


def check_coherent(module: nn.Module) -> None:
    """Every layer's attributes say what its tensors are."""
    for name, layer in module.named_modules():
        if isinstance(layer, nn.Conv2d):
            shape = (layer.out_channels, layer.in_channels // layer.groups, *layer.kernel_size)
            assert tuple(layer.weight.shape) == shape, name
        elif isinstance(layer, nn.Linear):
            assert tuple(layer.weight.shape) == (layer.out_features, layer.in_features), name
        elif isinstance(layer, nn.BatchNorm2d):
            assert layer.running_mean is not None
            assert layer.num_features == len(layer.weight) == len(layer.running_mean), name
        if isinstance(bias := getattr(layer, "bias", None), Tensor):
            assert len(bias) == len(layer.weight), name  # type: ignore[arg-type]
