# SPDX-License-Identifier: MIT
"""The encoder plan: what a whole encoder computes, as plain data that names no model family.

Adapters (``fastformers.rewriting``) write plans from Hugging Face models, artefacts store them as JSON, the native
executor (``csrc/encoder``) runs them. A plan says shapes and order; a table of named tensors holds the numbers.

One layer, with x the residual stream, [tokens, hidden]::

    post-norm   h = attention_norm(x + attention(x));     x = ffn_norm(h + ffn(h))
    pre-norm    h = x + attention(attention_norm(x));     x = h + ffn(ffn_norm(h));     final_norm after the last one
    attention   q, k, v = split(qkv(x));  output(softmax(q k^T / sqrt(head_size) + relative_bias) v)
    ffn         down(activation(up(x))), or gated: a, b = split(up(x)); down(activation(a) * b)

Tensors, by name. A linear layer ``L`` is ``L.weight`` float32 [N, K], or int8 [N, K] with ``L.scale`` float32 [N] and
optionally ``L.factors`` float32 [K] (multiply the inputs); and optionally ``L.bias`` float32 [N]. A norm ``L`` is
``L.weight`` and optionally ``L.bias``, float32. Tokens are rows.

====================================== ==============================================================================
``embeddings.word``                    float32 [vocab, embedding], or int8 with ``embeddings.word.scale`` float32
                                       [vocab] (row-wise)
``embeddings.position``                float32 [positions, embedding], present when positions > 0
``embeddings.type``                    float32 [types, embedding], present when types > 0
``embeddings.norm``                    norm [embedding]; optional
``embeddings.projection``              linear [hidden, embedding]; present when embedding != hidden
``layers.I.relative_bias``             float32 [heads, 2 * max_tokens - 1], optional: the entry j - i + max_tokens - 1
                                       is added to the score of query i and key j
``layers.I.qkv``                       linear [3 * heads * head_size, hidden]: all of q, then k, then v, heads in
                                       order; absent when heads == 0
``layers.I.output``                    linear [hidden, heads * head_size]; with heads == 0 only its bias, optional
``layers.I.attention_norm``            norm [hidden]; may be absent in a pre-norm model (identity)
``layers.I.up``                        linear [intermediate, hidden], gated [2 * intermediate, hidden]: a's rows,
                                       then b's; absent when intermediate == 0
``layers.I.down``                      linear [hidden, intermediate]; with intermediate == 0 only its bias, optional
``layers.I.ffn_norm``                  norm [hidden]
``final_norm``                         norm [hidden], optional
``outputs.NAME.S.linear``              linear of step S of an output's head
``outputs.NAME.S.norm``                norm of step S of an output's head
====================================== ==============================================================================
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any, Literal, get_args

from fastformers.errors import ConfigError

__all__ = ["TOKEN_SCORES", "Activation", "EncoderPlan", "HeadStep", "LayerPlan", "OutputPlan", "Rows"]

Activation = Literal["none", "relu", "gelu", "gelu_tanh", "tanh", "silu"]
Rows = Literal["all", "first", "mean"]

#: Names of outputs with one number for each token, which transformers gives without a last dimension.
TOKEN_SCORES = frozenset({"start_logits", "end_logits"})

_COUNT_LIMIT = 1 << 24


@dataclass(frozen=True, kw_only=True)
class LayerPlan:
    """Shape of one encoder layer.

    Attributes:
        heads: attention heads, 0 or more.
        head_size: channels of a head, 1 or more.
        intermediate: width of the feed-forward network, 0 or more.
        window: a query sees keys at most this many positions away; -1 sees all.
        rope_base: base of the rotary position embedding (theta); 0 for none. Halves are rotated as transformers does:
            channel c pairs with c + head_size / 2.
    """

    heads: int
    head_size: int
    intermediate: int
    window: int = -1
    rope_base: float = 0.0


@dataclass(frozen=True, kw_only=True)
class HeadStep:
    """One step of a head: an optional linear layer, then an activation, then an optional norm.

    Attributes:
        linear: whether tensors ``outputs.NAME.S.linear.*`` exist.
        activation: applied to the linear's output.
        norm: whether tensors ``outputs.NAME.S.norm.*`` exist; applied last.
        features: columns that this step puts out.
    """

    linear: bool
    activation: Activation
    norm: bool
    features: int


@dataclass(frozen=True, kw_only=True)
class OutputPlan:
    """One thing the encoder puts out.

    Attributes:
        name: as in the transformers output class (``last_hidden_state``, ``logits``...), or ``embedding``.
        rows: ``"all"`` tokens, each sequence's ``"first"``, or the ``"mean"`` over its tokens.
        steps: what is done to those rows; empty gives the rows themselves.
        normalize: divide each row by its Euclidean length (at least 1e-12) at the end.
    """

    name: str
    rows: Rows
    steps: tuple[HeadStep, ...] = ()
    normalize: bool = False


@dataclass(frozen=True, kw_only=True)
class EncoderPlan:
    """Everything the native executor needs to know besides the tensors.

    Attributes:
        hidden: width of the residual stream.
        embedding: width of the embedding tables.
        vocab: rows of the word table; token ids must be below it.
        types: rows of the token type table; 0 when there is none.
        positions: rows of the position table; 0 when there is none.
        position_offset: row of the first token's position (RoBERTa and MPNet: padding id + 1). Where it is not 0,
            tokens of the id before it, the padding id, are not counted and have that id's row.
        max_tokens: longest sequence accepted.
        pre_norm: norm before instead of after attention and FFN.
        norm_epsilon: epsilon of every LayerNorm.
        activation: of the FFN.
        gated: FFN is ``down(activation(a) * b)``.
        layers: one entry a layer, first to last.
        outputs: what can be asked for, at least one.

    Raises:
        ConfigError: a value is of the wrong type, out of range, or contradicts another.
    """

    hidden: int
    embedding: int
    vocab: int
    types: int
    positions: int
    position_offset: int
    max_tokens: int
    pre_norm: bool
    norm_epsilon: float
    activation: Activation
    gated: bool
    layers: tuple[LayerPlan, ...]
    outputs: tuple[OutputPlan, ...]

    def __post_init__(self) -> None:
        """Checks every field."""
        for name in ("hidden", "embedding", "vocab", "max_tokens"):
            _count(self, name, 1)
        for name in ("types", "positions", "position_offset"):
            _count(self, name, 0)
        for name in ("pre_norm", "gated"):
            _check(isinstance(getattr(self, name), bool), self, name, "True or False")
        _number(self, "norm_epsilon", 0.0, 1.0)
        _choice(self, "activation", ("relu", "gelu", "gelu_tanh", "silu"))
        _check(
            self.positions == 0 or self.position_offset + self.max_tokens <= self.positions,
            self,
            "max_tokens",
            f"at most positions - position_offset = {self.positions - self.position_offset}",
        )
        _check(len(self.outputs) > 0, self, "outputs", "at least one output")
        for layer in self.layers:
            _check_layer(layer)
        for output in self.outputs:
            _check_output(output)
        names = [output.name for output in self.outputs]
        _check(len(set(names)) == len(names), self, "outputs", "outputs with different names")

    def to_dict(self) -> dict[str, Any]:
        """Returns the plan as plain JSON values."""
        values: dict[str, Any] = asdict(self)
        values["layers"] = [asdict(layer) for layer in self.layers]
        values["outputs"] = [
            {**asdict(output), "steps": [asdict(step) for step in output.steps]} for output in self.outputs
        ]
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> EncoderPlan:
        """Builds a plan from :meth:`to_dict`'s result.

        Raises:
            ConfigError: a field is missing, unknown, or refused.
        """
        plain = _fields_of(cls, values)
        plain["layers"] = tuple(LayerPlan(**_fields_of(LayerPlan, v)) for v in _list(plain, "layers"))
        plain["outputs"] = tuple(_output_from(v) for v in _list(plain, "outputs"))
        return cls(**plain)


def _output_from(values: Any) -> OutputPlan:
    plain = _fields_of(OutputPlan, values)
    plain["steps"] = tuple(HeadStep(**_fields_of(HeadStep, v)) for v in _list(plain, "steps"))
    return OutputPlan(**plain)


def _fields_of(kind: type, values: Any) -> dict[str, Any]:
    names = {f.name for f in fields(kind)}
    if not isinstance(values, Mapping):
        raise ConfigError(
            f"{kind.__name__} is {type(values).__name__}, expected an object with {sorted(names)}"
        )
    if set(values) != names:
        odd = sorted(set(map(str, values)) ^ names)
        raise ConfigError(f"{kind.__name__} has missing or unknown fields: {', '.join(odd)}")
    return dict(values)


def _list(values: dict[str, Any], name: str) -> list[Any]:
    if not isinstance(values[name], list | tuple):
        raise ConfigError(f"{name} is {type(values[name]).__name__}, expected a list")
    return list(values[name])


def _check_layer(layer: LayerPlan) -> None:
    _count(layer, "heads", 0)
    _count(layer, "head_size", 1)
    _count(layer, "intermediate", 0)
    _count(layer, "window", -1)
    _number(layer, "rope_base", 0.0, 1e12)
    _check(
        layer.rope_base == 0 or layer.head_size % 2 == 0, layer, "head_size", "an even number with rope_base"
    )


def _check_output(output: OutputPlan) -> None:
    named = isinstance(output.name, str) and output.name.isidentifier()
    _check(named, output, "name", "an identifier")
    _choice(output, "rows", get_args(Rows))
    _check(isinstance(output.normalize, bool), output, "normalize", "True or False")
    for step in output.steps:
        _check(isinstance(step.linear, bool), step, "linear", "True or False")
        _check(isinstance(step.norm, bool), step, "norm", "True or False")
        _choice(step, "activation", get_args(Activation))
        _count(step, "features", 1)


def _check(holds: bool, plan: object, name: str, allowed: str) -> None:
    if not holds:
        raise ConfigError(f"{type(plan).__name__}.{name} is {getattr(plan, name)!r}; allowed: {allowed}")


def _choice(plan: object, name: str, choices: tuple[str, ...]) -> None:
    value = getattr(plan, name)
    _check(isinstance(value, str) and value in choices, plan, name, ", ".join(map(repr, choices)))


def _count(plan: object, name: str, least: int) -> None:
    value = getattr(plan, name)
    is_count = isinstance(value, int) and not isinstance(value, bool)
    allowed = f"a whole number from {least} to {_COUNT_LIMIT}"
    _check(is_count and least <= value <= _COUNT_LIMIT, plan, name, allowed)


def _number(plan: object, name: str, least: float, most: float) -> None:
    value = getattr(plan, name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    holds = is_number and isfinite(value) and least <= value <= most
    _check(holds, plan, name, f"a number from {least:g} to {most:g}")
