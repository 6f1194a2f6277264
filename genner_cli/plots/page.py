"""An evaluation -> one self-contained page with plots and tables, light or dark as its reader's system is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from genner_cli.calibration import Judged, expected_error, judged, reliability
from genner_cli.plots import charts
from genner_cli.scoring.evaluation import Evaluation, sides
from genner_cli.scoring.matching import Mode
from genner_cli.scoring.tables import Table, errors_table, figures_table, modes_table, percent, rates_line
from genner_cli.types import Extraction

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1f24; --paper: #ffffff; --soft: #59626c; --line: #d4d9de }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaee; --paper: #14181c; --soft: #a0a9b3; --line: #39414a } }
body { color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif; margin: 0 auto;
  max-width: 62rem; padding: 1rem }
h1 { font-size: 1.5rem; overflow-wrap: anywhere } h2 { font-size: 1.15rem; margin-top: 2rem }
.headline { font-size: 1.25rem } .soft { color: var(--soft) }
.scroll { overflow-x: auto } svg { max-width: 100%; height: auto }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
th, td { padding: .2rem .8rem .2rem 0; text-align: right; border-bottom: 1px solid var(--line); vertical-align: top }
th, td { white-space: nowrap } .prose { min-width: 42rem }
th:first-child, td:first-child, .prose :last-child { text-align: left }
.prose td:last-child { overflow-wrap: anywhere; white-space: pre-line }
.plots { display: flex; flex-wrap: wrap; gap: 1rem 2rem } figure { margin: 0 } figcaption { color: var(--soft) }
"""


def page(found: Evaluation, extractions: Sequence[Extraction], *, title: str) -> str:
    """The HTML of the page. Everything that comes from data is escaped; there is no script."""
    points = [point for each in extractions for point in judged(each)]
    gold = sum(len(set(sides(each)[0])) for each in extractions)
    body = "\n".join(
        [
            f"<h1>{escape(title)}</h1>",
            *_summary(found),
            *_section("Match modes", _table(modes_table(found))),
            *_section(
                "Labels", _plot(charts.f1_by_label(found.labels), ""), _table(figures_table("label", found.labels))
            ),
            *(_section("Nesting", _table(figures_table("entities", found.parts))) if found.parts else ()),
            *_section("Errors", _table(errors_table(found))),
            *_section("Labels taken for each other", _plot(charts.confusion(found.confusion), _CONFUSION)),
            *(_scores(points, gold) if points else ()),
        ]
    )
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    head += f"<style>{_STYLE}</style>"
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body><main>{body}</main></body></html>\n'


_CONFUSION = "Rows are gold, columns predicted; an entity that stands for no other is under (none)."


def _scores(points: Sequence[Judged], gold: int) -> Iterator[str]:
    bins = reliability(points)
    error = f"Points count entities. The expected calibration error is {expected_error(points):.3f}."
    curve = _plot(charts.precision_recall(points, gold), "Along the curve stand the lowest scores that are kept.")
    rows = ((f"{b.low:.1f} to {b.high:.1f}", f"{b.entities:,}", f"{b.score:.3f}", f"{b.right:.3f}") for b in bins)
    table = _table(Table.of(("score", "entities", "mean score", "share right"), rows))
    plots = f'<div class="plots">{curve}{_plot(charts.reliability(bins), error)}</div>'
    yield from _section("Scores", plots, table)


def _summary(found: Evaluation) -> Iterator[str]:
    strict = found.modes[Mode.STRICT]
    yield (
        f'<p class="headline">Strict micro F1 <strong>{percent(strict.f1.value)}</strong>'
        f" (95 % interval {percent(strict.f1.low)} to {percent(strict.f1.high)}), precision"
        f" {percent(strict.precision.value)}, recall {percent(strict.recall.value)}</p>"
    )
    yield f'<p class="soft">{rates_line(found.rates)}</p>'


def _section(heading: str, *parts: str) -> Iterator[str]:
    yield f"<h2>{heading}</h2>"
    yield from parts


def _plot(svg: str, caption: str) -> str:
    shown = f"<figcaption>{caption}</figcaption>" if caption else ""
    return f'<figure class="scroll">{svg}{shown}</figure>'


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(heading)}</th>' for heading in table.headings)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table.rows)
    kind = ' class="prose"' if table.prose else ""
    return f'<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
