from test_quantize import Int8Bench
import torch, copy
from dataclasses import replace
from compress.train import fit
from compress.stages.training import train_net
from compress.stages.base import Plan
from compress.stages.quantize import Quantize
import pytest
@pytest.mark.parametrize("lr",[None,0.003,0.01])
@pytest.mark.parametrize("e",[2,4])
def test_a(small_net, ctx, lr,e):
    ctx=replace(ctx,bench=Int8Bench())
    fit(small_net.module, ctx.train, ctx.train_spec.model_copy(update={"epochs":e}), preprocess=small_net.preprocess, log=lambda l: None)
    base=ctx.bench.f1(small_net,ctx.tune)
    net=Quantize().apply(small_net.copy(),Plan(what={"method":"minmax","exclude":[]}),ctx)
    before=ctx.bench.f1(net,ctx.tune)
    r=train_net(net,ctx,epochs=6,lr=lr)
    print("K",e,lr,base,before,ctx.bench.f1(net,ctx.tune), [round(h["loss"],3) for h in r.history],r.seconds)
