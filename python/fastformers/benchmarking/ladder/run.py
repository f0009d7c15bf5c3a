# SPDX-License-Identifier: MIT
"""``ladder``: measures all rows together, round by round, and writes the report in every form."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastformers import kernels
from fastformers._optional import require
from fastformers.benchmarking.cost import usd_per_100m
from fastformers.benchmarking.demo_measure import Run, Way, deal_rounds, measure_ways
from fastformers.benchmarking.demo_report import Row
from fastformers.benchmarking.demo_ways import prepared_ways
from fastformers.benchmarking.energy import energy_meter
from fastformers.benchmarking.ladder.report import LadderReport, LadderRow
from fastformers.benchmarking.ladder.systems import Systems, from_recipe
from fastformers.benchmarking.ladder.table3 import table3
from fastformers.benchmarking.machine import machine_facts
from fastformers.benchmarking.plots.ladder import draw_ladder
from fastformers.benchmarking.price_table import price_of
from fastformers.errors import ConfigError
from fastformers.files.replaced_file import replace_file
from fastformers.files.strict_json import json_bytes

__all__ = ["JSON_FILE", "ladder"]

JSON_FILE = "ladder.json"
_NOISY = 0.1
#: Texts of the preset: the padded model takes more than a second for each.
_SAMPLE = 40
_QUERIES = 1e8


def ladder(
    output: str | Path,
    *,
    recipe: str | Path | None = None,
    data: str | Path | None = None,
    preset: str | None = None,
    texts: str | Path | None = None,
    instances: int | None = None,
    sample: int | None = None,
    price: str | float | None = None,
    utilisation: float = 1.0,
    seed: int = 42,
    tell: Callable[[str], None] | None = None,
) -> LadderReport:
    """Measures what each technique adds: padded PyTorch, dynamic length, student, INT8 engine, instances, prunings.

    All rows answer the same texts, one at a time (instances: all handed in at once), tokenizing included, in
    interleaved rounds; a step is the median of the ratios inside a round. See the paper's Table 3.

    Args:
        output: folder to write into, made if need be: ``ladder.json``, ``.csv``, ``.md``, ``.png``,
            ``.svg`` and ``.html``.
        recipe: folder that ``fastformers recipe run`` made; with ``data``.
        data: the recipe's data; its validation set is answered.
        preset: ``"table3"``: the paper's shapes with random weights, on ``texts``.
        texts: of the preset: BoolQ's ``val.jsonl``, or any file of texts.
        instances: of the rows under load; ``None`` for one on each core.
        sample: texts to draw at random; ``None`` for all, of the preset 40.
        price: name in the price table, or US dollars an hour.
        utilisation: share of the paid time in which queries are answered.
        seed: of the sample, and of random weights.
        tell: takes a line about what is done.

    Raises:
        ConfigError: arguments that contradict each other, more instances than cores, no texts, or a recipe that has
            not run.
        FormatError: a file is missing or damaged.
        MissingExtraError: torch, transformers or matplotlib is not installed.

    Example:
        >>> print(ff.ladder("out", preset="table3", texts="BoolQ/val.jsonl", price=0.677))  # doctest: +SKIP
    """
    for module in ("torch", "transformers", "matplotlib"):
        require(module, "train", "the ladder")
    chosen_price = None if price is None else price_of(price)
    cores = kernels.default_threads()
    count = cores if instances is None else instances
    if not 1 <= count <= cores:
        raise ConfigError(f"instances is {count}, and there are {cores} cores: choose 1 to {cores}")
    folder = Path(output)
    if not folder.absolute().parent.is_dir():
        raise ConfigError(f"{folder.absolute().parent} does not exist: make it first")
    say = tell or (lambda _: None)
    systems = _systems(folder, recipe, data, preset, texts, count, sample, seed, say)
    say(f"measuring {len(systems.rungs)} rows on {len(systems.texts)} of {systems.texts_in_all} texts")
    rows, rounds, energy = _measured(systems, count)
    report = LadderReport(
        title=systems.title,
        metric=systems.metric,
        texts=systems.texts_in_all,
        measured=len(systems.texts),
        rounds=rounds,
        batch_size=1,
        instances=count,
        price=None if chosen_price is None else chosen_price.to_dict(),
        machine=machine_facts().to_dict(),
        rows=tuple(
            _row(systems, place, row, energy[row.name], chosen_price, utilisation)
            for place, row in enumerate(rows)
        ),
        notes=systems.notes,
    )
    _save(report, folder)
    return report


def _systems(
    folder: Path,
    recipe: str | Path | None,
    data: str | Path | None,
    preset: str | None,
    texts: str | Path | None,
    instances: int,
    sample: int | None,
    seed: int,
    say: Callable[[str], None],
) -> Systems:
    if (recipe is None) == (preset is None):
        raise ConfigError("name a recipe's folder or a preset, one of them")
    if recipe is not None:
        if data is None:
            raise ConfigError("a recipe's ladder needs the data of its task: data=...")
        systems = from_recipe(Path(recipe), Path(data), instances, sample, seed)
        folder.mkdir(exist_ok=True)
        return systems
    if preset != "table3":
        raise ConfigError(f"preset is {preset!r}; allowed: 'table3'")
    if texts is None:
        raise ConfigError("the preset needs texts: BoolQ's val.jsonl, or any file with a text a line")
    work = folder / "models"
    work.mkdir(parents=True, exist_ok=True)
    say("making the models of the preset, random weights, where they are not there from before")
    return table3(Path(texts), work, instances, _SAMPLE if sample is None else sample, seed)


def _measured(systems: Systems, instances: int) -> tuple[list[Row], int, dict[str, tuple[float | None, str]]]:
    """The rows, the number of rounds, and each row's joules a query with the method."""
    with prepared_ways(systems.rungs, systems.folders, instances, systems.max_tokens) as ways:
        lengths = [len(text if isinstance(text, str) else " ".join(text)) for text in systems.texts]
        metered = [_Metered(way) for way in ways]
        measured = [replace(each.way, run=each.run) for each in metered]
        labels = systems.labels or [0] * len(systems.texts)
        rows = measure_ways(measured, systems.texts, labels, lengths)
    return rows, len(deal_rounds(lengths)), {each.way.name: each.joules_per_query() for each in metered}


