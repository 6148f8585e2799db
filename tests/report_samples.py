"""Reports to draw: a small run with everything a report can have, and an ablation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from compress.data.images import ImageSet
from compress.ratio import Ratio
from compress.recipe import Recipe
from compress.report.photos import flips
from compress.step import Base, Latency, Score, Step

LABELS = ("<glass>", "paper & co", "metal")
TRUTH = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2])
BEFORE = (0, 0, 0, 1, 1, 2, 2, 2, 2, 2)
AFTER = (0, 1, 2, 1, 1, 1, 2, 2, 2, 0)
CONFUSION = {
    BEFORE: ((3, 0, 0), (0, 2, 1), (0, 0, 4)),
    AFTER: ((1, 1, 1), (0, 3, 0), (1, 0, 3)),
}
BASE = Base(0.8, 0.81, 2.0, 72_160_000, BEFORE, BEFORE)


def score(f1: float, ratio: float, points: float, predicted: tuple[int, ...] = BEFORE) -> Score:
    span = Ratio(ratio, 0.98 * ratio, 1.02 * ratio)
    return Score(
        f1_val=f1,
        f1_test=f1 + 0.01,
        f1_val_interval=(f1 - 0.04, f1 + 0.04),
        f1_test_interval=(f1 - 0.03, f1 + 0.05),
        f1_per_class={"<glass>": f1, "paper & co": None, "metal": 0.9},
        accuracy_test=f1,
        latency=Latency(2.0 * ratio, 1.9 * ratio, 2.4 * ratio, 500, ratio, (span.low, span.high)),
        end_to_end_ms=3.0,
        params=1_530_000,
        macs=int(72_160_000 * ratio),
        layers=64,
        bytes=int(6_000_000 * ratio),
        points_val=points,
        points_test=points + 0.02 if points != 1 else 1.0,
        points_test_interval=(points - 0.05, points + 0.08),
        agreement=1.0,
        max_logit_difference=1e-6,
        predictions_val=predicted,
        predictions_test=predicted,
        base=BASE,
        time=span,
        end_to_end_ratio=span,
        decode="pillow",
        decode_note="",
        confusion_val=CONFUSION[predicted],
        confusion_test=CONFUSION[predicted],
        ece_val=0.05,
        ece_test=0.06,
    )


STEPS = [
    Step("baseline", "baseline", "k0", True, "where the chain starts", score(0.8, 1.0, 1.0), 60.0, False),
    Step(
        "prune",
        "prune",
        "k1",
        True,
        "better",
        score(0.79, 0.4, 0.75, AFTER),
        30.0,
        False,
        notes=("a <b> c",),
        extra={
            "attempts": [
                {"value": 0.5, "kept": False, "why": "not better", "score_val": 1.1},
                {"value": 0.35, "kept": True, "why": "better", "score_val": 0.75},
            ]
        },
    ),
    Step("decompose", "decompose", "k1", False, "skipped: none faster", None, 5.0, False),
    Step("spoil", "spoil", "k2", False, "not better", score(0.2, 0.4, 1.2), 5.0, True),
]

SHAPES = {
    "baseline": [
        {"name": "stem.conv", "kind": "conv", "in": 3, "out": 32, "kernel": [3, 3], "weights": 864},
        {"name": "body.conv", "kind": "conv", "in": 32, "out": 64, "kernel": [3, 3], "weights": 18432},
        {"name": "head", "kind": "linear", "in": 64, "out": 3, "kernel": [], "weights": 192},
    ],
    "final": [
        {"name": "stem.conv", "kind": "conv", "in": 3, "out": 16, "kernel": [3, 3], "weights": 432},
        {"name": "body.conv.0", "kind": "pointwise", "in": 16, "out": 8, "kernel": [1, 1], "weights": 128},
        {"name": "body.conv.1", "kind": "conv", "in": 8, "out": 12, "kernel": [3, 3], "weights": 864},
        {"name": "body.conv.2", "kind": "pointwise", "in": 12, "out": 64, "kernel": [1, 1], "weights": 768},
        {"name": "head", "kind": "linear", "in": 64, "out": 3, "kernel": [], "weights": 192},
    ],
}


def photos(side: int = 40) -> ImageSet:
    """Ten images that tell apart by their shade."""
    images = np.stack([np.full((side, side, 3), 20 * i, np.uint8) for i in range(len(TRUTH))])
    return ImageSet(images, TRUTH, LABELS, tuple(f"test/x/photo{i}.jpg" for i in range(len(TRUTH))))


def report(**more: Any) -> dict[str, Any]:
    """``report.json`` as ``build`` gives it, without what needs nets or photos."""
    rows = [step.to_dict() for step in STEPS]
    return {
        "recipe": Recipe(name="tiny").canonical(),
        "given": {},
        "machine": {
            "id": "m1",
            "cpu": "a CPU",
            "flags": ["avx2"],
            "cores": 2,
            "os": "an OS",
            "python": "3.11",
            "versions": {"torch": "2.15"},
        },
        "runtime": "onnxruntime",
        "metric": {"kind": "f1_time"},
        "baseline": rows[0],
        "steps": rows[1:],
        "final": rows[1],
        "control": None,
        "require": [{"met": True, "line": "met: F1"}],
        "other_runtimes_ms": {"torch": 8.0, "openvino": None},
        "data_notes": ["skipped 1 of 200 files: <a>.jpg"],
        "shapes": None,
        "flips": None,
        "test": {"photos": 10, "digest": "t"},
        "elsewhere": [],
        **more,
    }


def full_report(folder: Path) -> dict[str, Any]:
    """The same with layers, shapes and photos; thumbnails are written below ``folder``."""
    content = report(shapes=SHAPES, flips=flips(photos(), BEFORE, AFTER, folder))
    for name in ("baseline", "final"):
        layers = [
            {"name": layer["name"], "kind": layer["kind"], "ms": layer["weights"] / 1e4, "macs": 10}
            for layer in SHAPES[name]
        ]
        content[name] = {**content[name], "layers_ms": layers}
    return content


def ablation() -> dict[str, Any]:
    """``ablation.json``: a useful stage, a tie, a harmful one, and one that always declined."""

    def est(mean: float, wide: float | None = 0.05) -> dict[str, Any]:
        known = wide is not None
        return {"mean": mean, "low": mean - wide if known else None, "high": mean + wide if known else None}

    def effect(stage: str, value: float, verdict: str) -> dict[str, Any]:
        figures = {name: est(value) for name in ("score_val", "score_test", "f1_val", "f1_test")}
        more = {"runtime": "onnxruntime", "set": {}, "contexts": 4, "seeds": 2, "skipped": 0}
        return {
            "stage": stage,
            **more,
            **figures,
            "from_f1": value / 3,
            "from_cost": value * 2 / 3,
            "time": est(1 + value),
            "verdict": verdict,
            "why": f"{stage} <why>",
        }

    stages = ["prune", "distill", "quantize"]
    found = [
        effect("prune", -0.3, "useful"),
        effect("distill", 0.01, "tie"),
        effect("quantize", 0.2, "harmful"),
    ]
    nothing = {"mean": None, "low": None, "high": None}
    declined = {
        **effect("decompose", 0, "skipped"),
        **dict.fromkeys(("score_val", "score_test", "f1_test", "time"), nothing),
    }
    ranks = [
        {
            "name": "full" if i == 0 else "order-2",
            "chain": chain,
            "set": {},
            "same": ["prune > quantize"] if i else [],
            "runtime": "onnxruntime",
            "seeds": 2,
            "score_val": 0.6 + 0.1 * i,
            "score_test": 0.62 + 0.1 * i,
            "behind": est(0.1 * i, 0.02 if i else 0.0),
            "behind_test": est(0.1 * i),
            "best": i == 0,
            "tied": i == 0,
        }
        for i, chain in enumerate((stages, stages[::-1]))
    ]
    variant = {
        "also": [],
        "kinds": ["order"],
        "set": {},
        "runtime": "onnxruntime",
        "error": None,
        "seconds": 3.0,
        "steps": [],
    }
    variants = [
        {
            **variant,
            "name": rank["name"],
            "chain": rank["chain"],
            "seed": seed,
            "f1_val": 0.7,
            "f1_test": 0.71,
        }
        | {"latency_ratio": 0.5, "score_val": rank["score_val"], "score_test": 0.7}
        for rank in ranks
        for seed in (0, 1)
    ]
    pair = {"stages": ["prune", "quantize"], "runtime": "onnxruntime", "contexts": 2, "seeds": 2}
    return {
        "recipe": Recipe(name="tiny").canonical(),
        "machine": report()["machine"],
        "metric": {"kind": "f1_time"},
        "stages": stages,
        "seeds": [0, 1],
        "runtimes": ["onnxruntime"],
        "margin": 0.05,
        "stopped": "max_hours is reached",
        "words": {"tie": "no verdict <yet>"},
        "covers": ["Effects cover seeds and photos."],
        "saving": {"asked": 24, "done": 10, "stored": 0, "seconds_asked": 90.0, "seconds_done": 40.0},
        "variants": variants,
        "ranking": ranks,
        "orders": ranks,
        "effects": [*found, declined],
        "interactions": [
            {
                **pair,
                "score_val": est(0.02),
                "score_test": est(0.02, None),
                "verdict": "tie",
                "why": "contains 0",
            }
        ],
    }
