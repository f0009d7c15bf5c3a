# SPDX-License-Identifier: MIT
"""What an adapter says of a model family: where the parts of an encoder are among the attributes of its modules.

Almost all of it is names. The few things a family computes (windows, relative positions) are functions in its adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from torch import Tensor, nn

from fastformers.encoder_plan import Activation, Rows

__all__ = ["BlockNames", "EmbeddingNames", "Family", "Head", "Reach", "Step"]


class Reach(NamedTuple):
    """How far a layer's attention sees and how it knows positions; fields of the plan's layers."""

    window: int = -1
    rope_base: float = 0.0


@dataclass(frozen=True, kw_only=True)
class EmbeddingNames:
    """Paths below the base model.

    Attributes:
        word: table of words.
        position: table of positions.
        type: table of token types.
        norm: norm after their sum.
        projection: linear after the norm; a model may lack it.
    """

    word: str
    norm: str
    position: str | None = None
    type: str | None = None
    projection: str | None = None


@dataclass(frozen=True, kw_only=True)
class BlockNames:
    """Paths below one layer.

    Attributes:
        classes: path of a module -> name of its class, whose ``forward`` the plan stands for.
        attention: the module that knows the head size.
        head_size: its attribute.
        qkv: the linears of query, key and value, or the one that is all three.
        output: linear after attention.
        attention_norm: norm of attention.
        up: first linear of the feed-forward network.
        activation: between the two.
        down: second linear.
        ffn_norm: norm of the feed-forward network.
    """

    classes: Mapping[str, str]
    attention: str
    head_size: str
    qkv: tuple[str, ...]
    output: str
    attention_norm: str
    up: str
    activation: str
    down: str
    ffn_norm: str


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
        name: for people.
        package: module of transformers that holds its classes.
        base: attribute of models with heads that is the encoder.
        model: name of the encoder's class.
        result: name of the encoder's output class in ``transformers.modeling_outputs``.
        classes: path of a module below the encoder -> name of its class; absent modules are not looked at.
        embeddings: where the tables are.
        layers: path of the list of layers.
        block: where the parts of a layer are.
        heads: name of a model class -> what its head does.
        pooler: the encoder's own pooler, below the encoder; a model may lack it.
        final_norm: norm after the last layer.
        pre_norm: norms come before attention and FFN.
        gated: FFN is gated.
        first_position: row of the first token in the position table, from the encoder.
        reach: what a layer's attention sees, from encoder and layer.
        relative_bias: float32 [heads, 2 * max_tokens - 1] that is added to the scores of every layer, from encoder
            and max_tokens; entry j - i + max_tokens - 1 belongs to query i and key j.
    """

    name: str
    package: str
    base: str
    model: str
    result: str
    classes: Mapping[str, str]
    embeddings: EmbeddingNames
    layers: str
    block: BlockNames
    heads: Mapping[str, Head]
    pooler: Step | None = None
    final_norm: str | None = None
    pre_norm: bool = False
    gated: bool = False
    first_position: Callable[[nn.Module], int] = _from_zero
    reach: Callable[[nn.Module, nn.Module], Reach] = _sees_all
    relative_bias: Callable[[nn.Module, int], Tensor] | None = None
