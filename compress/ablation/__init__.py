"""Which stage earned what, in which order, and is it noise: all variants of a recipe, and their effects.

``python -m compress ablate RECIPE`` leaves ``runs/<name>-ablation/`` with ``ablation.json``,
``ablation.csv`` (one row for each step of each variant), ``report.html``, ``report.md``, ``figures/``,
``recipe.yaml`` and ``log.txt``.

``ablation.json``; an EST is ``{"mean", "low", "high"}``, a 95 % interval; in scores and their differences
lower is better::

    {
      "recipe": the recipe, "machine": ..., "metric": ...,
      "stages": ["prune", ...],      the names of the recipe's stages, as used everywhere below
      "seeds": [0, 1, 2], "runtimes": ["onnxruntime"], "margin": 0.05,
      "stopped": null, or why it ended before all variants were done,
      "words": {"useful": what it means, ...},
      "covers": what the intervals cover, one sentence each,
      "saving": {"asked", "done", "stored": stage runs; "seconds_asked", "seconds_done"},
      "variants": [{               one for each variant, seed and runtime, in the order they ran
        "name": "without-prune", "also": [other names of the same chain], "kinds": ["leave_one_out"],
        "chain": ["decompose", "distill", "quantize"], "set": {"stages[0].target": 0.3},
        "seed": 0, "runtime": "onnxruntime",
        "error": null, or which stage failed and why,
        "f1_val", "f1_test", "latency_ratio", "time_ratio", "score_val", "score_test": of the net the chain
            ends with, null when it failed; time_ratio is of the time that the metric counts,
        "seconds": of all its stage runs had it run alone,
        "steps": [STEP without notes and per-class F1, the baseline first]
      }],
      "ranking": [RANK...],          every variant and the baseline, best first, each runtime for itself
      "orders": [RANK...],           those with all stages; empty unless there are two or more orders
      "effects": [{                  one for each stage, runtime and strength swept
        "stage", "runtime", "set": {}, "contexts", "seeds": how many pairs of chains, how many seeds,
        "skipped": pairs (of contexts x seeds) in which the stage itself declined,
        "score_val", "score_test", "f1_val", "f1_test": EST of with minus without the stage,
        "from_f1", "from_cost": the parts of score_val's mean by F1 and by time or MACs,
        "time": EST of time with / time without it (geometric mean),
        "verdict": "useful" | "harmful" | "useless" | "tie" | "skipped", "why": a line
      }],
      "interactions": [{             one for each two stages and runtime
        "stages": ["prune", "quantize"], "runtime", "contexts", "seeds",
        "score_val", "score_test": EST of the effect of both minus the effects of each alone,
        "verdict": "help each other" | "in each other's way" | "tie" | "skipped", "why"
      }]
    }

RANK is ``{"name", "chain", "set", "same": [other chains that end with the same net, as where stages were
skipped], "runtime", "seeds", "score_val", "score_test": means over the seeds, "behind": EST of score_val
minus the best's (simultaneous over the list), "behind_test": EST of the same on test, "best": whether it
is the best, "tied": whether "behind" contains 0}``; the first of each runtime is the best, its "behind" is 0.
"""
