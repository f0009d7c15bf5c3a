# SPDX-License-Identifier: MIT
"""The demo: the whole ladder on a labelled set that comes with the package, from a teacher to pruned INT8."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fastformers._optional import require
from fastformers.benchmarking.demo_report import DemoReport
from fastformers.benchmarking.machine import machine_facts

if TYPE_CHECKING:
    from fastformers.benchmarking.demo_models import DemoModels
    from fastformers.benchmarking.demo_ways import Rung

__all__ = ["run_demo"]

_SCHEMA = "fastformers-demo/3"
_QUICK_TEXTS = 60
_MEASURING_SECONDS = 50.0

_METHOD = (
    "One text at a time (the rows under load: all texts of a round handed in at once, five times over, a text's time "
    "with its waiting), tokenizing included, label out. Rounds of about ten texts with the same mix of lengths; each "
    "round runs every row over the same texts, the order reversed each round, the first call after each switch not "
    "counted. Speed-ups are medians of the ratio inside a round. Right answers are counted over the timed calls; none "
    "of the texts, nor any near one, was trained on."
)


def run_demo(
    *,
    folder: str | Path = "fastformers-demo",
    json_path: str | Path = "fastformers-demo.json",
    picture_path: str | Path = "fastformers-demo.png",
    quick: bool = False,
    recipe: str | Path | None = None,
    console: Console | None = None,
) -> DemoReport:
    """Runs the demo, prints it, saves its numbers and its picture: minutes at first, then from its cache.

    Args:
        folder: where the models go; a second run finds them there.
        json_path: where to save every number.
        picture_path: where to save the picture (PNG).
        quick: measure fewer texts.
        recipe: other training than the demo's: a recipe whose stages have the names of the demo's.
        console: where to print; the terminal by default.

    Returns:
        What was measured.

    Raises:
        MissingExtraError: torch, transformers, accelerate, matplotlib or the model's package is not installed.

    Example:
        >>> report = run_demo()  # doctest: +SKIP
        >>> report.rows[-1].total_speedup.median  # doctest: +SKIP
        101.2
    """
    console = console or Console()
    for module in ("torch", "transformers", "accelerate", "matplotlib"):
        require(module, "demo", "the demo")
    from fastformers import kernels
    from fastformers.benchmarking import demo_models, demo_picture, demo_text, demo_ways

    base = demo_models.find_model()
    instances = kernels.default_threads()
    ladder = demo_ways.rungs(instances)
    demo_text.announce(console, demo_models.MODEL_NAME, [(rung.name, rung.meaning) for rung in ladder])
    with demo_ways.offline():
        models = demo_models.make_models(
            base,
            Path(folder),
            lambda line: console.print(line, highlight=False, markup=False),
            None if recipe is None else Path(recipe),
        )
    report = _measure(ladder, models, instances, quick, console)
    Path(json_path).write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")
    demo_picture.draw(report, Path(picture_path))
    demo_text.show(console, report, Path(json_path), Path(picture_path))
    return report


def _measure(
    ladder: Sequence[Rung],
    models: DemoModels,
    instances: int,
    quick: bool,
    console: Console,
) -> DemoReport:
    import torch

    from fastformers import kernels
    from fastformers.benchmarking import demo_models, demo_ways
    from fastformers.benchmarking.demo_measure import deal_rounds, measure_ways, texts_that_fit
    from fastformers.recipes.model_folder import open_model

    texts = [ticket.text for ticket in models.tickets.val]
    right = [models.tickets.labels.index(ticket.label) for ticket in models.tickets.val]
    tokenizer = open_model(models.folders["teacher"]).tokenizer
    lengths = [min(len(ids), demo_ways.MOST_TOKENS) for ids in tokenizer(texts)["input_ids"]]
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with (
        demo_ways.prepared_ways(ladder, models.folders, instances) as ways,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        count = _QUICK_TEXTS if quick else texts_that_fit(ways, texts, _MEASURING_SECONDS)
        blocks = len(ways) * len(deal_rounds(lengths[:count]))
        step = progress.add_task(f"measuring {count} texts in {len(ways)} ways", total=blocks)
        rows = measure_ways(
            ways, texts[:count], right[:count], lengths[:count], lambda *_: progress.advance(step)
        )
    in_order = sorted(lengths[:count])
    return DemoReport(
        schema=_SCHEMA,
        model=demo_models.MODEL_NAME,
        method=_METHOD,
        texts={
            "measured": count,
            "quick": int(quick),
            "held_out": len(texts),
            "trained": len(models.tickets.train),
            "classes": len(models.tickets.labels),
            "shortest": in_order[0],
            "median": in_order[count // 2],
            "longest": in_order[-1],
        },
        rows=rows,
        training_seconds=models.seconds,
        cached=models.cached,
        threads={
            "torch": torch.get_num_threads(),
            "fastformers": kernels.num_threads(),
            "instances": instances,
        },
        machine=machine_facts().to_dict(),
    )
