"""What the words and the intervals of an ablation mean, for its reports."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from compress.ablation.run import Ablation

ONE_SEED = "One seed: how much another training would differ is not in the intervals."


def words(margin: float) -> dict[str, str]:
    """Verdicts, and what effects are made of; ``margin`` in score points, as in the recipe."""
    within = f"{margin:g} points (ablation.margin)"
    return {
        "effect": "the score of a chain with the stage minus that of the same chain without it; below 0 the "
        "stage helps",
        "contexts": "the pairs of chains that differ in this stage alone: others before or after it, or none",
        "by F1, by its cost": "the two parts of an effect: what the change of F1 alone, and of the time or "
        "the MACs alone, does to the score",
        "useful": "the score is better with the stage, and the interval does not contain 0",
        "harmful": "the score is worse with the stage, and the interval does not contain 0",
        "useless": f"it does nothing that matters: the interval contains 0 and stays within {within}, and "
        "so do both parts",
        "tie": "no verdict: the interval contains 0, and is too wide to call the stage useless, or what it "
        "gains in one part it loses in the other",
        "skipped": "the stage declined by itself wherever it was asked for",
    }


def covers(ablation: Ablation) -> list[str]:
    """What the intervals cover, and what not; a sentence each."""
    count = max((len(seeds) for seeds in ablation.seeds.values()), default=0)
    lines = [
        "An effect is a mean over its contexts and over the seeds; chains are variants and their beginnings.",
        "Its interval is 95 % and covers the seeds (weights, augmentation, which images are val), the images "
        "of the split (bootstrap, groups of near-duplicates whole, the same images for both chains) and the "
        "clock.",
        "The contexts are taken as they are: other chains could show another effect.",
        "Each effect and each interaction has its interval to itself: of twenty that are nothing, one is "
        "taken for something.",
        "Behind the best: Tukey's intervals, which hold for the whole list at once, with the scatter between "
        "seeds pooled over its chains.",
        "Verdicts go by val; test decides nothing.",
    ]
    if count == 1:
        lines.append(ONE_SEED)
    elif count == 2:
        lines.append(
            "Two seeds say little: intervals are wide where training differs. Three or more are better."
        )
    if ablation.spec.gate == "always":
        lines.append("Every stage is kept (gate always), also where the recipe's gate would drop it.")
    return lines
