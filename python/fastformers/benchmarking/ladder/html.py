# SPDX-License-Identifier: MIT
"""A ladder as one page of HTML that needs nothing else: tables, pictures as inline SVG, and how it was measured."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from html import escape

from fastformers.benchmarking.ladder.report import LadderReport, LadderRow
from fastformers.benchmarking.ladder.table import BESIDE, against_of, columns_of, notes_of

__all__ = ["html_text"]

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #16202b; max-width: 68rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: 0; } h2 { font-size: 1.1rem; margin-top: 2rem; }
.lead { font-size: 1.15rem; margin-top: .3rem; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }
th, td { padding: .3rem .7rem; text-align: right; border-bottom: 1px solid #d5dde5; }
th { border-bottom: 2px solid #16202b; } th:first-child, td:first-child { text-align: left; padding-left: 0; }
tbody tr:last-child td { font-weight: 600; } svg { width: 100%; height: auto; margin: 1rem 0; }
dt { font-weight: 600; } dd { margin: 0 0 .5rem; } .notes { color: #45525f; font-size: .9rem; }
@media print { body { margin: 0; max-width: none; } }
"""
#: Of matplotlib's files: XML's own lines before the picture, and metadata that a page has no use for.
_PROLOGUE = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_IDENTIFIER = re.compile(r'(\bid="|href="#|url\(#)')


def html_text(report: LadderReport, pictures: Sequence[str]) -> str:
    """Returns the page.

    Args:
        report: what was found.
        pictures: SVG files' texts.
    """
    return "\n".join(_lines(report, pictures)) + "\n"


def _lines(report: LadderReport, pictures: Sequence[str]) -> Iterator[str]:
    yield '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>{escape(report.title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>"
    yield f"<h1>{escape(report.title)}</h1>"
    yield f'<p class="lead">{escape(_lead(report))}</p>'
    yield from _table(report.rows, report)
    yield from (_inline(picture, f"p{number}-") for number, picture in enumerate(pictures))
    if report.comparisons:
        yield f"<h2>{BESIDE}</h2>"
        yield from _table(report.comparisons, report)
        yield from (f'<p class="notes">{escape(line)}</p>' for line in against_of(report))
    yield "<h2>What the rows do</h2>\n<dl>"
    for row in (*report.rows, *report.comparisons):
        yield f"<dt>{escape(row.name)}</dt><dd>{escape(row.meaning)}.</dd>"
    yield "</dl>\n<h2>How it was measured</h2>"
    yield from (f'<p class="notes">{escape(note)}</p>' for note in notes_of(report))
    yield "</body>\n</html>"


def _lead(report: LadderReport) -> str:
    first, last = report.rows[0], report.rows[-1]
    claims = [f"{_times(last.total_speedup.median)} times as fast as {first.name}"]
    if first.score is not None and last.score is not None:
        claims.append(f"score {first.score:.2f} to {last.score:.2f}")
    if first.usd_per_100m is not None and last.usd_per_100m is not None:
        claims.append(f"{first.usd_per_100m:,.0f} to {last.usd_per_100m:,.0f} USD for 100 million queries")
    if first.noisy or last.noisy:
        claims.append("the machine was not quiet: do not rely on it")
    return f"{'; '.join(claims)}."


def _times(factor: float) -> str:
    return f"{factor:,.0f}" if factor >= 10 else f"{factor:.1f}"


def _table(rows: Sequence[LadderRow], report: LadderReport) -> Iterator[str]:
    columns = columns_of((*report.rows, *report.comparisons))
    yield '<div class="wide"><table>\n<thead><tr>'
    yield "".join(f"<th>{escape(column.heading)}</th>" for column in columns)
    yield "</tr></thead>\n<tbody>"
    for row in rows:
        yield f"<tr>{''.join(f'<td>{escape(column.cell(row))}</td>' for column in columns)}</tr>"
    yield "</tbody>\n</table></div>"


def _inline(picture: str, prefix: str) -> str:
    """An SVG file as an element; names inside it get a prefix, so that two pictures do not share them."""
    svg = _METADATA.sub("", _PROLOGUE.sub("", picture))
    return _IDENTIFIER.sub(lambda found: f"{found.group(1)}{prefix}", svg)
