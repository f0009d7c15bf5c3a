# SPDX-License-Identifier: MIT
"""The demo's rows, made ready: the model is loaded, quantized layer by layer, compiled, and put into engines."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from fastformers.benchmarking.demo_measure import (
    Embedding,
    Way,
    all_at_once,
    engine_weight_bytes,
    one_at_a_time,
    weight_bytes,
)

if TYPE_CHECKING:
    from torch import nn

    from fastformers.encoder_plan import EncoderPlan
    from fastformers.kernels import NativeEncoder
    from fastformers.quantization.progress import ProgressCallback
    from fastformers.quantization.report import QuantizationReport
    from fastformers.runtime.engine import Engine

__all__ = ["MOST_TOKENS", "PreparedWays", "load_model", "meanings", "prepared_ways"]

MOST_TOKENS = 256  # the model's own limit: longer texts are cut there in every row

_PADDED = "PyTorch float32, padded"
_FLOAT = "PyTorch float32"
_INT8 = "fastformers INT8"
_ENGINE = "compiled engine"


def meanings() -> dict[str, str]:
    """Names of the rows in order, and what each does on this machine."""
    instances = _instances()
    return {
        _PADDED: f"every text is filled up to {MOST_TOKENS} tokens, as fixed-shape exports and "
        'padding="max_length" do',
        _FLOAT: "the same model computes only the tokens that a text has",
        _INT8: "the same again after one line: ff.quantize_(model, ff.Int8Config(), tokenizer=tokenizer)",
        _ENGINE: "the whole encoder in one native call, without torch: ff.compile(model, "
        'ff.CompileConfig(pooling="mean", normalize=True), tokenizer=tokenizer) in an ff.Engine',
        _name_of_instances(instances): f"the same under load: {instances} "
        f"instance{'s'[: instances != 1]} with one thread each over one copy of the weights, all texts handed in at "
        "once",
    }


@dataclass(frozen=True)
class PreparedWays:
    """What is measured, and what making it took.

    Attributes:
        ways: in the order of :func:`meanings`.
        quantizing_seconds: of ``quantize_``.
        compiling_seconds: of ``compile``.
        quantized: report of ``quantize_``.
        compiled: report of ``compile``.
        threads: see :class:`fastformers.benchmarking.demo_report.DemoReport`.
    """

    ways: list[Way]
    quantizing_seconds: float
    compiling_seconds: float
    quantized: QuantizationReport
    compiled: QuantizationReport
    threads: dict[str, int]


@contextmanager
def prepared_ways(tokenizer: Any, model: nn.Module, progress: ProgressCallback) -> Iterator[PreparedWays]:
    """Makes every row; layers are calibrated on other bundled texts than the demo's.

    Args:
        tokenizer: the model's, of transformers.
        model: float32, without a pooler.
        progress: told what is being done.

    Yields:
        The rows, until the end of the block, when the engines are closed.
    """
    import torch

    import fastformers as ff

    quantized = copy.deepcopy(model)
    start = perf_counter()
    report = ff.quantize_(
        quantized,
        ff.Int8Config(),
        tokenizer=tokenizer,
        progress=lambda stage, done, total: progress(f"quantizing: {stage}", done, total),
    )
    quantizing = perf_counter() - start
    start = perf_counter()
    compiled = ff.compile(
        model,
        ff.CompileConfig(pooling="mean", normalize=True),
        tokenizer=tokenizer,
        progress=lambda stage, done, total: progress(f"compiling: {stage}", done, total),
    )
    compiling = perf_counter() - start
    assert compiled.report is not None  # it was float32, and int8 is the default
    of_row = meanings()
    threads, instances = ff.kernels.num_threads(), _instances()
    native = ff.kernels.NativeEncoder(compiled.plan.to_dict(), compiled.tensors, threads, compiled.attention)
    engine = partial(_engine, native, compiled.plan, tokenizer)
    with engine(instances=1, threads=threads) as single, engine(instances=instances, threads=1) as many:
        yield PreparedWays(
            [
                _torch_way(_PADDED, tokenizer, model, padding="max_length"),
                _torch_way(_FLOAT, tokenizer, model, padding=False),
                _torch_way(_INT8, tokenizer, quantized, padding=False),
                Way(
                    _ENGINE,
                    of_row[_ENGINE],
                    engine_weight_bytes(compiled),
                    one_at_a_time(lambda text: single.embed([text])[0]),
                ),
                Way(
                    _name_of_instances(instances),
                    of_row[_name_of_instances(instances)],
                    engine_weight_bytes(compiled),
                    all_at_once(lambda text: many.submit(text, task="embed")),
                    under_load=True,
                ),
            ],
            quantizing,
            compiling,
            report,
            compiled.report,
            {"torch": torch.get_num_threads(), "fastformers": threads, "instances": instances},
        )


def _instances() -> int:
    from fastformers import kernels

    return kernels.default_threads()


def _name_of_instances(instances: int) -> str:
    return f"{instances} instance{'s'[: instances != 1]}"


@contextmanager
def _engine(
    native: NativeEncoder, plan: EncoderPlan, tokenizer: Any, *, instances: int, threads: int
) -> Iterator[Engine]:
    from fastformers.runtime.engine import Engine
    from fastformers.runtime.tokenization import TruncationWarning

    with (
        warnings.catch_warnings(),
        Engine(
            native,
            plan,
            tokenizer.backend_tokenizer,
            max_length=MOST_TOKENS,
            instances=instances,
            threads=threads,
        ) as engine,
    ):
        warnings.simplefilter("ignore", TruncationWarning)  # every row cuts there
        yield engine


def _torch_way(name: str, tokenizer: Any, model: nn.Module, padding: str | bool) -> Way:
    import torch

    @torch.inference_mode()
    def embed(text: str) -> Embedding:
        batch = tokenizer(text, return_tensors="pt", truncation=True, max_length=MOST_TOKENS, padding=padding)
        mask = batch["attention_mask"].unsqueeze(-1)
        mean = (model(**batch).last_hidden_state * mask).sum(dim=1) / mask.sum(dim=1)
        embedding: Embedding = torch.nn.functional.normalize(mean)[0].numpy()
        return embedding

    return Way(name, meanings()[name], weight_bytes(model), one_at_a_time(embed))


def load_model(folder: Path) -> tuple[Any, nn.Module]:
    """Loads tokenizer and encoder. The pooler is left out: embeddings are the mean over the tokens."""
    with _offline():
        from transformers import AutoModel, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True, add_pooling_layer=False)
    return tokenizer, model.eval()


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
