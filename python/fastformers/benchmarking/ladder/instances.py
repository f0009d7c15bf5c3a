# SPDX-License-Identifier: MIT
"""Instances x threads over the cores there are (the paper's Table 2), for a large and a small model.

Instances as threads of one process over one copy of the weights, and as processes with a copy each. Every text is a
piece of work of its own, as at batch size 1.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastformers import __version__, kernels
from fastformers.benchmarking.cost import usd_per_100m
from fastformers.benchmarking.ladder.journal import Journal, Reading
from fastformers.benchmarking.ladder.models import LadderModels
from fastformers.benchmarking.ladder.queries import Queries, queries_of
from fastformers.benchmarking.ladder.settings import LadderSettings
from fastformers.benchmarking.ladder.systems import SystemModel, Systems
from fastformers.benchmarking.machine import machine_facts
from fastformers.benchmarking.price_table import Price, price_of
from fastformers.benchmarking.tune import (
    ArrangementReading,
    FolderEngines,
    Keeping,
    Mode,
    Row,
    arrangements_to_try,
    measure_arrangements,
    tuning_of,
)
from fastformers.benchmarking.wording import processor
from fastformers.counted import counted
from fastformers.errors import ConfigError
from fastformers.files.digests import sha256_of
from fastformers.files.replaced_file import replace_file
from fastformers.files.strict_json import json_bytes
from fastformers.runtime.tuning import Arrangement
from fastformers.tokenization import TruncationWarning

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["InstancesReport", "InstancesRow", "instances_markdown", "instances_table", "show_instances"]

SCHEMA = "fastformers-instances/1"

_ONE_TEXT = 1
_RESULTS = "instances.json"
_BYTES_PER_MB = 1e6
_FIGURES = ("instances x threads", "as", "total s", "queries/s", "p50 ms", "p99 ms", "MB")
_COST = "USD/100M"
_BEST = "best for"
_NOISE = (
    "~ The rounds spread over 10 %, taken twice: the machine was not quiet; do not rely on these rows, nor on what is "
    "best."
)


@dataclass(frozen=True, kw_only=True)
class InstancesRow:
    """One arrangement of one model.

    Attributes:
        model: name.
        mode: ``"threads"``: instances share one copy of the weights; ``"processes"``: a process and a copy for each.
        instances: how many compute at once.
        threads: of each.
        total_seconds: of all texts.
        queries_per_second: median over the rounds.
        p50_ms: latency with one query in flight for each instance, median over the texts.
        p99_ms: its 99th percentile.
        memory_mb: weights and scratch of all instances together, in 10^6 bytes.
        usd_per_100m: US dollars of 100 million queries; ``None`` without a price.
        best: what ``fastformers tune`` picks: ``"throughput"``, ``"latency"``, both or neither.
        noisy: the rounds spread over 10 %, even when repeated.
    """

    model: str
    mode: str
    instances: int
    threads: int
    total_seconds: float
    queries_per_second: float
    p50_ms: float
    p99_ms: float
    memory_mb: float
    usd_per_100m: float | None
    best: tuple[str, ...]
    noisy: bool


@dataclass(frozen=True, kw_only=True)
class InstancesReport:
    """All arrangements.

    Attributes:
        title: short.
        texts: that were answered in every round.
        total: texts that ``total_seconds`` are of.
        rounds: how many.
        machine: what :func:`fastformers.benchmarking.machine.machine_facts` found.
        price: of the machine; ``None`` when none was asked for.
        utilisation: share of the paid time in which queries are answered.
        rows: of the large model, then of the small one.
    """

    title: str
    texts: int
    total: int
    rounds: int
    machine: dict[str, Any]
    price: Price | None
    utilisation: float
    rows: tuple[InstancesRow, ...]

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as JSON values, schema ``fastformers-instances/1``."""
        rows = [{**asdict(row), "best": list(row.best)} for row in self.rows]
        return {"schema": SCHEMA, **asdict(self), "rows": rows}


