"""What a run starts from, checked before any training: data, backbone, and the content of what is named."""

from __future__ import annotations

import hashlib
import io
import pickle
import random
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.contents import contents
from compress.errors import CompressError, InputError, told
from compress.spec import Spec, digest
from compress.store import source_digest

if TYPE_CHECKING:
    from torch import nn

    from compress.data.images import ImageSet, Splits
    from compress.net import Net
    from compress.recipe import Recipe, RuntimeSpec


def splits_of(recipe: Recipe, data: Any, log: Callable[[str], None]) -> Splits:
    """The recipe's data, or (train, val, test) of one's own; its notes go to ``log``."""
    if data is None:
        return recipe.data.load(recipe.seed, log)
    from compress.data.arrays import splits_from

    splits = splits_from(*_three(data), recipe.seed)
    for note in splits.notes:
        log(note)
    return splits


def sets_of(data: Any) -> tuple[ImageSet, ImageSet, ImageSet]:
    """One's own (train, val, test), gone through once: a generator would give nothing the next time."""
    from compress.data.arrays import image_sets

    return image_sets(*_three(data))


def _three(data: Any) -> tuple[Any, Any, Any]:
    if not isinstance(data, tuple | list) or len(data) != 3:
        found = f"{len(data)} of 3" if isinstance(data, tuple | list) else type(data).__name__
        raise InputError(f"data: expected (train, val, test), found {found}")
    train, val, test = data
    return train, val, test


def backbone_of(recipe: Recipe, model: nn.Module | Net | None, splits: Splits) -> Net:
    """The untrained backbone, checked before it is trained.

    Raises:
        InputError: it does not fit the data, cannot be stored, or is int8 where the recipe needs a float net.
    """
    from compress.models.checkpoint import FLOAT_NET
    from compress.stages.distill import Distill

    if model is not None:
        net = _own(model, splits)
    else:
        with seeded(recipe.seed):
            net = recipe.model.build(splits.labels, int(splits.train.images.shape[1]))
    if wrong := [*_wrong_for_int8(recipe)] if net.quant is not None else []:
        raise InputError(f"model: is int8: {'; '.join(wrong)}; or give {FLOAT_NET}")
    for stage in recipe.stages:
        if isinstance(stage, Distill):
            stage.check_student()
    return net


def _wrong_for_int8(recipe: Recipe) -> Iterator[str]:
    """What the recipe does to its model that only a float net can take."""
    from compress.recipe import misplaced

    if recipe.train.epochs:
        yield f"train.epochs {recipe.train.epochs} would train it as float: set train: {{epochs: 0}}"
    if recipe.control:
        yield "control would train it as float: leave it out"
    kinds = [(type(stage), getattr(stage, "student", None)) for stage in recipe.stages]
    for i, text in misplaced(kinds, int8=True):
        yield f"stages[{i}]: {text}"


def _own(model: nn.Module | Net, splits: Splits) -> Net:
    """One's own model, which must fit the data and be picklable."""
    import torch

    from compress.net import Net, Preprocess

    size, labels = int(splits.train.images.shape[1]), splits.labels
    if not isinstance(model, Net | torch.nn.Module):
        made = " (the class itself: make one)" if isinstance(model, type) else ""
        raise InputError(f"model: expected a torch.nn.Module or a Net, found {_named(model)}{made}")
    net = model.copy() if isinstance(model, Net) else Net(model, Preprocess(size), labels).copy()
    if net.preprocess.size != size:
        raise InputError(f"model: takes images of side {net.preprocess.size}, the data's are of side {size}")
    if net.labels != labels:
        raise InputError(f"model: its labels are {', '.join(net.labels)}; the data's are {', '.join(labels)}")
    try:
        with torch.no_grad():
            given = net.module.eval()(net.example(2))
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:  # a ViT asserts its size
        raise InputError(
            f"model: cannot take a 2 x 3 x {size} x {size} input, three channels (RGB): {told(error)}"
        ) from error
    shape = tuple(given.shape) if isinstance(given, torch.Tensor) else f"a {_named(given)}"
    if shape != (2, len(labels)):
        raise InputError(f"model: gives {shape} for 2 images, expected (2, {len(labels)}): a logit a class")
    try:
        pickle.dump(net.module, io.BytesIO())
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise InputError(f"model: cannot be stored: {error}; define its class in a module") from error
    return net


