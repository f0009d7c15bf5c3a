# SPDX-License-Identifier: MIT
"""``quantize_folder``: a model folder in, an INT8 model's folder out; what the model answers is carried along."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fastformers.config import Int8Config
from fastformers.files.fields import MANIFEST
from fastformers.files.replaced_folder import check_place
from fastformers.modules.span_classifier import SpanClassifier
from fastformers.quantization import QuantizationReport, quantize_
from fastformers.quantization.inputs import bundled_texts
from fastformers.recipes.compile_folder import Text
from fastformers.recipes.model_folder import open_model, save_model
from fastformers.recipes.sentence_folder import left_pooling_note
from fastformers.tasks import accepted_inputs

__all__ = ["quantize_folder"]


def quantize_folder(
    folder: str | Path,
    output: str | Path,
    config: Int8Config | None = None,
    *,
    texts: Sequence[Text] | None = None,
    overwrite: bool = False,
) -> QuantizationReport:
    """Quantizes a saved model and saves it in the form that every other command takes.

    Args:
        folder: of a model that transformers or fastformers saved, pruned ones included.
        output: folder to make.
        config: see :class:`fastformers.Int8Config`.
        texts: texts, or pairs of them, to calibrate on and compare with; by default texts that come with the package.
        overwrite: replace a model saved there before.

    Returns:
        What was quantized.

    Raises:
        ConfigError: the folder holds no model, the output's place is taken, or a value is refused.
        FormatError: the model is damaged.
        UnsupportedModelError: the model is compiled.
        FastformersError: as :func:`fastformers.quantize_`; nothing is written then.

    Example:
        >>> print(quantize_folder("pruned", "pruned-int8"))  # doctest: +SKIP
    """
    check_place(Path(output).absolute(), overwrite, MANIFEST)
    opened = open_model(folder)
    opened.check_not_compiled("quantized")
    chosen = Int8Config() if config is None else config
    examples: Sequence[Any] | None = texts
    if isinstance(opened.model, SpanClassifier):
        examples = _marked(
            opened.model, opened.tokenizer, bundled_texts() if texts is None else texts, chosen
        )
    report = quantize_(opened.model, chosen, tokenizer=opened.tokenizer, texts=examples)
    save_model(opened.model, output, opened.tokenizer, opened.task_file, overwrite=overwrite)
    return replace(report, notes=(*report.notes, *left_pooling_note(Path(folder))))


def _marked(
    model: SpanClassifier, tokenizer: Any, texts: Sequence[Text], config: Int8Config
) -> list[dict[str, Tensor]]:
    """Example inputs for a model that takes marked spans: each text with its two halves marked, or as many parts."""
    limit = min(config.max_length, int(model.config.max_position_embeddings) - 2)
    count = int(model.config.num_spans)
    made = []
    for text in texts[: config.max_texts]:
        parts = (text,) if isinstance(text, str) else text
        tokens = tokenizer(*parts, truncation=True, max_length=limit, return_tensors="pt")
        length = tokens["input_ids"].shape[1]
        edges = [place * length // count for place in range(count + 1)]
        spans = [[start, max(end, start + 1)] for start, end in pairwise(edges)]
        if length >= count:
            made.append({**accepted_inputs(model, dict(tokens)), "spans": torch.tensor([spans])})
    return made
