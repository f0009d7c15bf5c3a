# SPDX-License-Identifier: MIT
"""Fused attention for MPNet, which transformers only computes step by step.

Its relative position bias goes into ``scaled_dot_product_attention`` as the mask. Padding is written into that mask
instead of being added: in half, a bias below -16 added to the most negative number would be minus infinity.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from fastformers.errors import UnsupportedModelError
from fastformers.modules.encoder_names import EncoderParts

__all__ = ["FusedMPNetAttention", "fuse_mpnet_attention_"]


class FusedMPNetAttention(nn.Module):
    """Stands in for transformers' ``MPNetSelfAttention``; takes its linears over.

    Args:
        attention: the module to stand in for.
    """

    def __init__(self, attention: Any) -> None:
        super().__init__()
        self.num_attention_heads = int(attention.num_attention_heads)
        self.attention_head_size = int(attention.attention_head_size)
        self.all_head_size = int(attention.all_head_size)
        self.q, self.k, self.v, self.o = attention.q, attention.k, attention.v, attention.o

    def forward(
        self,
        hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        position_bias: Tensor | None = None,
        output_attentions: bool = False,
        **options: Any,
    ) -> tuple[Tensor]:
        """Returns the attended rows, shape [batch, tokens, hidden], in a tuple as the original does.

        Args:
            hidden_states: shape [batch, tokens, hidden].
            attention_mask: broadcasts to [batch, heads, tokens, tokens]: True for what is attended to, or numbers to
                be added that are 0 there and negative elsewhere.
            position_bias: shape [batch, heads, tokens, tokens].
            output_attentions: refused; probabilities are never written down.
            options: none is read.

        Raises:
            UnsupportedModelError: probabilities are asked for.
        """
        if output_attentions:
            raise UnsupportedModelError(
                'fused attention has no probabilities to put out: use Fp16Config(attention="eager")'
            )
        shape = (*hidden_states.shape[:-1], -1, self.attention_head_size)
        query, key, value = (
            part(hidden_states).view(shape).transpose(1, 2) for part in (self.q, self.k, self.v)
        )
        mask = _additive(attention_mask, position_bias)
        attended = nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        rows: Tensor = self.o(attended.transpose(1, 2).flatten(2))
        return (rows,)


def _additive(attention_mask: Tensor | None, bias: Tensor | None) -> Tensor | None:
    """One mask of both; a key that is not attended to gets the most negative number, whatever its bias."""
    if bias is None or attention_mask is None:
        return attention_mask if bias is None else bias
    attended = attention_mask if attention_mask.dtype == torch.bool else attention_mask >= 0
    return torch.where(attended, bias, torch.finfo(bias.dtype).min)


def fuse_mpnet_attention_(parts: EncoderParts) -> None:
    """Puts fused attention into every layer of an MPNet encoder.

    Args:
        parts: of MPNet.
    """
    path = parts.names.block.attention
    for layer in parts.layers:
        layer.set_submodule(path, FusedMPNetAttention(layer.get_submodule(path)))
