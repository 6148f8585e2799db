"""The averaged weights."""

from __future__ import annotations

import torch
from tinynet import same, state, tiny_net

from compress.training.ema import Ema


def test_ema_is_the_slow_reference_and_copies_counters() -> None:
    net = tiny_net()
    ema = Ema(net.module, decay=0.9)
    slow = {k: v.double().clone() for k, v in net.module.state_dict().items()}
    generator = torch.Generator().manual_seed(0)
    for t in range(1, 120):
        for p in net.module.parameters():
            p.data.add_(torch.randn(p.shape, generator=generator), alpha=0.1)
        net.module.stem[1].num_batches_tracked.fill_(t)
        ema.update(net.module)
        decay = min(0.9, (1 + t) / (10 + t))
        for k, v in net.module.state_dict().items():
            slow[k] = slow[k] * decay + v.double() * (1 - decay) if v.is_floating_point() else v.double()
    assert all(torch.allclose(ema.state[k].double(), slow[k], atol=1e-5) for k in slow)
    own = state(net)
    with ema.applied(net.module):
        assert same(state(net), ema.state)
        assert not same(state(net), own)
    assert same(state(net), own)
