# SPDX-License-Identifier: MIT
"""``to_fp16``: an encoder of transformers that really runs in half (the paper's 16-bit step on GPUs, section 2).

Weights, activations and matrix products are float16. What needs a wider range is not: torch's LayerNorm and softmax
take half in and accumulate in float32, fused attention keeps its scores in float32, tables of rotary angles stay
float32, and what the model puts out is float32. (The published code saves half weights and then evaluates a float32
module that they are copied into.)
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from fastformers.config import Fp16Config
from fastformers.errors import ConfigError, DtypeError, GateError, NonFiniteError, UnsupportedModelError
from fastformers.gpu.agreement import compare_with_float32
from fastformers.gpu.alignment import align_
from fastformers.gpu.mpnet_attention import fuse_mpnet_attention_
from fastformers.modules import PackedLinear
from fastformers.modules.encoder_names import MPNET, EncoderParts, parts_of
from fastformers.modules.own_heads import without_own_head
from fastformers.tokenization import Text

__all__ = ["to_fp16"]

_Model = TypeVar("_Model", bound=nn.Module)

#: The largest number that half holds.
_MOST = torch.finfo(torch.float16).max
_FLOATS = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


def to_fp16(
    model: _Model,
    config: Fp16Config | None = None,
    *,
    tokenizer: Any | None = None,
    texts: Iterable[Text] | None = None,
) -> _Model:
    """Makes a copy of an encoder that runs in half; the model itself is not changed.

    The copy is of the same class, on the same device, in evaluation mode, and is called as before. All its parameters
    are float16 and take no gradient. What it puts out (logits, the last hidden state, a pooled row) is float32;
    ``hidden_states`` and ``attentions``, if asked for, are half.

    Args:
        model: of a family that :func:`fastformers.compile` takes, bare or with a head, pruned or not, or a
            :class:`fastformers.modules.span_classifier.SpanClassifier`; its weights are float.
        config: see :class:`fastformers.Fp16Config`.
        tokenizer: the model's, to compare with float32 on ``texts``.
        texts: what to compare on, see :func:`fastformers.gpu.agreement.compare_with_float32`; ``None`` compares
            nothing.

    Returns:
        The copy. Where texts were given, its attribute ``fp16_agreement`` holds the figures.

    Raises:
        UnsupportedModelError: the family is not known, a layer is not plain, or the installed transformers has no
            fused attention for it.
        DtypeError: weights that are not float, INT8 layers for example.
        NonFiniteError: a weight is NaN, infinite or beyond the range of half, or half overflows on the texts; names
            the tensor or the module.
        GateError: on the texts, the cosine with float32 misses ``min_cosine``.
        ConfigError: texts without a tokenizer, or the reverse.

    Example:
        >>> half = ff.to_fp16(model.cuda())  # doctest: +SKIP
        >>> half(**inputs).logits.dtype  # doctest: +SKIP
        torch.float32
    """
    chosen = config or Fp16Config()
    if (tokenizer is None) != (texts is None):
        raise ConfigError("comparing with float32 needs both tokenizer and texts")
    parts = parts_of(model)
    _check_layers(parts)
    _check_weights(model)
    half = _twin(model).eval()
    _choose_attention(half, chosen)
    if chosen.align:
        align_(half)
    _halve(half)
    half.register_forward_hook(_answer_in_float32)
    if texts is not None:
        _compare(model, half, tokenizer, list(texts), chosen)
    return half


def _twin(model: _Model) -> _Model:
    """A copy whose modules are its own and whose tensors are the model's."""
    tensors = (*model.parameters(), *model.buffers())
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


def _check_layers(parts: EncoderParts) -> None:
    block = parts.names.block
    for number, layer in enumerate(parts.layers):
        for path in (*block.qkv, block.output, block.up, block.down):
            linear = layer.get_submodule(path)
            if isinstance(linear, PackedLinear):
                raise DtypeError(
                    f"{path} of layer {number} is INT8: half is made from float weights, so pass the model as it was "
                    "before ff.quantize_"
                )
            if type(linear) is not nn.Linear:
                raise UnsupportedModelError(
                    f"{path} of layer {number} is a {type(linear).__name__}, not a plain nn.Linear: merge adapters "
                    "into the weights first"
                )


def _check_weights(model: nn.Module) -> None:
    for name, parameter in model.named_parameters():
        if parameter.dtype not in _FLOATS:
            raise DtypeError(f"{name} is {parameter.dtype}: half is made from float weights")
        if not parameter.numel():
            continue
        largest = float(parameter.detach().abs().max())
        if not largest < float("inf"):  # a NaN is not below it either
            raise NonFiniteError(f"{name} holds NaN or infinity: repair the checkpoint first")
        if largest > _MOST:
            raise NonFiniteError(
                f"{name} holds {largest:g}, and half ends at {_MOST:g}: this model has to stay float32 or bfloat16"
            )


def _choose_attention(model: nn.Module, config: Fp16Config) -> None:
    """Sets fused or eager attention, whatever the model was loaded with."""
    parts = parts_of(model)
    if parts.names is MPNET:  # transformers has nothing but eager attention for it
        if config.attention == "sdpa":
            fuse_mpnet_attention_(parts)
        return
    choose: Callable[[str], None] | None = getattr(parts.encoder, "set_attn_implementation", None)
    if choose is None:
        if getattr(parts.encoder.config, "_attn_implementation", None) != config.attention:
            raise UnsupportedModelError(
                f"the installed transformers cannot change attention: load the model with "
                f"attn_implementation={config.attention!r}"
            )
        return
    try:
        choose(config.attention)
    except (ImportError, ValueError) as error:
        raise UnsupportedModelError(
            f"{type(parts.encoder).__name__} cannot use {config.attention} attention: {error}"
        ) from error


def _halve(model: nn.Module) -> None:
    """Makes every parameter half, tied ones once. Buffers stay: ids, and angles that half is too coarse for."""
    made: dict[int, nn.Parameter] = {}
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            if id(parameter) not in made:
                made[id(parameter)] = nn.Parameter(
                    parameter.detach().to(torch.float16, copy=True), requires_grad=False
                )
            module._parameters[name] = made[id(parameter)]
    for config in _configs(model):
        config.dtype = torch.float16


def _configs(model: nn.Module) -> Iterator[Any]:
    inner = without_own_head(model)
    for holder in (model, inner):
        config = getattr(holder, "config", None)
        if hasattr(config, "dtype"):
            yield config


def _answer_in_float32(module: nn.Module, inputs: Any, output: Any) -> Any:
    """Forward hook of the whole model: tensors it puts out become float32; tuples of layers stay half."""
    if isinstance(output, tuple):
        return tuple(map(_widened, output))
    return type(output)(**{name: _widened(value) for name, value in output.items()})


def _widened(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


def _compare(model: nn.Module, half: Any, tokenizer: Any, texts: list[Text], config: Fp16Config) -> None:
    found = compare_with_float32(model, half, tokenizer, texts)
    if config.min_cosine is not None and found.cosine_worst < config.min_cosine:
        raise GateError(
            f"in half the mean hidden state of a text has a cosine of {found.cosine_worst:.6f} with float32, below "
            f"min_cosine={config.min_cosine}: {found}"
        )
    half.fp16_agreement = found
