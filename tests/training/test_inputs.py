"""Batches reach the module normalised the same to the bit, however they lie in memory."""

from __future__ import annotations

import pytest
import torch

from compress.net import Preprocess
from compress.training.batch import inputs

PREPROCESS = Preprocess(20, (0.1, 0.5, 0.9), (0.2, 0.3, 0.4))


def batch(dtype: torch.dtype) -> torch.Tensor:
    """N x 3 x H x W, in memory as N x H x W x 3."""
    rows = torch.randint(0, 256, (5, 20, 20, 3), generator=torch.Generator().manual_seed(0))
    return rows.to(dtype).mul(0.5 if dtype.is_floating_point else 1).to(dtype).permute(0, 3, 1, 2)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.float16, torch.int64])
def test_normalised_channel_by_channel_whatever_the_layout(dtype: torch.dtype) -> None:
    images = batch(dtype)
    before = images.clone()
    want = torch.empty(5, 3, 20, 20)
    for c, (mean, std) in enumerate(zip(PREPROCESS.mean, PREPROCESS.std, strict=True)):
        scale = torch.tensor([mean, std]) * 255.0
        want[:, c] = (images[:, c].float() - scale[0]) / scale[1]
    for laid in (images, images.contiguous()):
        got = PREPROCESS.normalise(laid)
        assert got.dtype == torch.float32
        assert got.shape == images.shape
        assert torch.equal(got, want)
    assert torch.equal(images, before)
    assert PREPROCESS.normalise(images[:0]).shape == (0, 3, 20, 20)


@pytest.mark.parametrize("channels_last", [True, False])
def test_inputs_have_the_layout_asked_for(channels_last: bool) -> None:
    layout = torch.channels_last if channels_last else torch.contiguous_format
    for laid in (batch(torch.uint8), batch(torch.uint8).contiguous()):
        got = inputs(laid, PREPROCESS, channels_last)
        assert got.is_contiguous(memory_format=layout)
        assert torch.equal(got, PREPROCESS.normalise(laid))
    assert inputs(batch(torch.uint8), Preprocess(12), channels_last).shape == (5, 3, 12, 12)
