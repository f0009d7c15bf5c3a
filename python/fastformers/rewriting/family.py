# SPDX-License-Identifier: MIT
"""What an adapter says of a model family beside the names of its parts: heads, positions, order of norms.

Almost all of it is data. The few things a family computes (windows, relative positions) are functions in its adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn

from fastformers.encoder_plan import Activation, Rows
from fastformers.modules.encoder_names import EncoderNames

__all__ = ["Family", "Head", "Reach", "Step"]


class Reach(NamedTuple):
    """How far a layer's attention sees and how it knows positions; fields of the plan's layers."""

    window: int = -1
    rope_base: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step of a head: linear, activation, norm; paths below the whole model.

    Attributes:
        linear: path of the linear.
        activation: what ``forward`` applies to its output, where that is written in the code.
        activation_module: path of what it applies, where that is a module.
        norm: path of a norm after that.
    """

    linear: str
    activation: Activation = "none"
    activation_module: str | None = None
    norm: str | None = None


@dataclass(frozen=True, kw_only=True)
class Head:
    """What a class of model does with the encoder's rows.

    Attributes:
        outputs: fields of the result; with more than one, the last linear has one row for each.
        rows: which rows of the encoder it reads.
        steps: what it does to them.
        result: name of the output class in ``transformers.modeling_outputs``.
        classes: path of a module -> name of its class.
        pooling_option: attribute of the model's configuration that chooses the rows, ``"cls"`` or ``"mean"``.
    """

    outputs: tuple[str, ...]
    rows: Rows
    steps: tuple[Step, ...]
    result: str
    classes: Mapping[str, str] = field(default_factory=dict)
    pooling_option: str | None = None


def _from_zero(_: nn.Module) -> int:
    return 0


def _sees_all(_: nn.Module, __: nn.Module) -> Reach:
    return Reach()


@dataclass(frozen=True, kw_only=True)
class Family:
    """One model family.

    Attributes:
        names: where the parts of its encoders are.
        result: name of the encoder's output class in ``transformers.modeling_outputs``.
        classes: path of a module below the encoder -> name of its class; absent modules are not looked at.
        heads: name of a model class -> what its head does.
        pooler: the encoder's own pooler, below the encoder; a model may lack it.
        final_norm: norm after the last layer.
        pre_norm: norms come before attention and FFN.
        first_position: row of the first token in the position table, from the encoder.
        reach: what a layer's attention sees, from encoder and layer.
        relative_bias: float32 [heads, 2 * max_tokens - 1] that is added to the scores of every layer, from encoder
            and max_tokens; entry j - i + max_tokens - 1 belongs to query i and key j.
    """

    names: EncoderNames
    result: str
    classes: Mapping[str, str]
    heads: Mapping[str, Head]
    pooler: Step | None = None
    final_norm: str | None = None
    pre_norm: bool = False
    first_position: Callable[[nn.Module], int] = _from_zero
    reach: Callable[[nn.Module, nn.Module], Reach] = _sees_all
    relative_bias: Callable[[nn.Module, int], Tensor] | None = None
