"""Running variants as one tree: chains that begin alike share what they have in common."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from compress.ablation.variants import Variant
from compress.chain import At, advance, baseline
from compress.errors import CompressError, os_error, told
from compress.inputs import fingerprint
from compress.lab import Lab
from compress.spec import digest
from compress.stages.base import Stage
from compress.step import Score, Step

if TYPE_CHECKING:
    from compress.net import Net
    from compress.scoring import Scored

_NETS = 8


@dataclass(frozen=True)
class Result:
    """One variant, run.

    Attributes:
        runtime: the kind it was shipped to.
        steps: the baseline's, then one for each stage; fewer when a stage failed.
        scores, nets: of the net as it stands after each of these steps: its score, and a digest that equal
            nets share.
        error: why it failed, None when it did not.
    """

    variant: Variant
    runtime: str
    steps: tuple[Step, ...]
    scores: tuple[Score, ...]
    nets: tuple[str, ...]
    error: str | None = None

    @property
    def final(self) -> Score:
        return self.scores[-1]


@dataclass
class Saving:
    """What sharing saved. A stage run is one stage applied and scored; a baseline's training counts as one.

    Attributes:
        asked: stage runs of all variants, were each run alone; ``done``: different ones among them.
        stored: of ``done``, those an earlier run had left in the store.
        seconds_asked, seconds_done: what they took when they were computed.
    """

    asked: int = 0
    done: int = 0
    stored: int = 0
    seconds_asked: float = 0.0
    seconds_done: float = 0.0


class OutOfTime(Exception):
    """``max_hours`` are over."""


@dataclass(frozen=True)
class Node:
    """A chain that was run: its last step, and the key, score and content digest of the net it ends with."""

    step: Step
    key: str
    scored: Scored
    content: str


@dataclass
class Branch:
    """The variants of one seed in one runtime: a tree with the baseline as its root.

    An edge is a stage applied to a net, found by the net's key and the stage: a chain in which a stage was
    skipped or dropped goes on as the chain without it, and costs nothing.

    Attributes:
        deadline: of ``time.monotonic``; no edge is begun after it.
        costs: seconds of each stage that was computed, by the stage's digest.
    """

    lab: Lab
    saving: Saving
    deadline: float | None
    costs: dict[str, list[float]]
    root: Node | None = None
    edges: dict[tuple[str, str], Node | str] = field(default_factory=dict)  # why, where the stage failed
    nets: dict[str, Net] = field(default_factory=dict)  # the last used ones; the store has them all

    def run(self, variant: Variant) -> Result:
        """The steps of one variant; only those that no earlier one shares are computed.

        Raises:
            OutOfTime: the deadline came before it was done.
        """
        node = self._baseline()
        nodes = [node]
        error = None
        for stage in variant.recipe.stages:
            edge = self._edge(stage, node)
            if isinstance(edge, str):  # the other variants can still tell something
                error = f"{stage.label or stage.kind}: {edge}"
                self.lab.log(f"{variant.name}: {error}")
                break
            node = edge
            nodes.append(node)
        return Result(
            variant,
            self.lab.measuring.runtime,
            steps=tuple(node.step for node in nodes),
            scores=tuple(node.scored.score for node in nodes),
            nets=tuple(node.content for node in nodes),
            error=error,
        )

    def _baseline(self) -> Node:
        if self.root is None:
            self._in_time()
            self.root = self._keep(baseline(self.lab))
            self._count("baseline", self.root.step)
        self._ask(self.root.step)
        return self.root

    def _edge(self, stage: Stage, parent: Node) -> Node | str:
        name = digest(stage.canonical())
        key = (parent.key, name)
        if key not in self.edges:
            self._in_time()
            try:
                self.edges[key] = made = self._keep(advance(self.lab, stage, self._load(parent)))
                self._count(name, made.step)
            except Exception as error:  # torch's when memory runs out, a library's: this stage's alone
                if os_error(error) is not None:
                    raise  # a full disk is all variants'
                if not isinstance(error, CompressError):  # whose fault, only this says
                    self.lab.log(traceback.format_exc().rstrip())
                self.edges[key] = told(error)
        edge = self.edges[key]
        if isinstance(edge, Node):
            self._ask(edge.step)
        return edge

    def _keep(self, at: At) -> Node:
        self.nets.pop(at.key, None)
        self.nets[at.key] = at.net
        while len(self.nets) > _NETS:
            del self.nets[next(iter(self.nets))]
        return Node(at.step, at.key, at.scored, fingerprint(at.net))

    def _load(self, node: Node) -> At:
        net = self.nets.get(node.key) or self.lab.store.net(node.key)
        assert net is not None, f"the store has lost {node.key}"
        return At(node.step, net, node.key, node.scored)

    def _in_time(self) -> None:
        if self.deadline is not None and time.monotonic() >= self.deadline:
            raise OutOfTime

    def _ask(self, step: Step) -> None:
        self.saving.asked += 1
        self.saving.seconds_asked += step.seconds

    def _count(self, name: str, step: Step) -> None:
        self.saving.done += 1
        self.saving.stored += step.cached
        self.saving.seconds_done += step.seconds
        if not step.cached:
            self.costs.setdefault(name, []).append(step.seconds)
