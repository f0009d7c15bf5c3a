# SPDX-License-Identifier: MIT
"""A ladder's report: the rows, as JSON, CSV, Markdown and text."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from html import escape
from typing import Any

from fastformers.errors import FormatError
from fastformers.measuring import Spread

__all__ = ["SCHEMA", "LadderReport", "LadderRow"]

SCHEMA = "fastformers-ladder/1"
_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 16px sans-serif; max-width: 60em; margin: 2em auto; padding: 0 1em }}
svg {{ max-width: 100%; height: auto }}
table {{ border-collapse: collapse; margin: 1em 0 }}
th, td {{ padding: 0.3em 0.8em; text-align: right; border-bottom: 1px solid #ccc }}
th:first-child, td:first-child {{ text-align: left }}
</style></head><body>
<h1>{title}</h1>
{picture}
<table><thead><tr>{head}</tr></thead><tbody>
{rows}</tbody></table>
<p>{words}</p>
</body></html>
"""
_SPREADS = ("queries_per_second", "latency_ms", "step_speedup", "total_speedup")


@dataclass(frozen=True)
class LadderRow:
    """One row.

    Attributes:
        name: what tables and pictures call it.
        meaning: what it does.
        kind: ``"padded"``, ``"torch"``, ``"engine"`` or ``"instances"``.
        score: the task's, 0 to 100; ``None`` without trained weights.
        queries_per_second: median and quartiles over the rounds.
        latency_ms: of a query, tokenizing included; of rows under load its waiting too.
        p99_ms: 99 % of the queries stay below.
        total_seconds: all texts would take, at the median rate.
        step_speedup: times faster than the row above, round by round.
        total_speedup: times faster than the first row, round by round.
        memory_mb: of the weights, in 10^6 bytes.
        usd_per_100m: US dollars of 100 million queries; ``None`` without a price.
        joules_per_100m: energy of them; ``None`` where it cannot be found.
        energy_method: how it was found.
        extrapolated: measured on a sample of the texts.
        noisy: the rounds spread over 10 %.
    """

    name: str
    meaning: str
    kind: str
    score: float | None
    queries_per_second: Spread
    latency_ms: Spread
    p99_ms: float
    total_seconds: float
    step_speedup: Spread
    total_speedup: Spread
    memory_mb: float
    usd_per_100m: float | None
    joules_per_100m: float | None
    energy_method: str
    extrapolated: bool
    noisy: bool


@dataclass(frozen=True)
class LadderReport:
    """A measured ladder.

    Attributes:
        title: what was measured.
        metric: what the score is the mean of; empty without scores.
        texts: in all.
        measured: of them.
        rounds: interleaved.
        batch_size: texts of a call.
        instances: of the rows under load.
        price: name, US dollars an hour and date; ``None`` without.
        machine: as ``fastformers doctor`` tells it.
        rows: slowest first.
        notes: what the reader must know.
    """

    title: str
    metric: str
    texts: int
    measured: int
    rounds: int
    batch_size: int
    instances: int
    price: Mapping[str, Any] | None
    machine: Mapping[str, Any]
    rows: tuple[LadderRow, ...]
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Returns the report as JSON values."""
        content = asdict(self)
        return {"schema": SCHEMA, **content, "rows": list(content["rows"]), "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> LadderReport:
        """Builds a report from :meth:`to_dict`'s result.

        Raises:
            FormatError: another schema, or a field is missing.
        """
        if content.get("schema") != SCHEMA:
            raise FormatError(f"schema is {content.get('schema')!r}, must be {SCHEMA!r}")
        try:
            rows = tuple(
                LadderRow(**{**row, **{name: Spread(**row[name]) for name in _SPREADS}})
                for row in content["rows"]
            )
            own = {each.name: content[each.name] for each in fields(cls)}
        except (KeyError, TypeError) as error:
            raise FormatError(f"the ladder is incomplete: {error}") from error
        return cls(**{**own, "rows": rows, "notes": tuple(content["notes"])})

    def csv(self) -> str:
        """Returns the rows as CSV, medians of what has a spread."""
        stream = io.StringIO()
        names = [each.name for each in fields(LadderRow)]
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(names)
        for row in self.rows:
            values = (getattr(row, name) for name in names)
            writer.writerow([value.median if isinstance(value, Spread) else value for value in values])
        return stream.getvalue()

    def markdown(self) -> str:
        """Returns the rows as a Markdown table with what they were measured on."""
        head = self._head()
        lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
        lines += [f"| {' | '.join(self._cells(row))} |" for row in self.rows]
        return "\n".join([f"**{self.title}**", "", *lines, "", self._words(), ""])

    def __str__(self) -> str:
        """Returns the table for a terminal."""
        table = [self._head(), *(self._cells(row) for row in self.rows)]
        widths = [max(len(line[place]) for line in table) for place in range(len(table[0]))]
        lines = [
            "  ".join(
                cell.ljust(width) if place == 0 else cell.rjust(width)
                for place, (cell, width) in enumerate(zip(line, widths, strict=True))
            ).rstrip()
            for line in table
        ]
        return "\n".join([self.title, lines[0], "-" * max(map(len, lines)), *lines[1:], "", self._words()])

    def html(self, picture: str) -> str:
        """Returns one self-contained page: title, picture and table.

        Args:
            picture: of the ladder, as SVG.
        """
        head = "".join(f"<th>{escape(cell)}</th>" for cell in self._head())
        rows = "".join(
            f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in self._cells(row))}</tr>\n"
            for row in self.rows
        )
        drawn = picture[picture.index("<svg") :]
        words = "<br>\n".join(escape(line) for line in self._words().splitlines())
        return _PAGE.format(title=escape(self.title), picture=drawn, head=head, rows=rows, words=words)

    def _head(self) -> list[str]:
        return [
            "",
            *(["score"] if self.metric else []),
            "queries/s",
            "ms",
            "p99 ms",
            "step",
            "in all",
            "all texts, s",
            "weights, MB",
            *(["USD per 100M"] if self.price else []),
        ]

    def _cells(self, row: LadderRow) -> list[str]:
        usd = [] if not self.price else ["" if row.usd_per_100m is None else f"{row.usd_per_100m:,.2f}"]
        return [
            row.name + ("*" if row.noisy else ""),
            *([] if not self.metric else ["" if row.score is None else f"{row.score:.1f}"]),
            _figure(row.queries_per_second.median),
            _figure(row.latency_ms.median),
            _figure(row.p99_ms),
            f"{row.step_speedup.median:.2f}x",
            f"{row.total_speedup.median:.1f}x",
            _figure(row.total_seconds),
            f"{row.memory_mb:.1f}",
            *usd,
        ]

    def _words(self) -> str:
        sample = "all" if self.measured == self.texts else f"a random sample of {self.measured} of"
        cpu = self.machine.get("cpu", {})
        words = [
            f"Measured on {sample} {self.texts} texts, one at a time, tokenizing included, {self.rounds} interleaved "
            f"rounds; {cpu.get('model', 'unknown CPU')}, {cpu.get('active_isa', '')}, "
            f"{cpu.get('default_threads', '?')} cores.",
            "step and in all: times faster than the row above and than the first, medians of ratios inside a round; "
            "ms: of one query, under load with its waiting.",
        ]
        words += [f"Score: {self.metric}."] if self.metric else []
        words += (
            [f"Price: {self.price['name']}, {self.price['usd_per_hour']} USD an hour."] if self.price else []
        )
        words += ["* the rounds spread over 10 %."] if any(row.noisy for row in self.rows) else []
        return "\n".join([*words, *(f"{note[:1].upper()}{note[1:]}." for note in self.notes)])


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"
