"""beyondnas: chains model compression, and scores every stage as it is shipped.

>>> from compress import Prune, Quantize, Recipe, run
>>> for step in run(Recipe(name="digits", stages=(Prune(target=0.3), Quantize()))):
...     print(step.label, step.score)
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

# OpenMP's waiting threads spin: beside any other busy process that makes torch 10 to 70 times slower.
# Read once, when the first library with OpenMP loads, so it is set before any of them can.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

__version__ = "0.1.0"

if TYPE_CHECKING:
    from compress.ablation.run import Ablation as Ablation
    from compress.ablation.run import ablate as ablate
    from compress.ablation.spec import AblationSpec as AblationSpec
    from compress.chain import run as run
    from compress.data.augment import FlipCrop as FlipCrop
    from compress.data.augment import NoAugment as NoAugment
    from compress.data.augment import RandAugment as RandAugment
    from compress.data.augment import TrivialAugment as TrivialAugment
    from compress.data.competition import CompetitionData as CompetitionData
    from compress.data.digits import DigitsData as DigitsData
    from compress.data.folder import FolderData as FolderData
    from compress.errors import CompressError as CompressError
    from compress.errors import InputError as InputError
    from compress.gate import Within as Within
    from compress.measure.score import F1Macs as F1Macs
    from compress.measure.score import F1Time as F1Time
    from compress.models.zoo import CheckpointModel as CheckpointModel
    from compress.models.zoo import PretrainedModel as PretrainedModel
    from compress.models.zoo import SearchModel as SearchModel
    from compress.models.zoo import TorchvisionModel as TorchvisionModel
    from compress.models.zoo import YamlModel as YamlModel
    from compress.predict import load as load
    from compress.recipe import Recipe as Recipe
    from compress.report.notebook import table as table
    from compress.report.run_folder import record as record
    from compress.runtimes.auto import AutoRuntime as AutoRuntime
    from compress.runtimes.onnxruntime_runtime import OnnxRuntime as OnnxRuntime
    from compress.runtimes.openvino_runtime import OpenvinoRuntime as OpenvinoRuntime
    from compress.runtimes.torch_runtime import TorchRuntime as TorchRuntime
    from compress.stages.decompose import Decompose as Decompose
    from compress.stages.distill import Distill as Distill
    from compress.stages.finetune import Finetune as Finetune
    from compress.stages.prune import Prune as Prune
    from compress.stages.quantize import Quantize as Quantize
    from compress.stages.resize import Resize as Resize
    from compress.step import Score as Score
    from compress.step import Step as Step
    from compress.train import TrainSpec as TrainSpec

# Each name is imported when first used (PEP 562), so that `import compress` stays instant.
_HOME = {
    "Ablation": "compress.ablation.run",
    "AblationSpec": "compress.ablation.spec",
    "AutoRuntime": "compress.runtimes.auto",
    "CheckpointModel": "compress.models.zoo",
    "CompetitionData": "compress.data.competition",
    "CompressError": "compress.errors",
    "Decompose": "compress.stages.decompose",
    "DigitsData": "compress.data.digits",
    "Distill": "compress.stages.distill",
    "F1Macs": "compress.measure.score",
    "F1Time": "compress.measure.score",
    "Finetune": "compress.stages.finetune",
    "FlipCrop": "compress.data.augment",
    "FolderData": "compress.data.folder",
    "InputError": "compress.errors",
    "NoAugment": "compress.data.augment",
    "OnnxRuntime": "compress.runtimes.onnxruntime_runtime",
    "OpenvinoRuntime": "compress.runtimes.openvino_runtime",
    "PretrainedModel": "compress.models.zoo",
    "Prune": "compress.stages.prune",
    "Quantize": "compress.stages.quantize",
    "RandAugment": "compress.data.augment",
    "Recipe": "compress.recipe",
    "Resize": "compress.stages.resize",
    "Score": "compress.step",
    "SearchModel": "compress.models.zoo",
    "Step": "compress.step",
    "TorchRuntime": "compress.runtimes.torch_runtime",
    "TorchvisionModel": "compress.models.zoo",
    "TrainSpec": "compress.train",
    "TrivialAugment": "compress.data.augment",
    "Within": "compress.gate",
    "YamlModel": "compress.models.zoo",
    "ablate": "compress.ablation.run",
    "load": "compress.predict",
    "record": "compress.report.run_folder",
    "run": "compress.chain",
    "table": "compress.report.notebook",
}

__all__ = ["__version__", *_HOME]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'compress' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