def instances_table(
    systems: Systems,
    output: str | Path,
    settings: LadderSettings,
    *,
    processes: bool = True,
    overwrite: bool = False,
    tell: Callable[[str], None] = print,
) -> InstancesReport:
    """Measures every split of the cores into instances, for the uncompressed model and the most pruned one.

    Args:
        systems: the models.
        output: folder of results; ``instances.json`` and ``instances.md`` are written there.
        settings: rounds, how many of the texts, price and utilisation.
        processes: measure a process for each instance, too.
        overwrite: replace a table that is there, and throw readings of another one that was interrupted away; one that
            was interrupted with the same models, texts and rounds goes on.
        tell: takes one line at a time.

    Raises:
        ConfigError: ``output`` holds a table already, or readings of another one; or there is no such price.
        ConfigError, UnsupportedModelError, FormatError: a model cannot be compiled or served.

    Example:
        >>> instances_table(preset_systems("table3", "superglue"), "out", LadderSettings(most_texts=100))
    """
    price = None if settings.price is None else price_of(settings.price)
    folder = Path(output)
    if (folder / _RESULTS).exists() and not overwrite:
        raise ConfigError(
            f"{folder} holds a table of instances already: choose another output folder, or pass overwrite=True "
            "(--overwrite)"
        )
    folder.mkdir(parents=True, exist_ok=True)
    models = LadderModels(systems, folder / "models")
    encoded = models.opened(systems.teacher).encode(systems.examples)
    queries = queries_of(encoded.examples, encoded.lengths, systems.task, settings.most_texts, settings.seed)
    arrangements = arrangements_to_try(kernels.default_threads(), [_ONE_TEXT])
    modes: tuple[Mode, ...] = ("threads", "processes") if processes else ("threads",)
    rows: list[InstancesRow] = []
    journals: list[Path] = []
    for model in _large_and_small(systems):
        journals.append(folder / f"instances-rounds-{len(journals) + 1}.jsonl")
        tell(
            f"{model.name}: {len(arrangements)} arrangements, {len(queries):,} texts, {settings.rounds} rounds"
        )
        places = [str(place) for place in range(len(modes) * len(arrangements))]
        key = _key(models.encoder_identity(model), queries, arrangements, modes, settings)
        journal = Journal(journals[-1], key, places, overwrite=overwrite)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", TruncationWarning)  # every arrangement cuts at the same length
            measured = measure_arrangements(
                FolderEngines(models.compiled(model)),
                queries.texts,
                arrangements,
                rounds=settings.rounds,
                modes=modes,
                keeping=_keeping(journal, tell),
            )
        rows += [
            _row(model.name, row, _winners(measured), queries.total, price, settings.utilisation)
            for row in measured
        ]
    report = InstancesReport(
        title=f"Instances x threads: {systems.title}",
        texts=len(queries),
        total=queries.total,
        rounds=settings.rounds,
        machine=machine_facts().to_dict(),
        price=price,
        utilisation=settings.utilisation,
        rows=tuple(rows),
    )
    replace_file(folder / _RESULTS, json_bytes(report.to_dict()))
    replace_file(folder / "instances.md", instances_markdown(report).encode("utf-8"))
    for path in journals:
        path.unlink(missing_ok=True)
    tell(f"Saved in {folder}: instances.json, instances.md")
    return report


def _key(
    identity: str,
    queries: Queries,
    arrangements: Sequence[Arrangement],
    modes: Sequence[Mode],
    settings: LadderSettings,
) -> str:
    """Names everything that a reading depends on."""
    cpu = kernels.cpu_facts()
    texts = [(each.text, each.text_pair) for each in queries.examples]
    tried = [asdict(each) for each in arrangements]
    facts = [
        identity,
        texts,
        tried,
        modes,
        settings.rounds,
        cpu["model"],
        cpu["active_isa"],
        __version__,
    ]
    return sha256_of(repr(facts).encode())


def _keeping(journal: Journal, tell: Callable[[str], None]) -> Keeping:
    """Notes each reading, and gives those of whole rounds that an interrupted run noted."""
    earlier = len(journal.rounds)
    if earlier:
        tell(f"{counted(earlier, 'round')} of an earlier run {'is' if earlier == 1 else 'are'} there")

    def keeping(name: str, round_index: int, read: Callable[[], ArrangementReading]) -> ArrangementReading:
        if round_index < earlier:
            known = journal.rounds[round_index][name]
            return ArrangementReading(1 / known.seconds_per_query, known.alone)
        taken = read()
        journal.note(round_index, name, Reading(1 / taken.texts_per_second, 1, taken.latencies, None, "off"))
        return taken

    return keeping


