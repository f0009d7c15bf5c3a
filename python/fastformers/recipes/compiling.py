# SPDX-License-Identifier: MIT
"""``compile``: quantizes a transformers model's linear layers and turns the whole model into one native call."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from fastformers.config import CompileConfig, Int8Config
from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.modules import holds_packed_layers
from fastformers.modules.own_heads import without_own_head
from fastformers.modules.span_classifier import SpanClassifier
from fastformers.quantization import QuantizationReport
from fastformers.quantization.progress import ProgressCallback
from fastformers.quantization.twin import quantized_twin
from fastformers.recipes.model_folder import open_model
from fastformers.recipes.sentence_folder import cut_note, with_folder_pooling
from fastformers.rewriting import Encoder, check_supported, translate

__all__ = ["compile"]

#: Fields of Int8Config that decide what layers become, or whether they may.
_ASKED = ("equalize", "rounding", "exclude", "include_head", "max_disagreement")


def compile(
    model: nn.Module | str | Path,
    config: Int8Config | CompileConfig | None = None,
    *,
    tokenizer: Callable[..., Any] | None = None,
    texts: Iterable[Any] | None = None,
    progress: ProgressCallback | bool | None = None,
) -> Encoder:
    """Makes an encoder that computes what the model computes, natively, with INT8 linear layers.

    The model is not changed, not even its parameters' order in memory; the encoder shares the memory of those it
    keeps float32. A model that holds INT8 layers (:func:`fastformers.quantize_`) is taken as it is, and what an
    :class:`fastformers.Int8Config` asks beyond its defaults is refused then.

    Args:
        model: a transformers encoder of a known family, bare or with a head for sequence classification, token
            classification or question answering, or with one of ours
            (:class:`fastformers.modules.span_classifier.SpanClassifier`, ``pair_classifier.PairClassifier``); float32,
            in evaluation mode, on the CPU. Of a SentenceTransformer pass ``model[0].auto_model`` and choose
            ``CompileConfig(pooling=...)``, or pass its folder. Any model's folder will do; one of
            sentence-transformers pools as its ``modules.json`` says, unless ``config`` does.
        config: see :class:`fastformers.CompileConfig`; an :class:`fastformers.Int8Config` alone says how the layers
            are quantized.
        tokenizer: the model's tokenizer; without it, and without example inputs, layers are not equalised. Of a
            folder, its own.
        texts: as for :func:`fastformers.quantize_`; by default texts that come with the package, with a tokenizer.
        progress: called with (stage, steps done, steps in all), or True for a bar on standard error.

    Returns:
        The encoder, called like the model. Its ``report`` says what was quantized and how well it agrees with the
        model, its ``notes`` what else there is to know.

    Raises:
        UnsupportedModelError: the model computes something that is not covered; names it.
        ConfigError: options that contradict each other or the model.
        CalibrationError, GateError, ShapeError, DtypeError, DeviceError, NonFiniteError: as ``quantize_``.
        FormatError: the folder is damaged.

    Example:
        >>> fast = ff.compile(model, tokenizer=tokenizer)
        >>> fast(**tokenizer(["a text"], return_tensors="pt")).logits
    """
    chosen = _chosen(config)
    notes: tuple[str, ...] = ()
    if isinstance(model, (str, Path)):
        opened = open_model(model)
        chosen, notes = with_folder_pooling(opened.folder, chosen)
        notes += cut_note(opened.folder)
        model, tokenizer = opened.model, tokenizer or opened.tokenizer
    if not isinstance(model, nn.Module):
        raise UnsupportedModelError(
            f"compile takes a transformers model, or its folder, not {type(model).__name__}"
        )
    if isinstance(model, Encoder):
        raise UnsupportedModelError(
            "the model is a compiled encoder already: to change how it is compiled, compile the model it was made of"
        )
    check_supported(model, chosen.pooling)
    source, report = _quantized(model, chosen, tokenizer, texts, progress)
    translation = translate(
        source,
        pooling=chosen.pooling,
        normalize=chosen.normalize,
        int8_embeddings=chosen.int8_embeddings,
    )
    del source  # its packed weights: the encoder packs its own
    return Encoder(
        translation.plan,
        translation.tensors,
        config=_configuration(model),
        result=translation.result,
        threads=chosen.threads,
        attention=chosen.attention,
        notes=(*translation.notes, *notes),
        report=report,
        text_head=translation.text_head,
    )


def _chosen(config: Int8Config | CompileConfig | None) -> CompileConfig:
    if config is None:
        return CompileConfig()
    if isinstance(config, Int8Config):
        return CompileConfig(int8=config)
    if not isinstance(config, CompileConfig):
        raise ConfigError(f"config is {type(config).__name__}, expected CompileConfig or Int8Config")
    return config


def _quantized(
    model: nn.Module,
    config: CompileConfig,
    tokenizer: Callable[..., Any] | None,
    texts: Iterable[Any] | None,
    progress: ProgressCallback | bool | None,
) -> tuple[nn.Module, QuantizationReport | None]:
    """The model with INT8 layers: a twin, or itself where there is nothing to quantize."""
    packed = holds_packed_layers(model)
    if config.int8 is None or packed:
        if texts is not None:
            reason = (
                "the model's layers are INT8 already" if packed else "int8=None leaves every layer float32"
            )
            raise ConfigError(f"texts are for calibration, and nothing is quantized: {reason}")
        _refuse_vain_options(config.int8)
        return model, None
    int8 = replace(config.int8, never_slower=False)
    if not isinstance(model, SpanClassifier):
        return quantized_twin(model, int8, tokenizer=tokenizer, texts=texts, progress=progress)
    # Texts for calibration come without spans, and the head stays float32: what is quantized is the encoder.
    encoder, report = quantized_twin(model.encoder, int8, tokenizer=tokenizer, texts=texts, progress=progress)
    twin = copy.copy(model)
    twin._modules = {**model._modules, "encoder": encoder}
    return twin, report


def _refuse_vain_options(int8: Int8Config | None) -> None:
    """Refuses what was asked of a quantization that does not take place; a gate, above all, would not be one."""
    default = Int8Config()
    asked = [] if int8 is None else [name for name in _ASKED if getattr(int8, name) != getattr(default, name)]
    if asked:
        raise ConfigError(
            f"{', '.join(asked)} of Int8Config would change nothing: the model's layers are INT8 already. Leave it "
            "out, or compile the float model"
        )


def _configuration(model: nn.Module) -> dict[str, Any]:
    """The transformers configuration, with the class it belongs to, as ``save_pretrained`` writes it."""
    config: Any = model.config
    inner = without_own_head(model)
    stock = next(kind for kind in type(inner).__mro__ if kind.__module__.startswith("transformers.models."))
    return {**config.to_dict(), "architectures": [stock.__name__]}
