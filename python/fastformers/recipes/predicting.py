# SPDX-License-Identifier: MIT
"""Answers texts with the classifier of any folder: trained, distilled, pruned, quantized or compiled."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path

from fastformers._optional import require
from fastformers.answers import Prediction
from fastformers.errors import NonFiniteError
from fastformers.files.fields import ENCODER_FORMAT
from fastformers.files.saved_format import saved_format
from fastformers.files.text_form import check_form, learned_pairs
from fastformers.runtime.engine import Engine
from fastformers.span_text import SpanText
from fastformers.tokenization import Text, check_list

__all__ = ["predict"]


def predict(folder: str | Path, texts: Sequence[Text]) -> list[Prediction]:
    """Answers texts, in the form that the model was trained on.

    A compiled model answers through :class:`fastformers.Engine`, without torch; keep an engine where texts come one
    after another, as this opens the folder for each call.

    Args:
        folder: of a classifier, or of a model that predicts numbers.
        texts: strings, pairs of strings as tuples, or, of a model of marked spans, :class:`fastformers.SpanText`.

    Returns:
        The most probable label of each text and its probability, in the order given; of a model that predicts
        numbers, the number as ``score``.

    Raises:
        ConfigError: there is no folder, it does not say what the model answers, or a text is single where the model
            learned from pairs, or the other way round.
        UnsupportedModelError: the model does not classify whole texts.
        ShapeError: ``texts`` is no list, or one of them is no text.
        NonFiniteError: an answer is NaN or infinite.
        FormatError: the folder is damaged.
        MissingExtraError: the model is not compiled, and torch or transformers is not installed.

    Example:
        >>> ff.predict("my-reviews", ["great phone", "awful"])  # doctest: +SKIP
        [Prediction(label='good', score=0.98), Prediction(label='bad', score=0.95)]
    """
    check_list(texts)
    check_form(learned_pairs(Path(folder)), [_is_pair(text) for text in texts])
    answers = (_compiled if saved_format(Path(folder)) == ENCODER_FORMAT else _with_torch)(folder, texts)
    for number, answer in enumerate(answers):
        if not isfinite(answer.score):
            raise NonFiniteError(
                f"the answer to text {number} is {answer.score}: the model in {folder} is broken"
            )
    return answers


def _is_pair(text: Text) -> bool:
    return text.text_pair is not None if isinstance(text, SpanText) else isinstance(text, tuple | list)


def _compiled(folder: str | Path, texts: Sequence[Text]) -> list[Prediction]:
    with Engine.from_pretrained(folder) as engine:
        return engine.predict(texts)


def _with_torch(folder: str | Path, texts: Sequence[Text]) -> list[Prediction]:
    require("torch", "torch", "predict with a model that is not compiled")
    from fastformers.gpu.torch_model import TorchModel
    from fastformers.recipes.model_folder import open_model

    opened = open_model(folder)  # whose tokenizer cuts texts as the task says
    return TorchModel(opened.model, opened.tokenizer).predict(texts)
