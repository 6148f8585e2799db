"""What an ablation leaves: ``ablation.json`` (laid out in ``compress.ablation``), ``.csv``, ``report.md``."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from compress.ablation.estimates import Estimate
from compress.ablation.tables import Table, chain_name
from compress.ablation.tree import Saving
from compress.ablation.words import ONE_SEED, covers, words

if TYPE_CHECKING:
    from compress.ablation.ranking import Rank
    from compress.ablation.run import Ablation
    from compress.ablation.tree import Result

_STEP = {"label", "kind", "kept", "why", "key", "f1_val", "f1_test", "score_val", "score_test", "attempts"}
_STEP |= {"latency_ratio", "latency_ratio_interval", "params", "macs", "layers", "bytes", "epochs", "seconds"}


def content(ablation: Ablation) -> dict[str, Any]:
    """The content of ``ablation.json``."""
    from compress.measure.machine import machine

    return {
        "recipe": ablation.recipe.canonical(),
        "machine": machine(),
        "metric": ablation.recipe.metric.canonical(),
        "stages": ablation.stages,
        "seeds": list(dict.fromkeys(result.variant.seed for result in ablation.variants)),
        "runtimes": list(ablation.seeds),
        "margin": ablation.spec.margin,
        "stopped": ablation.stopped,
        "words": words(ablation.spec.margin),
        "covers": covers(ablation),
        "saving": {f.name: getattr(ablation.saving, f.name) for f in fields(Saving)},
        "variants": [_variant(result) for result in ablation.variants],
        "ranking": [_rank(ablation, one) for one in ablation.ranking],
        "orders": [_rank(ablation, one) for one in ablation.orders],
        "effects": [_row(effect) for effect in ablation.effects],
        "interactions": [_row(one) for one in ablation.interactions],
    }


def saving_line(saving: Saving) -> str:
    """What sharing beginnings saved, in one line."""
    share = saving.done / saving.asked if saving.asked else 1.0
    return (
        f"stage runs: {saving.asked} asked, {saving.done} done ({share:.0%}), {saving.stored} of them by "
        f"earlier runs; {saving.seconds_asked / 60:.1f} min asked, {saving.seconds_done / 60:.1f} min done"
    )


def summary(ablation: Ablation) -> list[str]:
    """The answers, a line each."""
    lines = [f"{e.stage}: {e.verdict}, {e.why}" for e in ablation.effects if not e.values]
    best = "best chain so far" if ablation.stopped else "best chain"
    for runtime in ablation.seeds:
        for what, table in ((best, ablation.ranking), ("best order", ablation.orders)):
            ranks = [one for one in table if one.runtime == runtime]
            lines += [f"{what}{_of(ablation, runtime)}: {_best(ranks)}"] if ranks else []
    lines += dict.fromkeys(_same(one) for one in ablation.ranking if one.same)
    lines += [ONE_SEED] if any(len(seeds) == 1 for seeds in ablation.seeds.values()) else []
    lines += [f"failed: {r.variant.name}, seed {r.variant.seed}: {r.error}" for r in ablation.failed]
    return lines


def _of(ablation: Ablation, runtime: str) -> str:
    return f" in {runtime}" if len(ablation.seeds) > 1 else ""


def _same(rank: Rank) -> str:
    """That several chains end with one net, which is ranked under the first of them."""
    return f"the same net: {' = '.join(map(chain_name, (rank.chain, *rank.same)))}"


def _best(ranks: list[Rank]) -> str:
    """The best of a list, and whether the second best is worse by more than noise."""
    best, rest = ranks[0], ranks[1:]
    text = chain_name(best.chain)
    if not rest:
        return f"{text}; none makes another net"
    behind = rest[0].behind
    text += f"; next is {chain_name(rest[0].chain)}, {behind.mean:.3f} points behind "
    text += f"(95 % {behind.low:+.3f} to {behind.high:+.3f})"
    tied = sum(one.tied for one in rest)
    return text + (f": a tie, {tied} of {len(rest)} other nets are not told from the best" if tied else "")


def markdown(ablation: Ablation) -> str:
    """``report.md``."""
    parts = [f"# {ablation.recipe.name}: ablation"]
    if ablation.stopped:
        parts.append(f"**Not complete: {ablation.stopped}.** The same command goes on from here.")
    parts.append("\n".join(f"- {line}" for line in [*summary(ablation), saving_line(ablation.saving)]))
    tables: list[Table[Any]] = [ablation.effects, ablation.orders, ablation.interactions, ablation.ranking]
    parts += [f"## {one.title.capitalize()}\n\n{one.markdown()}" for one in tables if one]
    meanings = [f"- **{word}**: {meaning}" for word, meaning in words(ablation.spec.margin).items()]
    parts.append("## What the words mean\n\n" + "\n".join(meanings))
    parts.append("## What the intervals cover\n\n" + "\n".join(f"- {line}" for line in covers(ablation)))
    return "\n\n".join(parts) + "\n"


def rows(ablation: Ablation) -> str:
    """``ablation.csv``: one row for each step of each variant; empty where nothing was measured."""
    text = io.StringIO()
    found = [row for result in ablation.variants for row in _rows(result)]
    writer = csv.DictWriter(text, list(found[0]) if found else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()


def _rows(result: Result) -> Iterator[dict[str, Any]]:
    variant = result.variant
    for position, step in enumerate(result.steps):
        link = variant.chain[position - 1] if position else None
        found = step.to_dict()
        low, high = found["latency_ratio_interval"] or (None, None)
        yield {
            "variant": variant.name,
            "kinds": " ".join(variant.kinds),
            "seed": variant.seed,
            "runtime": result.runtime,
            "position": position,
            "stage": link.name if link else "baseline",
            "set": " ".join(f"{key}={value}" for key, value in link.values) if link else "",
            **{name: found[name] for name in ("kept", "f1_val", "f1_test", "latency_ratio")},
            "latency_ratio_low": low,
            "latency_ratio_high": high,
            **{name: found[name] for name in ("score_val", "score_test", "params", "macs", "bytes")},
            "seconds": found["seconds"],
            "key": found["key"],
            "error": result.error if position == len(result.steps) - 1 else None,
        }


def _variant(result: Result) -> dict[str, Any]:
    variant, final = result.variant, result.final
    failed = result.error is not None
    return {
        "name": variant.name,
        "also": list(variant.also),
        "kinds": list(variant.kinds),
        "chain": [link.name for link in variant.chain],
        "set": {key: value for link in variant.chain for key, value in link.values},
        "seed": variant.seed,
        "runtime": result.runtime,
        "error": result.error,
        "f1_val": None if failed else final.f1_val,
        "f1_test": None if failed else final.f1_test,
        "latency_ratio": None if failed else final.latency.ratio,
        "time_ratio": None if failed else final.time.median,
        "score_val": None if failed else final.points_val,
        "score_test": None if failed else final.points_test,
        "seconds": sum(step.seconds for step in result.steps),
        "steps": [{k: v for k, v in step.to_dict().items() if k in _STEP} for step in result.steps],
    }


def _rank(ablation: Ablation, rank: Rank) -> dict[str, Any]:
    same = (r.variant for r in ablation.variants if r.variant.chain == rank.chain)
    row = _row(rank)
    row["name"] = next((variant.name for variant in same), "baseline")
    row["set"] = {key: value for link in rank.chain for key, value in link.values}
    row["chain"] = [link.name for link in rank.chain]
    row["same"] = [chain_name(chain) for chain in rank.same]
    return row


def _row(row: Any) -> dict[str, Any]:
    """A dataclass as the JSON has it."""
    found = {f.name: getattr(row, f.name) for f in fields(row)}
    if "values" in found:
        found["set"] = dict(found.pop("values"))
    return {k: v.to_dict() if isinstance(v, Estimate) else v for k, v in found.items()}
