# SPDX-License-Identifier: MIT
"""What each head and each neuron is worth, by four measures.

First order (the paper, section 3; TinyBERT's and DynaBERT's code): the gradient of the loss with respect to a mask on
the unit, which estimates how the loss changes when the unit goes. Absolute values are taken per example and then added;
gradients never run on from one example to the next, as they do in the published code. For a neuron,

    |d loss / d mask before the activation| = |sum over the neuron's weights and bias in the first linear of w * dw|
    |d loss / d mask after the activation|  = |sum over its weights in the second linear of w * dw|

With ReLU the two are equal. With any other activation, and with gates, their mean is taken.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fastformers.config import PruneConfig
from fastformers.errors import ConfigError, NonFiniteError
from fastformers.modules.activations import activation_name
from fastformers.modules.encoder_names import EncoderNames, EncoderParts
from fastformers.modules.layer_shapes import LayerShape, shapes_in
from fastformers.pruning.batches import Data, losses_of, scoring_batches
from fastformers.pruning.hooks import LayerMasks, unchunked, unit_masks, watched_inputs
from fastformers.tasks.prediction import evaluating

__all__ = ["LayerScores", "UnitScores", "score_units"]


@dataclass(frozen=True)
class LayerScores:
    """Scores of one layer's units, float64 on the CPU; the lower, the less is lost without the unit.

    Attributes:
        heads: shape [heads].
        ffn: shape [intermediate].
    """

    heads: Tensor
    ffn: Tensor


@dataclass(frozen=True)
class UnitScores:
    """Scores of all layers.

    Attributes:
        layers: first to last.
        examples: how many they were computed from; 0 where none were needed.
    """

    layers: tuple[LayerScores, ...]
    examples: int


def score_units(
    model: nn.Module, parts: EncoderParts, config: PruneConfig, data: Data | None = None
) -> UnitScores:
    """Scores every head and neuron; the model is as before afterwards, its gradients included.

    Args:
        model: with float layers; with a head for first-order scores.
        parts: the encoder inside it.
        config: which scores, and on how many examples.
        data: what they are computed on, where they look at data.

    Raises:
        ConfigError: data or labels are needed and missing, or refused.
        NonFiniteError: a loss or a score is not finite.

    Example:
        >>> score_units(model, parts_of(model), PruneConfig(scores="magnitude")).layers[0].heads  # doctest: +SKIP
    """
    with evaluating(model), unchunked(model):
        found = _METHODS[config.scores](model, parts, config, data)
    for number, layer in enumerate(found.layers):
        for kind, scores in (("heads", layer.heads), ("neurons", layer.ffn)):
            if not bool(torch.isfinite(scores).all()):
                raise NonFiniteError(
                    f"scores of the {kind} of layer {number} are not finite: check the weights"
                )
    return found


def _first_order(model: nn.Module, parts: EncoderParts, config: PruneConfig, data: Data | None) -> UnitScores:
    both = [not _is_relu(parts.names, layer) for layer in parts.layers]
    sums = _zeros(parts)
    examples = 0
    with unit_masks(parts) as masks, torch.enable_grad():
        for inputs, labels in scoring_batches(model, data, config):
            if labels is None:
                raise ConfigError(
                    "an example has no label, and first-order scores need one of each: leave such examples out, or "
                    'choose scores="activation"'
                )
            gradients = _mask_gradients(model, masks, inputs, labels, examples)
            for layer, total in enumerate(sums):
                heads, received, put_out = gradients[3 * layer : 3 * layer + 3]
                total.heads.add_(heads)
                total.ffn.add_((received + put_out) / 2 if both[layer] else received)
            examples += len(labels)
    return UnitScores(tuple(sums), _some(examples))


def _mask_gradients(
    model: nn.Module, masks: list[LayerMasks], inputs: dict[str, Tensor], labels: Tensor, before: int
) -> list[Tensor]:
    """Absolute gradients of each example, added up over the batch; three tensors for each layer."""
    like = next(model.parameters())
    given = [mask for layer in masks for mask in layer.renew(len(labels), like)]
    losses = losses_of(model, inputs, labels)
    wrong = torch.nonzero(~torch.isfinite(losses.detach()))
    if len(wrong):
        row = int(wrong[0])
        raise NonFiniteError(
            f"the loss of example {before + row} is {float(losses[row].detach())}: check the model and the data"
        )
    found = torch.autograd.grad(losses.sum(), given)
    return [each.abs().sum(0, dtype=torch.float64).cpu() for each in found]


def _activation(model: nn.Module, parts: EncoderParts, config: PruneConfig, data: Data | None) -> UnitScores:
    """Root mean square, over all tokens, of what a unit adds to the residual stream.

    Exact for neurons; for heads as if their channels were uncorrelated.
    """
    outputs = _linears(parts, parts.names.block.output) + _linears(parts, parts.names.block.down)
    squares = [torch.zeros(linear.in_features, dtype=torch.float64) for linear in outputs]
    text: list[Tensor] = []  # which tokens of the batch are text

    def watch(place: int, seen: Tensor) -> None:
        squares[place] += (seen.double().square() * text[0]).flatten(0, -2).sum(0).cpu()

    examples = tokens = 0
    with watched_inputs(outputs, watch), torch.no_grad():
        for inputs, _ in scoring_batches(model, data, config):
            mask = inputs.get("attention_mask", torch.ones_like(inputs["input_ids"]))
            text[:] = [mask[..., None].double()]
            model(**inputs)
            examples, tokens = examples + len(mask), tokens + int(mask.sum())
    rms = [
        (each / max(tokens, 1)).sqrt() * _norms(linear.weight, 0)
        for each, linear in zip(squares, outputs, strict=True)
    ]
    count = len(parts.layers)
    layers = [
        LayerScores(_by_head(of_heads.square(), shape).sum(-1).sqrt(), of_ffn)
        for shape, of_heads, of_ffn in zip(shapes_in(parts), rms[:count], rms[count:], strict=True)
    ]
    return UnitScores(tuple(layers), _some(examples))


def _magnitude(_: nn.Module, parts: EncoderParts, __: PruneConfig, ___: Data | None) -> UnitScores:
    """Euclidean length of all weights that would go with a unit, biases included."""
    block = parts.names.block
    layers = []
    layer: Any
    for layer, shape in zip(parts.layers, shapes_in(parts), strict=True):
        reading = torch.stack(
            [_qkv_squares(layer.get_submodule(path), shape, parts.names) for path in block.qkv]
        )
        output, up, down = (layer.get_submodule(path) for path in (block.output, block.up, block.down))
        writing = _norms(output.weight, 0).square()
        received = _squares_of_rows(up).unflatten(0, (-1, shape.intermediate)).sum(0)
        layers.append(
            LayerScores(
                _by_head(reading.sum(0) + writing, shape).sum(-1).sqrt(),
                (received + _norms(down.weight, 0).square()).sqrt(),
            )
        )
    return UnitScores(tuple(layers), 0)


def _random(_: nn.Module, parts: EncoderParts, config: PruneConfig, __: Data | None) -> UnitScores:
    draw = partial(torch.rand, generator=torch.Generator().manual_seed(config.seed), dtype=torch.float64)
    return UnitScores(tuple(LayerScores(draw(s.heads), draw(s.intermediate)) for s in shapes_in(parts)), 0)


_METHODS: dict[str, Callable[[nn.Module, EncoderParts, PruneConfig, Data | None], UnitScores]] = {
    "first_order": _first_order,
    "activation": _activation,
    "magnitude": _magnitude,
    "random": _random,
}


def _is_relu(names: EncoderNames, layer: nn.Module) -> bool:
    holder, _, attribute = names.block.activation.rpartition(".")
    return not names.gated and activation_name(getattr(layer.get_submodule(holder), attribute)) == "relu"


def _zeros(parts: EncoderParts) -> list[LayerScores]:
    zeros = partial(torch.zeros, dtype=torch.float64)
    return [LayerScores(zeros(shape.heads), zeros(shape.intermediate)) for shape in shapes_in(parts)]


def _some(examples: int) -> int:
    if examples == 0:
        raise ConfigError("data holds no examples: there is nothing to score on")
    return examples


def _linears(parts: EncoderParts, path: str) -> list[Any]:
    return [layer.get_submodule(path) for layer in parts.layers]


def _norms(weight: Tensor, dimension: int) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(weight.detach().double(), dim=dimension)
    return norms.cpu()


def _squares_of_rows(linear: Any) -> Tensor:
    """Sum of squares of each row's weights and bias, shape [rows]."""
    bias = [] if linear.bias is None else [linear.bias[:, None]]
    return _norms(torch.cat([linear.weight, *bias], dim=1), 1).square()


def _qkv_squares(linear: Any, shape: LayerShape, names: EncoderNames) -> Tensor:
    """The same per channel of attention; of a linear that is query, key and value in one, added up over the three."""
    parts = 3 if len(names.block.qkv) == 1 else 1
    return _squares_of_rows(linear).view(parts, shape.heads * shape.head_size).sum(0)


def _by_head(channels: Tensor, shape: LayerShape) -> Tensor:
    return channels.view(shape.heads, shape.head_size)
