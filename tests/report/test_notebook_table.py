"""What a notebook shows of steps."""

from __future__ import annotations

from report_samples import STEPS

from compress import table
from compress.htmltable import html_table


def test_a_table_of_steps_in_a_notebook_and_at_a_prompt() -> None:
    shown = table(iter(STEPS))
    assert len(shown) == len(list(shown)) == 4
    html = shown._repr_html_()
    assert html.count("<tr>") == 5
    assert "a &lt;b&gt; c" not in html  # notes are not part of it
    assert "skipped: none faster" in html
    assert '<td style="text-align:right">0.800</td>' in html  # 2 ms times the paired ratio
    text = repr(shown)
    assert text == str(shown)
    assert "decompose" in text
    assert len(text.splitlines()) == 8
    assert len(table([])) == 0


def test_a_step_says_what_it_is_worth_and_why() -> None:
    kept, skipped = STEPS[1]._repr_html_(), STEPS[2]._repr_html_()
    assert "score val" in kept
    assert ">0.750<" in kept
    assert ">kept<" in kept
    assert ">skipped<" in skipped
    assert "score val" not in skipped
    assert "<b>" not in kept


def test_html_tables_escape_align_and_say_nothing_for_none() -> None:
    html = html_table(("<name>", "figure"), [("<a>", 1.23456), ("b", None)], caption="a & b")
    assert "<caption>a &amp; b</caption>" in html
    assert '<th style="text-align:left">&lt;name&gt;</th><th style="text-align:right">figure</th>' in html
    assert '<td style="text-align:left">&lt;a&gt;</td><td style="text-align:right">1.235</td>' in html
    assert '<td style="text-align:right">-</td>' in html
