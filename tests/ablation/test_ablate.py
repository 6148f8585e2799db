"""The whole of it on real digits: stages named, beginnings shared, failures and budgets survived."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
from planted import Blind, Break, Declines, Rescale, quiet, recipe, small_net

from compress import CompressError, ablate, run
from compress.ablation.folder import AblationFolder
from compress.ablation.report import content, markdown, saving_line, summary
from compress.ablation.run import Ablation, Interrupted
from compress.ablation.tables import chain_name
from compress.ablation.words import ONE_SEED
from compress.data.digits import DigitsData
from compress.data.images import Splits
from compress.step import Step
from compress.store import Store

pytestmark = pytest.mark.usefixtures("in_a_hurry")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("ablate") / "store")


@pytest.fixture(scope="module")
def planted(in_a_hurry: None, store: Store) -> Ablation:
    return ablate(recipe(Rescale(), Blind(), seeds=3), model=small_net(), store=store, log=quiet)


def test_a_planted_useless_a_harmful_stage_and_a_tie_are_named(planted: Ablation) -> None:
    useless, harmful = planted.effects
    assert (useless.stage, useless.verdict) == ("rescale", "useless")
    assert (useless.f1_test.low, useless.f1_test.high) == (0.0, 0.0)  # the same function: the same labels
    assert (harmful.stage, harmful.verdict) == ("blind", "harmful")
    assert harmful.f1_val.high < -0.1
    said = summary(planted)
    assert said[-3].startswith("best chain: ")
    assert "a tie, 1 of 3 other nets are not told from the best" in said[-3]  # scaling alone changes no label
    assert ONE_SEED not in said
    (both,) = planted.interactions
    assert both.verdict == "tie"


def test_chains_that_end_with_one_net_are_one_and_only_one_net_is_called_the_best(planted: Ablation) -> None:
    (order,) = planted.orders  # scaling and blinding commute: the weights are the same
    assert [chain_name(chain) for chain in (order.chain, *order.same)] == [
        "rescale > blind",
        "blind > rescale",
    ]
    assert summary(planted)[-2:] == [
        "best order: rescale > blind; none makes another net",
        "the same net: rescale > blind = blind > rescale",
    ]
    whole = [one for one in content(planted)["ranking"] if one["name"] == "full"]
    assert [one["same"] for one in whole] == [["blind > rescale"]]
    places = [row[planted.ranking.heads().index("behind the best")] for row in planted.ranking.cells()]
    assert places[0] == "best"
    assert places[1].startswith("+0.000 ± ")  # the same function scaled: another net
    assert [one["best"] for one in content(planted)["ranking"]] == [True, False, False, False]


def test_shared_beginnings_are_computed_once(planted: Ablation) -> None:
    saving = planted.saving
    assert saving.asked == 3 * (3 + 3 + 2 + 2)  # two orders, two single stages; a training each
    assert saving.done == 3 * 5
    assert saving.stored == 0
    assert saving.seconds_done < saving.seconds_asked
    assert "30 asked, 15 done (50%)" in saving_line(saving)


def figures(steps: list[Step]) -> list[dict[str, Any]]:
    return [{k: v for k, v in step.to_dict().items() if k not in ("seconds", "cached")} for step in steps]


def test_variants_give_the_same_as_separate_runs(planted: Ablation, store: Store, tmp_path: Path) -> None:
    for result in planted.variants[:4]:
        alone = list(run(result.variant.recipe, model=small_net(), store=store, log=quiet))
        assert figures(alone) == figures(list(result.steps))
        assert all(step.cached for step in alone)
    whole = planted.variants[0]
    fresh = list(run(whole.variant.recipe, model=small_net(), store=Store(tmp_path), log=quiet))
    assert [step.key for step in fresh] == [step.key for step in whole.steps]
    for one, other in zip(fresh, whole.steps, strict=True):
        assert one.score is not None
        assert other.score is not None
        assert one.score.predictions_test == other.score.predictions_test


def test_again_it_answers_from_the_store(planted: Ablation, store: Store) -> None:
    lines: list[str] = []
    again = ablate(planted.recipe, model=small_net(), store=store, log=lines.append)
    assert again.saving.stored == again.saving.done == 15
    assert [figures(list(r.steps)) for r in again.variants] == [
        figures(list(r.steps)) for r in planted.variants
    ]
    assert again.effects.rows == planted.effects.rows
    (said,) = [line for line in lines if line.startswith("ablation: ")]
    assert "at most 15, of which 15 are in the store" in said


def test_the_folder_says_it_all(planted: Ablation, tmp_path: Path) -> None:
    with AblationFolder.open(planted.recipe, tmp_path) as folder:
        folder.write(planted)
    found = json.loads((folder.path / "ablation.json").read_text())
    assert found == json.loads(json.dumps(content(planted)))
    assert [(e["stage"], e["verdict"]) for e in found["effects"]] == [
        ("rescale", "useless"),
        ("blind", "harmful"),
    ]
    assert found["saving"]["done"] == 15
    assert found["stopped"] is None
    assert {e["verdict"] for e in found["effects"]} <= set(found["words"])
    with (folder.path / "ablation.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == planted.saving.asked
    blind = [
        r for r in rows if r["variant"] == "without rescale" and r["stage"] == "blind" and r["seed"] == "1"
    ]
    assert len(blind) == 1
    step = next(
        r.steps[1] for r in planted.variants if r.variant.name == "without rescale" and r.variant.seed == 1
    )
    assert step.score is not None
    assert float(blind[0]["score_val"]) == step.score.points_val
    report = (folder.path / "report.md").read_text()
    assert "| blind | harmful |" in report
    assert "best order" in report
    assert "- **useless**: it does nothing that matters: " in report
    assert "stays within 0.05 points" in report
    assert ">useless</td>" in planted._repr_html_()


def test_a_stage_that_fails_ends_its_variants_and_no_others(store: Store) -> None:
    done = ablate(recipe(Rescale(), Break()), model=small_net(), store=store, log=quiet)
    assert [r.variant.name for r in done.failed] == ["full"]
    assert done.failed[0].error == "break: this net was scaled"
    assert len(done.variants) == 4
    assert content(done)["variants"][0]["score_val"] is None
    assert "failed: full, seed 0: break: this net was scaled" in summary(done)
    alone = recipe(Rescale(), Break(how="torch"), kinds=())
    with pytest.raises(CompressError, match=r"every variant failed.* at break: RuntimeError: out of memory$"):
        ablate(alone, model=small_net(), store=store, log=quiet)
    with pytest.raises(OSError, match="No space left"):  # the next variant would fail, too
        ablate(recipe(Rescale(), Break(how="disk"), kinds=()), model=small_net(), store=store, log=quiet)


def test_a_stage_that_declines_costs_nothing_and_is_called_skipped(store: Store) -> None:
    done = ablate(recipe(Declines(), Rescale()), model=small_net(), store=store, log=quiet)
    assert {e.stage: e.verdict for e in done.effects} == {"declines": "skipped", "rescale": "useless"}
    assert done.orders[0].same  # either order ends with the same net
    assert len(done.orders) == 1
    # baseline, declines on it, rescale on it, declines after rescale; rescale after declines is the same run
    assert done.saving.done == 4


class CountedDigits(DigitsData):
    loaded: ClassVar[list[int]] = []

    def load(self, seed: int, log: Callable[[str], None] = print) -> Splits:
        self.loaded.append(seed)
        return super().load(seed, log)


def test_data_is_loaded_once_a_seed_by_the_forecast_for_the_run(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    from compress.ablation import branches

    counted = recipe(Rescale(), kinds=(), seeds=2)
    counted = counted.model_copy(update={"data": CountedDigits(image_size=8)})
    plain = {"model": small_net(), "store": store, "log": quiet}
    first = ablate(counted, **plain)
    assert CountedDigits.loaded == [0, 1]
    monkeypatch.setattr(branches, "_WAITING", 0)  # no room for seeds that wait
    assert ablate(counted, **plain).effects.rows == first.effects.rows
    assert CountedDigits.loaded == [0, 1, 0, 1, 0, 1]


def test_a_generator_is_gone_through_once_for_all_seeds(store: Store) -> None:
    splits = DigitsData(image_size=8).load(0, quiet)
    images = [(part.images, part.targets) for part in (splits.train, splits.val, splits.test)]
    data = [(pair for pair in [part]) for part in images]
    twice = recipe(Rescale(), kinds=(), seeds=2)
    done = ablate(twice, model=small_net(), data=data, store=store, log=quiet)
    assert [r.variant.seed for r in done.variants] == [0, 1]
    again = ablate(twice, model=small_net(), data=images, store=store, log=quiet)
    assert done.effects.rows == again.effects.rows


def test_strengths_are_swept(store: Store) -> None:
    swept = recipe(Blind(), kinds=(), sweep={"stages[0].share": [0.125, 0.5, 0.875]})
    done = ablate(swept, model=small_net(), store=store, log=quiet)
    f1 = {e.values[0][1]: e.f1_test.mean for e in done.effects if e.values}
    assert f1[0.125] > f1[0.5] > f1[0.875]
    assert [r.chain[0].values[0][1] for r in done.ranking if r.chain] == [0.125, 0.5, 0.875]


def test_a_budget_of_variants_and_of_hours(store: Store) -> None:
    few = ablate(recipe(Rescale(), Blind(), max_variants=2), model=small_net(), store=store, log=quiet)
    assert len(few.variants) == 2
    assert few.stopped == "max_variants is 2: there are more variants"
    assert [line for line in summary(few) if line.startswith("best chain so far: ")]
    assert ONE_SEED in summary(few)
    exact = ablate(recipe(Rescale(), Blind(), max_variants=4), model=small_net(), store=store, log=quiet)
    assert exact.stopped is None
    late = ablate(recipe(Rescale(by=8.0), Blind(), max_hours=1e-9), model=small_net(), store=store, log=quiet)
    assert late.variants == []
    assert late.stopped == "max_hours (1e-09) were over after 0 of 4 variants"
    assert "Not complete: max_hours" in markdown(late)


def test_ctrl_c_leaves_what_was_measured(store: Store) -> None:
    def stop(line: str) -> None:
        if line.startswith("variant 2 of"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        ablate(recipe(Rescale(), Blind()), model=small_net(), store=store, log=stop)
    assert isinstance(caught.value, Interrupted)
    part = caught.value.ablation
    assert [r.variant.name for r in part.variants] == ["full", "without rescale"]
    assert part.stopped == "interrupted after 2 of 4 variants"
    assert {e.stage for e in part.effects} == {"rescale", "blind"}
