"""The published dispute on order: distil, prune, quantise against prune, quantise, distil.

python benchmarks/order.py PATH/trashnet     # over an hour; killed, the same command goes on
python benchmarks/order.py --quick           # minutes, on digits: that it works, not what is true
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from compress import Recipe, ablate
from compress.ablation.contrasts import Chain, Figure, largest_block, measure
from compress.ablation.folder import AblationFolder
from compress.ablation.report import saving_line, summary
from compress.ablation.run import Ablation
from compress.ablation.variants import variants
from compress.errors import CompressError

DISPUTED = (("distill", "prune", "quantize"), ("prune", "quantize", "distill"))
QUICK = [
    "data={kind: digits, image_size: 16}",
    "model.path=recipes/models/digits.yaml",
    "train={epochs: 2, batch_size: 64, augment: {kind: none}}",
    "stages[0].epochs=1",
    "stages[1]={kind: decompose, energy: 0.6, max_layers: 1, epochs: 1}",
    "stages[2]={kind: distill, epochs: 1}",
    "name=order-quick",
]


def main(
    data: Annotated[Path | None, typer.Argument(help="TrashNet's folder with train/ and test/.")] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Five without; one with --quick.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Digits, an epoch or two a stage.")] = False,
) -> None:
    """Run every legal order, print all tables and the answer."""
    if data is None and not quick:
        raise typer.BadParameter("give TrashNet's folder, or --quick")
    changes = QUICK if quick else [f"data.root={data}"]
    recipe = Recipe.from_yaml(
        "recipes/order.yaml", [*changes, f"ablation.seeds={seeds or (1 if quick else 5)}"]
    )
    try:
        with AblationFolder.open(recipe) as folder:
            done = ablate(recipe, log=folder.log, progress=sys.stderr.isatty())
            folder.write(done)
    except CompressError as error:
        sys.exit(str(error))
    for table in (done.orders, done.effects):
        print(f"\n{table.title}\n{table.markdown()}")
    print("", *summary(done), saving_line(done.saving), *_answer(done), f"{folder.path}/", sep="\n")


def _answer(ablation: Ablation) -> list[str]:
    """The mean over the orders of one side minus that of the other, with its interval.

    Over orders that every seed counted has measured: a stage that failed, or a seed cut short, costs no more.
    """
    (seeds,) = ablation.seeds.values()
    orders = {one.chain for one in variants(ablation.recipe)}
    found, some = largest_block(seeds, [orders & seed.chains.keys() for seed in seeds])
    sides = [[chain for chain in found if _in_order(chain, order)] for order in DISPUTED]
    names = " minus ".join(", ".join(order) for order in DISPUTED)
    if not all(sides):
        return [f"{names}: not measured in one seed as in the others"]
    contrast = {chain: 1 / len(sides[0]) for chain in sides[0]}
    contrast |= {chain: -1 / len(sides[1]) for chain in sides[1]}
    lines = [f"{names} ({len(some)} seeds, {len(sides[0])} and {len(sides[1])} orders):"]
    figures: tuple[Figure, ...] = ("score_val", "score_test", "f1_val", "f1_test")
    for figure in figures:
        got = measure(contrast, figure, some)
        word = "a tie" if got.has_zero else "more than noise"
        lines.append(f"  {figure}: {got.mean:+.3f} (95 % {got.low:+.3f} to {got.high:+.3f}), {word}")
    return lines


def _in_order(chain: Chain, order: Sequence[str]) -> bool:
    return tuple(link.name for link in chain if link.name in order) == tuple(order)


if __name__ == "__main__":
    typer.run(main)