def _large_and_small(systems: Systems) -> list[SystemModel]:
    every = [systems.teacher, *systems.students, *systems.pruned]
    return every[:1] if len(every) == 1 else [every[0], every[-1]]


def _winners(measured: Sequence[Row]) -> Mapping[str, Arrangement]:
    tuning = tuning_of(measured)
    return {"throughput": tuning.throughput, "latency": tuning.latency}


def _row(
    model: str,
    row: Row,
    winners: Mapping[str, Arrangement],
    texts: int,
    price: Price | None,
    utilisation: float,
) -> InstancesRow:
    best = [goal for goal, arrangement in winners.items() if arrangement == row.arrangement]
    return InstancesRow(
        model=model,
        mode=row.mode,
        instances=row.arrangement.instances,
        threads=row.arrangement.threads,
        total_seconds=texts / row.texts_per_second,
        queries_per_second=row.texts_per_second,
        p50_ms=row.p50_ms,
        p99_ms=row.p99_ms,
        memory_mb=row.memory_bytes / _BYTES_PER_MB,
        usd_per_100m=None
        if price is None
        else usd_per_100m(1 / row.texts_per_second, price.usd_per_hour, utilisation),
        best=tuple(best) if row.mode == "threads" else (),
        noisy=row.noisy,
    )


def instances_markdown(report: InstancesReport) -> str:
    """Returns a table for each model, and the notes."""
    lines = [f"# {report.title}", ""]
    for model, rows in _by_model(report).items():
        headings = _headings(report)
        lines += [f"## {model}", "", f"| {' | '.join(headings)} |", f"|{' --: |' * len(headings)}"]
        lines += [*(f"| {' | '.join(_cells(row))} |".replace("~", r"\~") for row in rows), ""]
    return "\n".join([*lines, *(f"{note}  " for note in _notes(report))]) + "\n"


def show_instances(console: Console, report: InstancesReport) -> None:
    """Prints a table for each model, and the notes."""
    from rich.table import Table

    console.print(report.title, style="bold", highlight=False, markup=False)
    for model, rows in _by_model(report).items():
        table = Table(box=None, padding=(0, 1, 0, 0))
        for heading in _headings(report):
            table.add_column(heading, justify="left" if heading in ("as", _BEST) else "right")
        for row in rows:
            table.add_row(*_cells(row))
        console.print(f"\n{model}", highlight=False, markup=False)
        console.print(table)
    console.print()
    for note in _notes(report):
        console.print(note, highlight=False, markup=False)


def _headings(report: InstancesReport) -> list[str]:
    return [*_FIGURES, *([_COST] if report.price else []), _BEST]


def _by_model(report: InstancesReport) -> dict[str, list[InstancesRow]]:
    models = dict.fromkeys(row.model for row in report.rows)
    return {model: [row for row in report.rows if row.model == model] for model in models}


def _cells(row: InstancesRow) -> list[str]:
    return [
        f"{row.instances} x {row.threads}{' ~' if row.noisy else ''}",
        row.mode,
        f"{row.total_seconds:,.2f}",
        f"{row.queries_per_second:,.1f}",
        f"{row.p50_ms:.2f}",
        f"{row.p99_ms:.2f}",
        f"{row.memory_mb:,.1f}",
        *([] if row.usd_per_100m is None else [f"{row.usd_per_100m:,.2f}"]),
        ", ".join(row.best),
    ]


def _notes(report: InstancesReport) -> list[str]:
    sampled = f" Total: of all {report.total:,} texts, extrapolated." if report.total > report.texts else ""
    busy = f", {100 * report.utilisation:g} % utilised" if report.utilisation < 1 else ""
    return [
        *([f"{_COST}: US dollars of 100 million queries at {report.price}{busy}."] if report.price else []),
        f"{processor(report.machine)}; kernels {report.machine['cpu']['active_isa']}.",
        f"INT8 engine, one text a request; medians of {report.rounds} rounds over {report.texts:,} texts.{sampled} "
        "Threads: instances share one copy of the weights. Processes: a copy each. Best: what `fastformers tune` "
        "picks among the threads. Latency: one request in flight for each instance.",
        *([_NOISE] if any(row.noisy for row in report.rows) else []),
    ]