def given_of(model: Any, data: Any, backbone: Net, splits: Splits) -> dict[str, str]:
    """Name and content of what was given in place of the recipe's model and data, whatever the seed."""
    from compress.data.cache import pixel_digest

    found = {}
    if model is not None:
        content = digest(code_of(backbone.module), fingerprint(backbone))
        found["model"] = f"{_named(backbone.module)} {content[:8]}"
    if data is not None:
        sets = [(splits.train, splits.tune), (splits.val,), (splits.test,)]  # tune is drawn by the seed
        rows = [
            sorted(
                (int(y), pixel_digest(x))
                for part in parts
                for x, y in zip(part.images, part.targets, strict=True)
            )
            for parts in sets
        ]
        found["data"] = (
            f"{' + '.join(str(len(part)) for part in rows)} images {digest(splits.labels, rows)[:8]}"
        )
    return found


def check_export(net: Net, runtime: RuntimeSpec) -> None:
    """One's own model, exported once before it is trained: seconds, and hours where only the export fails.

    Raises:
        InputError: it cannot be exported.
    """
    import torch

    from compress.ops.fold import folded
    from compress.runtimes.auto import AutoRuntime
    from compress.runtimes.deploy import Deployed
    from compress.runtimes.onnx_export import exported_program, to_onnx
    from compress.runtimes.torch_runtime import TorchRuntime

    size, model = net.preprocess.size, Deployed(net.module, net.preprocess)
    example = torch.zeros(1, size, size, 3, dtype=torch.uint8)
    try:
        if isinstance(runtime, AutoRuntime | TorchRuntime):  # auto may end with torch, which needs no more
            exported_program(folded(model, example), example)
        else:
            to_onnx(model, example)
    except CompressError as error:
        raise InputError(
            f"model: {error}{_in_forward(error)}; its forward must take any number of images and ask for no "
            "tensor's values: torch.where for if, no .item(), no numpy"
        ) from None


def _in_forward(error: CompressError) -> str:
    """The innermost line of a ``forward`` neither torch's nor ours that the exporter was at."""
    import torch

    homes = tuple(str(Path(file).parent) for file in (torch.__file__, __file__))
    frames = traceback.extract_tb(error.__cause__.__traceback__) if error.__cause__ else []
    own = [f for f in frames if f.name == "forward" and not f.filename.startswith(homes)]
    return f" (at {own[-1].filename}:{own[-1].lineno}: {own[-1].line})" if own else ""


def _named(thing: Any) -> str:
    return thing.__name__ if isinstance(thing, type) else type(thing).__name__


def fingerprint(net: Net) -> str:
    """Content address of a net: its modules with every weight and attribute, and what deployment adds."""
    import numpy as np

    quant = net.quant  # its images may be mapped from a file, or not: asarray
    int8 = quant and (quant.method, quant.exclude, contents(np.asarray(quant.images)))
    return digest(contents(net.module), repr((net.preprocess, net.labels, int8)))


def code_of(module: nn.Module) -> list[str]:
    """Digests of the source of a module's own classes: equal weights can mean another ``forward``."""
    homes = {type(part).__module__ for part in module.modules()}
    return sorted(source_digest(home) for home in homes if not home.startswith(("torch.", "torchvision.")))


def content_of(spec: Any) -> dict[str, str]:
    """Digests of the files that a spec, or a spec inside it, names; a path alone says nothing of them."""
    from compress.models.zoo import Model

    found: dict[str, str] = {}
    if isinstance(spec, Path) and spec.is_file():
        found[str(spec)] = hashlib.sha256(spec.read_bytes()).hexdigest()[:20]
    elif isinstance(spec, Model) and (file := spec.file()) is not None:  # it may name the file's folder
        found |= content_of(file)
    elif isinstance(spec, tuple | list):
        for item in spec:
            found |= content_of(item)
    elif isinstance(spec, Spec):
        for name in type(spec).model_fields:
            found |= content_of(getattr(spec, name))
    return found


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """The global generators start from ``seed`` inside, and go on as before afterwards."""
    import numpy as np
    import torch

    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])
