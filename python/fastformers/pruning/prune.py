# SPDX-License-Identifier: MIT
"""``prune_``: scores heads and neurons, chooses, and takes the others out of the model, in place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from fastformers.config import PruneConfig
from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.modules.encoder_names import EncoderParts, parts_of
from fastformers.modules.layer_shapes import LayerShape, shapes_in
from fastformers.pruning.batches import Data
from fastformers.pruning.report import LayerReport, PruneReport
from fastformers.pruning.scores import score_units
from fastformers.pruning.selection import KeptUnits, select_units
from fastformers.pruning.surgery import check_prunable, keep_units_

__all__ = ["describe_pruning", "prune_"]


def prune_(model: nn.Module, config: PruneConfig, data: Data | None = None) -> PruneReport:
    """Removes attention heads and feed-forward neurons from a model, physically and in place.

    The model stays a stock model of transformers with smaller linear layers: it trains, prunes again, quantizes and
    compiles as before. Units whose weights were zero leave its answers as they were; others have to be made up for by
    training or distilling again. Save it with :func:`fastformers.save_pretrained`, which notes the sizes; what
    transformers' own ``save_pretrained`` writes could not be loaded again. Make optimizers afterwards: parameters are
    new.

    Args:
        model: a transformers encoder of a known family (BERT, RoBERTa, XLM-RoBERTa, CamemBERT, DistilBERT, ELECTRA,
            MPNet, ModernBERT), bare or with any head, or a span classifier; in evaluation mode.
        config: what to keep, and by which scores.
        data: for first-order scores labelled examples of the task, for activation scores any: encoded examples, or
            batches, each a dict of tensors as the model takes it (``input_ids`` of shape [examples, tokens],
            ``attention_mask``...) with ``labels`` of shape [examples]. Every example counts alone, whatever the batches
            are. Scores on the set that results are reported on leak.

    Returns:
        What was kept.

    Raises:
        ConfigError: the config asks for nothing or for more than there is, or data or labels are missing.
        UnsupportedModelError: the family is not known, layers are INT8, or the model is in training mode.
        NonFiniteError: a loss or a score is not finite.
        Whatever is raised, the model is as before.

    Example:
        >>> print(ff.prune_(model, ff.PruneConfig(heads=8, ffn=600), data=loader))  # doctest: +SKIP
    """
    parts = parts_of(model)
    _check(model, parts, config)
    before = shapes_in(parts)
    parameters = _parameters(model)
    scores = score_units(model, parts, config, data)
    kept = select_units(
        scores,
        before,
        config,
        hidden=hidden_size(parts),
        gated=parts.names.gated,
        shared_heads=parts.names.shared_heads,
    )
    keep_units_(parts, kept)
    return describe_pruning(model, config, scores.examples, before, kept, parameters)


def describe_pruning(
    model: nn.Module,
    config: PruneConfig | None,
    examples: int,
    before: Sequence[LayerShape],
    kept: Sequence[KeptUnits] | None,
    parameters_before: int,
) -> PruneReport:
    """Writes the report of a model that was pruned.

    Args:
        model: the model as it is now.
        config: what was asked.
        examples: how many it was scored on.
        before: sizes of its layers before.
        kept: what stayed of them; ``None`` for everything.
        parameters_before: how many it had.
    """
    parts = parts_of(model)
    if kept is None:
        kept = [KeptUnits(tuple(range(s.heads)), tuple(range(s.intermediate))) for s in before]
    hidden, gated = hidden_size(parts), parts.names.gated
    layers = tuple(
        LayerReport(shape.heads, units.heads, shape.intermediate, len(units.ffn))
        for shape, units in zip(before, kept, strict=True)
    )
    shared = f"{parts.names.name} shares relative positions among its layers: the same heads stay in all"
    return PruneReport(
        family=parts.names.name,
        config=config,
        examples=examples,
        layers=layers,
        parameters_before=parameters_before,
        parameters=_parameters(model),
        macs_before=sum(shape.linear_macs(hidden, gated) for shape in before),
        macs=sum(shape.linear_macs(hidden, gated) for shape in shapes_in(parts)),
        notes=((shared,) if parts.names.shared_heads else ()) + _rounded_up(config, layers),
    )


def _rounded_up(config: PruneConfig | None, layers: Sequence[LayerReport]) -> tuple[str, ...]:
    if config is None or not isinstance(config.ffn, float) or any(one.ffn < one.ffn_before for one in layers):
        return ()
    return (
        f"all neurons stayed: ffn={config.ffn:g}, rounded to a multiple of ffn_multiple={config.ffn_multiple} and at "
        f"least min_ffn={config.min_ffn}, is all of them",
    )


def hidden_size(parts: EncoderParts) -> int:
    """Width of the residual stream."""
    output: Any = parts.layers[0].get_submodule(parts.names.block.output)
    return int(output.out_features)


def _check(model: nn.Module, parts: EncoderParts, config: PruneConfig) -> None:
    if not isinstance(config, PruneConfig):
        raise ConfigError(f"config is {type(config).__name__}, expected PruneConfig")
    if not config.prunes:
        raise ConfigError("the config keeps everything: give heads, ffn or macs")
    if model.training:
        raise UnsupportedModelError(
            "the model is in training mode, where dropout makes scores random: call model.eval() first"
        )
    check_prunable(parts)


def _parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
