# SPDX-License-Identifier: MIT
"""The tensors that a plan implies: names, shapes, dtypes and values, as rules that a table of arrays is held against.

``fastformers.encoder_plan`` describes the names in words; this is the same as data, so that a file can be checked
before anything is allocated, and its size told before it is written.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Literal, TypeAlias

import numpy as np

from fastformers.encoder_plan import EncoderPlan, LayerPlan, OutputPlan
from fastformers.errors import ConfigError, DtypeError, NonFiniteError, ShapeError

__all__ = ["Layout", "TensorRule", "Values", "check_layout", "check_values", "expected_tensors"]

Values = Literal["any", "scale", "factor"]
#: dtype and shape of each tensor.
Layout: TypeAlias = Mapping[str, tuple[str, tuple[int, ...]]]

_FLOAT = ("float32",)
_FLOAT_OR_INT8 = ("float32", "int8")
_QKV = 3


@dataclass(frozen=True, kw_only=True)
class TensorRule:
    """What one tensor must be.

    Attributes:
        shape: its only shape.
        dtypes: names of the dtypes allowed.
        optional: may be absent.
        beside: name of the tensor without which this one must be absent; ``None`` for no such tensor.
        beside_int8: the tensor ``beside`` must also be int8.
        values: ``"any"`` finite number (int8: from -127), ``"scale"`` from 0 up, ``"factor"`` above 0.
    """

    shape: tuple[int, ...]
    dtypes: tuple[str, ...] = _FLOAT
    optional: bool = False
    beside: str | None = None
    beside_int8: bool = False
    values: Values = "any"

    def nbytes(self, dtype: str | None = None) -> int:
        """Bytes of the tensor, with the first of its dtypes unless told another."""
        return prod(self.shape) * np.dtype(dtype or self.dtypes[0]).itemsize


def expected_tensors(plan: EncoderPlan) -> dict[str, TensorRule]:
    """Returns the rule of every tensor that may or must accompany a plan, by name.

    Raises:
        ConfigError: the steps of an output's head do not fit together.

    Example:
        >>> expected_tensors(plan)["layers.0.qkv.weight"].dtypes
        ('float32', 'int8')
    """
    rules = dict(_embeddings(plan))
    for index, layer in enumerate(plan.layers):
        rules.update(_layer(plan, layer, f"layers.{index}"))
    rules.update(_norm("final_norm", plan.hidden, optional=True))
    for output in plan.outputs:
        rules.update(_output(plan, output))
    return rules


def check_layout(rules: Mapping[str, TensorRule], found: Layout) -> None:
    """Checks names, dtypes and shapes.

    Args:
        rules: from :func:`expected_tensors`.
        found: name -> (dtype, shape) of the tensors at hand; only looked at, no array is needed.

    Raises:
        ConfigError: a tensor is missing or one too many.
        DtypeError: a dtype is not allowed.
        ShapeError: a shape is another one.
    """
    unknown = found.keys() - rules.keys()
    if unknown:
        raise ConfigError(f"tensor {min(unknown)!r} has no place in the plan")
    for name, rule in rules.items():
        allowed = _is_allowed(rule, found)
        if name not in found:
            if allowed and not rule.optional:
                raise ConfigError(
                    f"tensor {name} is missing; the plan needs it with shape {list(rule.shape)}"
                )
            continue
        if not allowed:
            kind = "int8 " if rule.beside_int8 else ""
            raise ConfigError(f"tensor {name} is there without the {kind}tensor {rule.beside} it belongs to")
        dtype, shape = found[name]
        if dtype not in rule.dtypes:
            raise DtypeError(f"tensor {name} is {dtype}, must be {' or '.join(rule.dtypes)}")
        if shape != rule.shape:
            raise ShapeError(f"tensor {name} has shape {list(shape)}, the plan needs {list(rule.shape)}")


def check_values(name: str, rule: TensorRule, array: np.ndarray[Any, Any]) -> None:
    """Checks the numbers of one tensor of the right dtype and shape (``rule.shape``); reads it twice, copies nothing.

    Raises:
        NonFiniteError: NaN or infinity.
        ShapeError: -128 among int8 weights, a negative scale, or a factor that is not positive.
    """
    if array.size == 0:
        return
    least, most = array.min(), array.max()
    if array.dtype == np.int8:
        if least < -127:
            raise ShapeError(f"tensor {name} holds -128; int8 weights are from -127 to 127")
    elif not (np.isfinite(least) and np.isfinite(most)):
        raise NonFiniteError(f"tensor {name} holds NaN or infinity; all its values must be finite")
    elif rule.values == "scale" and least < 0:
        raise ShapeError(f"tensor {name} holds {least}; scales are 0 or positive")
    elif rule.values == "factor" and least <= 0:
        raise ShapeError(f"tensor {name} holds {least}; factors are positive")


def _is_allowed(rule: TensorRule, found: Layout) -> bool:
    if rule.beside is None:
        return True
    return rule.beside in found and (not rule.beside_int8 or found[rule.beside][0] == "int8")


def _embeddings(plan: EncoderPlan) -> Iterator[tuple[str, TensorRule]]:
    width = plan.embedding
    yield "embeddings.word", TensorRule(shape=(plan.vocab, width), dtypes=_FLOAT_OR_INT8)
    yield "embeddings.word.scale", _scale("embeddings.word", plan.vocab)
    for name, rows in (("position", plan.positions), ("type", plan.types)):
        if rows > 0:
            yield f"embeddings.{name}", TensorRule(shape=(rows, width))
    yield from _norm("embeddings.norm", width, optional=True)
    if width != plan.hidden:
        yield from _linear("embeddings.projection", plan.hidden, width)


def _layer(plan: EncoderPlan, layer: LayerPlan, name: str) -> Iterator[tuple[str, TensorRule]]:
    width = layer.heads * layer.head_size
    if width > 0:
        bias = (layer.heads, 2 * plan.max_tokens - 1)
        yield f"{name}.relative_bias", TensorRule(shape=bias, optional=True)
        yield from _linear(f"{name}.qkv", _QKV * width, plan.hidden)
    yield from _linear_or_bias(f"{name}.output", plan.hidden, width)
    yield from _norm(f"{name}.attention_norm", plan.hidden, optional=plan.pre_norm)
    if layer.intermediate > 0:
        yield from _linear(f"{name}.up", layer.intermediate * (2 if plan.gated else 1), plan.hidden)
    yield from _linear_or_bias(f"{name}.down", plan.hidden, layer.intermediate)
    yield from _norm(f"{name}.ffn_norm", plan.hidden)


def _output(plan: EncoderPlan, output: OutputPlan) -> Iterator[tuple[str, TensorRule]]:
    width = plan.hidden
    for index, step in enumerate(output.steps):
        name = f"outputs.{output.name}.{index}"
        if step.linear:
            yield from _linear(f"{name}.linear", step.features, width)
        elif step.features != width:
            raise ConfigError(
                f"step {index} of output {output.name} has {step.features} features and no linear layer, but gets "
                f"{width}"
            )
        width = step.features
        if step.norm:
            yield from _norm(f"{name}.norm", width)


def _linear(name: str, columns: int, depth: int) -> Iterator[tuple[str, TensorRule]]:
    weight = f"{name}.weight"
    yield weight, TensorRule(shape=(columns, depth), dtypes=_FLOAT_OR_INT8)
    yield f"{name}.scale", _scale(weight, columns)
    factors = TensorRule(shape=(depth,), optional=True, beside=weight, beside_int8=True, values="factor")
    yield f"{name}.factors", factors
    yield f"{name}.bias", TensorRule(shape=(columns,), optional=True, beside=weight)


def _linear_or_bias(name: str, columns: int, depth: int) -> Iterator[tuple[str, TensorRule]]:
    """A layer of which only the bias is left when it has no inputs."""
    if depth > 0:
        yield from _linear(name, columns, depth)
    else:
        yield f"{name}.bias", TensorRule(shape=(columns,), optional=True)


def _scale(weight: str, columns: int) -> TensorRule:
    return TensorRule(shape=(columns,), beside=weight, beside_int8=True, values="scale")


def _norm(name: str, width: int, *, optional: bool = False) -> Iterator[tuple[str, TensorRule]]:
    yield f"{name}.weight", TensorRule(shape=(width,), optional=optional)
    yield f"{name}.bias", TensorRule(shape=(width,), optional=True, beside=f"{name}.weight")