class _Metered:
    """A way whose runs are metered for energy."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self._joules: float | None = 0.0
        self._queries = 0
        self._method = "unavailable"

    def run(self, texts: Any) -> Run:
        """Answers texts as the way does."""
        with energy_meter() as meter:
            result = self.way.run(texts)
        reading = meter.reading
        self._method = reading.method
        self._queries += len(result.seconds)
        known = reading.joules is not None and self._joules is not None
        self._joules = self._joules + reading.joules if known else None  # type: ignore[operator]
        return result

    def joules_per_query(self) -> tuple[float | None, str]:
        """Returns joules of a query and how they were found."""
        if self._joules is None or not self._queries:
            return None, self._method
        return self._joules / self._queries, self._method


def _row(
    systems: Systems,
    place: int,
    row: Row,
    energy: tuple[float | None, str],
    price: Any,
    utilisation: float,
) -> LadderRow:
    rung = systems.rungs[place]
    rate = row.queries_per_second.median
    joules, method = energy
    return LadderRow(
        name=row.name,
        meaning=row.meaning,
        kind=rung.kind,
        score=systems.scores.get(rung.stage),
        queries_per_second=row.queries_per_second,
        latency_ms=row.latency_ms,
        p99_ms=row.p99_ms,
        total_seconds=systems.texts_in_all / rate,
        step_speedup=row.step_speedup,
        total_speedup=row.total_speedup,
        memory_mb=row.model_mb,
        usd_per_100m=None if price is None else usd_per_100m(1.0 / rate, price.usd_per_hour, utilisation),
        joules_per_100m=None if joules is None else joules * _QUERIES,
        energy_method=method,
        extrapolated=len(systems.texts) < systems.texts_in_all,
        noisy=row.queries_per_second.count > 1 and row.step_speedup.relative > _NOISY,
    )


def _save(report: LadderReport, folder: Path) -> None:
    content = report.to_dict()
    replace_file(folder / JSON_FILE, json_bytes(content))
    replace_file(folder / "ladder.csv", report.csv().encode("utf-8"))
    replace_file(folder / "ladder.md", report.markdown().encode("utf-8"))
    for ending in ("png", "svg"):
        draw_ladder(content, folder / f"ladder.{ending}")
    page = report.html((folder / "ladder.svg").read_text(encoding="utf-8"))
    replace_file(folder / "ladder.html", page.encode("utf-8"))
