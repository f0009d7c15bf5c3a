# SPDX-License-Identifier: MIT
"""Writes the plan of a transformers model and the table of its tensors, by the names of the family's adapter.

Shapes are read off the weights, never off the configuration: a pruned layer is an ordinary one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from torch import nn

from fastformers.encoder_plan import Activation, EncoderPlan, HeadStep, LayerPlan, OutputPlan, Rows
from fastformers.errors import ConfigError, ShapeError
from fastformers.kernels import quantize_embedding_rows
from fastformers.modules.activations import activation_name
from fastformers.modules.own_heads import OWN_HEADS, OwnHead
from fastformers.modules.pair_classifier import PairClassifier
from fastformers.modules.rowwise_embedding import RowwiseEmbedding
from fastformers.pair_head import PairHead
from fastformers.rewriting.checks import attribute, check_classes, check_model, child, unsupported
from fastformers.rewriting.families import FAMILIES, family_of
from fastformers.rewriting.family import Family, Head, Step
from fastformers.rewriting.linears import Linear, Tensors, array_of, read_linear, stacked
from fastformers.rewriting.outputs import EMBEDDING_RESULT
from fastformers.span_head import SpanHead
from fastformers.text_head import TextHead

__all__ = ["EMBEDDING", "Translation", "check_supported", "translate"]

#: Name of the output, and of the output class, of an encoder that puts out sentence embeddings.
EMBEDDING = "embedding"
_OWN_RESULT = "SequenceClassifierOutput"
_ROWS_OF_OPTION: dict[str, Rows] = {"cls": "first", "mean": "mean"}
_FFN_ACTIVATIONS = ("relu", "gelu", "gelu_tanh", "silu")


@dataclass(frozen=True)
class Translation:
    """A model as plain data.

    Attributes:
        plan: what is computed.
        tensors: by the names of :mod:`fastformers.encoder_plan`. Float32 ones share the model's memory where they can.
        result: name of the output class.
        notes: what the caller should know besides.
        text_head: of a span or pair classifier, whose plan puts out the rows of its encoder.
    """

    plan: EncoderPlan
    tensors: Tensors
    result: str
    notes: tuple[str, ...] = ()
    text_head: TextHead | None = None


def check_supported(model: nn.Module, pooling: Literal["mean", "first"] | None = None) -> None:
    """Checks all that can be known without reading a tensor.

    Args:
        model: a transformers model.
        pooling: as for :func:`translate`.

    Raises:
        UnsupportedModelError: names what is not covered.
        ConfigError: pooling for a model with a head.
    """
    _parts(model, pooling)


def translate(
    model: nn.Module,
    *,
    pooling: Literal["mean", "first"] | None = None,
    normalize: bool = False,
    int8_embeddings: bool = False,
) -> Translation:
    """Translates a transformers model, with or without INT8 layers; the model is only read.

    Args:
        model: in evaluation mode, on the CPU, float32 but for its :class:`fastformers.PackedLinear` layers.
        pooling: put out one row for each sequence instead of the encoder's own outputs.
        normalize: divide those by their Euclidean length.
        int8_embeddings: round word embeddings to int8, row by row.

    Returns:
        Plan, tensors and the output class.

    Raises:
        UnsupportedModelError: names what is not covered.
        ConfigError: pooling for a model with a head.
        ShapeError: weights that do not fit each other.
        DeviceError, DtypeError, NonFiniteError: names the tensor.

    Example:
        >>> translate(BertModel(BertConfig()).eval()).plan.hidden
        768
    """
    family, encoder, head = _parts(model, pooling)
    found = _Translator(model, encoder, family).run(head, pooling, normalize, int8_embeddings)
    if not isinstance(model, OwnHead):
        return found
    return replace(found, result=_OWN_RESULT, text_head=_text_head(model, found.plan.hidden))


def _parts(
    model: nn.Module, pooling: Literal["mean", "first"] | None
) -> tuple[Family, nn.Module, Head | None]:
    """The family, the encoder inside the model, and its head, unless that is one of ours."""
    if isinstance(model, OwnHead):
        if pooling is not None:
            raise ConfigError(
                f"pooling={pooling!r} is for base encoders; a {type(model).__name__} has a head: leave it out"
            )
        kind = next(each for each in OWN_HEADS.values() if isinstance(model, each))
        check_classes(model, kind.__module__, {"": kind.__name__})
        model = model.encoder
    if model.training:
        raise unsupported("the model is in training mode: call model.eval() first")
    family = family_of(model)
    if family is None:
        known = ", ".join(each.names.name for each in FAMILIES)
        hint = ": pass its transformers model, model[0].auto_model" if _is_sentence_transformer(model) else ""
        raise unsupported(f"{type(model).__name__} is of no family that can be compiled ({known}){hint}")
    names = {kind.__name__ for kind in type(model).__mro__ if kind.__module__ == family.names.package}
    head = next((head for name, head in family.heads.items() if name in names), None)
    if head is None and family.names.model not in names:
        covered = ", ".join((family.names.model, *family.heads))
        raise unsupported(f"the head of {type(model).__name__} is not covered; these are: {covered}")
    if head is not None and pooling is not None:
        raise ConfigError(
            f"pooling={pooling!r} is for base encoders; {type(model).__name__} has a head: leave it out, or compile "
            f"model.{family.names.base}"
        )
    encoder: nn.Module = model if head is None else child(model, family.names.base)
    check_model(model, encoder, family, head)
    return family, encoder, head


def _text_head(model: OwnHead, hidden: int) -> TextHead:
    linear = read_linear(model.classifier, "classifier")
    if linear.scale is not None or linear.activation != "none":
        raise unsupported(f"the classifier of a {type(model).__name__} is INT8: it stays float32")
    bias = np.zeros(linear.rows, np.float32) if linear.bias is None else linear.bias
    config = model.config
    if isinstance(model, PairClassifier):
        _expect("classifier", linear.depth, 1)
        ids = int(config.pair_separator_token_id), int(config.pair_first_token_id)
        return PairHead(*ids, linear.weight, bias)
    num_spans = int(config.num_spans)
    _expect("classifier", linear.depth, num_spans * hidden)
    return SpanHead(num_spans, config.span_fill, linear.weight, bias)


def _is_sentence_transformer(model: nn.Module) -> bool:
    return any(kind.__module__.startswith("sentence_transformers") for kind in type(model).__mro__)


class _Translator:
    """Reads one model; gathers tensors, notes and the epsilons of the norms on the way."""

    def __init__(self, model: nn.Module, encoder: nn.Module, family: Family) -> None:
        self._model = model
        self._encoder = encoder
        self._family = family
        self._tensors: Tensors = {}
        self._notes: list[str] = []
        self._epsilons: set[float] = set()
        self._activations: set[Activation] = set()

    def run(
        self,
        head: Head | None,
        pooling: Literal["mean", "first"] | None,
        normalize: bool,
        int8_embeddings: bool,
    ) -> Translation:
        """Translates; called once."""
        self._note_options()
        sizes = self._embeddings(int8_embeddings)
        layers = child(self._encoder, self._family.names.layers, nn.ModuleList)
        plans = tuple(self._layer(number, layer, sizes["hidden"]) for number, layer in enumerate(layers))
        self._relative_biases(plans, sizes["max_tokens"])
        if self._family.final_norm is not None:
            self._norm(self._encoder, self._family.final_norm, "final_norm", sizes["hidden"], optional=True)
        outputs, result = self._outputs(head, pooling, normalize, sizes["hidden"])
        plan = EncoderPlan(
            **sizes,
            pre_norm=self._family.pre_norm,
            norm_epsilon=_only("norms with different epsilons", self._epsilons, 1e-12),
            activation=_only("layers with different activations", self._activations, "gelu"),
            gated=self._family.names.gated,
            layers=plans,
            outputs=outputs,
        )
        return Translation(plan, self._tensors, result, tuple(self._notes))

    def _note_options(self) -> None:
        config: Any = self._encoder.config
        for option in ("output_hidden_states", "output_attentions"):
            if getattr(config, option, False):
                self._notes.append(
                    f"{option}=True of the configuration has no effect: what it asks for is None"
                )
        if getattr(config, "return_dict", True) is False:
            self._notes.append("return_dict=False of the configuration has no effect: pass it to each call")

    def _embeddings(self, int8: bool) -> dict[str, int]:
        """Writes the tables; returns the sizes of the plan they decide."""
        names = self._family.names.embeddings
        word = self._table(names.word)
        if int8:
            rounded, scales = quantize_embedding_rows(word, names.word)
            self._tensors["embeddings.word"], self._tensors["embeddings.word.scale"] = rounded, scales
        else:
            self._tensors["embeddings.word"] = word
        width = word.shape[1]
        rows = {"position": 0, "type": 0}
        for kind in rows:
            path = getattr(names, kind)
            if path is not None:
                table = self._table(path)
                _expect(path, table.shape[1], width)
                self._tensors[f"embeddings.{kind}"] = table
                rows[kind] = table.shape[0]
        self._norm(self._encoder, names.norm, "embeddings.norm", width, optional=True)
        first = self._family.first_position(self._encoder)
        config: Any = self._encoder.config
        return {
            "hidden": self._projection(width),
            "embedding": width,
            "vocab": word.shape[0],
            "types": rows["type"],
            "positions": rows["position"],
            "position_offset": first,
            "max_tokens": rows["position"] - first if rows["position"] else config.max_position_embeddings,
        }

    def _projection(self, width: int) -> int:
        path = self._family.names.embeddings.projection
        if path is None or attribute(self._encoder, path) is None:
            return width
        linear = self._linear(self._encoder, path)
        _expect(path, linear.depth, width)
        if linear.rows == width:
            raise unsupported(
                f"{path} keeps the width {width}: only a projection to another width is covered"
            )
        linear.write(self._tensors, "embeddings.projection")
        return linear.rows

    def _layer(self, number: int, layer: nn.Module, hidden: int) -> LayerPlan:
        names, name = self._family.names.block, f"layers.{number}"
        heads, head_size = self._attention(layer, name, hidden)
        for path, target in ((names.attention_norm, "attention_norm"), (names.ffn_norm, "ffn_norm")):
            optional = self._family.pre_norm and target == "attention_norm"
            self._norm(layer, path, f"{name}.{target}", hidden, optional=optional)
        reach = self._family.reach(self._encoder, layer)
        return LayerPlan(
            heads=heads,
            head_size=head_size,
            intermediate=self._ffn(layer, name, hidden),
            window=reach.window,
            rope_base=reach.rope_base,
        )

    def _attention(self, layer: nn.Module, name: str, hidden: int) -> tuple[int, int]:
        """Writes qkv and output; returns heads and head size."""
        names = self._family.names.block
        head_size = self._head_size(layer, name)
        parts = [self._linear(layer, path) for path in names.qkv]
        output = self._linear(layer, names.output)
        channels = parts[0].rows // 3 if len(parts) == 1 else parts[0].rows
        for path, part in zip(names.qkv, parts, strict=True):
            _expect(f"{name}.{path}", part.rows, 3 * channels if len(parts) == 1 else channels)
            _expect(f"{name}.{path}", part.depth, hidden)
        _expect(f"{name}.{names.output}", output.depth, channels)
        _expect(f"{name}.{names.output}", output.rows, hidden)
        if channels % head_size:
            raise ShapeError(
                f"{name}.{names.qkv[0]} puts out {channels} channels, not a multiple of {head_size}"
            )
        if channels:
            qkv, made_float = stacked(parts)
            qkv.write(self._tensors, f"{name}.qkv")
            if made_float:
                self._notes.append(
                    f"{name}: query, key and value are not all INT8 with the same factors: float32"
                )
        self._write_or_bias(output, f"{name}.output")
        return channels // head_size, head_size

    def _head_size(self, layer: nn.Module, name: str) -> int:
        attention = child(layer, self._family.names.block.attention)
        size = getattr(attention, self._family.names.block.head_size)
        scaling = getattr(attention, "scaling", size**-0.5)
        if abs(scaling * size**0.5 - 1) > 1e-6:
            raise unsupported(f"{name} scales attention scores by {scaling}, not by 1 / sqrt({size})")
        if getattr(attention, "is_causal", False):
            raise unsupported(f"{name} has causal attention")
        return int(size)

    def _ffn(self, layer: nn.Module, name: str, hidden: int) -> int:
        """Writes up and down; returns the width between them."""
        names = self._family.names.block
        up, down = self._linear(layer, names.up, fused=True), self._linear(layer, names.down)
        _expect(f"{name}.{names.up}", up.depth, hidden)
        _expect(f"{name}.{names.up}", up.rows, down.depth * (2 if self._family.names.gated else 1))
        _expect(f"{name}.{names.down}", down.rows, hidden)
        self._write_or_bias(down, f"{name}.down")
        if down.depth == 0:
            return 0
        up.write(self._tensors, f"{name}.up")
        place = f"{name}.{names.activation}"
        activation = _combined(up.activation, attribute(layer, names.activation), place)
        if activation not in _FFN_ACTIVATIONS:
            raise unsupported(f"{place} is {activation!r}; these are covered: {', '.join(_FFN_ACTIVATIONS)}")
        self._activations.add(activation)
        return down.depth

    def _write_or_bias(self, linear: Linear, name: str) -> None:
        """Writes a layer; one that reads nothing only adds its bias."""
        if linear.depth:
            linear.write(self._tensors, name)
        elif linear.bias is not None:
            self._tensors[f"{name}.bias"] = linear.bias

    def _relative_biases(self, layers: tuple[LayerPlan, ...], max_tokens: int) -> None:
        if self._family.relative_bias is None:
            return
        bias = array_of(self._family.relative_bias(self._encoder, max_tokens), "relative position bias")
        for number, layer in enumerate(layers):
            if layer.heads not in (0, bias.shape[0]):
                raise unsupported(
                    f"layers.{number} has {layer.heads} heads and the relative position biases, shared by all layers, "
                    f"are for {bias.shape[0]}"
                )
            if layer.heads:
                self._tensors[f"layers.{number}.relative_bias"] = bias

    def _outputs(
        self, head: Head | None, pooling: Rows | None, normalize: bool, hidden: int
    ) -> tuple[tuple[OutputPlan, ...], str]:
        if head is not None:
            return self._head_outputs(head, hidden), head.result
        if pooling is not None:
            return (OutputPlan(name=EMBEDDING, rows=pooling, normalize=normalize),), EMBEDDING_RESULT
        outputs = [OutputPlan(name="last_hidden_state", rows="all")]
        pooler = self._family.pooler
        if pooler is not None and attribute(self._encoder, pooler.linear) is not None:
            step = self._step(self._encoder, pooler, "outputs.pooler_output.0", hidden)
            outputs.append(OutputPlan(name="pooler_output", rows="first", steps=(step,)))
        return tuple(outputs), self._family.result

    def _head_outputs(self, head: Head, hidden: int) -> tuple[OutputPlan, ...]:
        rows = head.rows
        if head.pooling_option is not None:
            option = getattr(self._model.config, head.pooling_option)
            if option not in _ROWS_OF_OPTION:
                raise unsupported(f"{head.pooling_option} {option!r} is not covered")
            rows = _ROWS_OF_OPTION[option]
        outputs = []
        for place, name in enumerate(head.outputs):
            width = hidden
            steps = []
            for number, step in enumerate(head.steps):
                last = number == len(head.steps) - 1
                columns = (place, len(head.outputs)) if last and len(head.outputs) > 1 else None
                made = self._step(self._model, step, f"outputs.{name}.{number}", width, columns)
                width = made.features
                steps.append(made)
            outputs.append(OutputPlan(name=name, rows=rows, steps=tuple(steps)))
        return tuple(outputs)

    def _step(
        self, root: nn.Module, step: Step, name: str, width: int, column: tuple[int, int] | None = None
    ) -> HeadStep:
        """Writes a head's step; of a linear with one row for each output, the row ``column[0]`` of ``column[1]``."""
        linear = self._linear(root, step.linear, fused=True)
        _expect(step.linear, linear.depth, width)
        if column is not None:
            _expect(step.linear, linear.rows, column[1])
            linear = linear.part(column[0], 1)
        linear.write(self._tensors, f"{name}.linear")
        following = step.activation
        if step.activation_module is not None:
            following = _combined(
                linear.activation, attribute(root, step.activation_module), step.activation_module
            )
        elif linear.activation != "none":
            raise unsupported(
                f"{step.linear} has an activation of its own, which {type(root).__name__} has not"
            )
        if step.norm is not None:
            self._norm(root, step.norm, f"{name}.norm", linear.rows)
        return HeadStep(linear=True, activation=following, norm=step.norm is not None, features=linear.rows)

    def _linear(self, root: nn.Module, path: str, *, fused: bool = False) -> Linear:
        linear = read_linear(child(root, path), path)
        if linear.activation != "none" and not fused:
            raise unsupported(f"{path} has an activation of its own, {linear.activation!r}")
        return linear

    def _table(self, path: str) -> Any:
        embedding = child(self._encoder, path)
        if type(embedding) is RowwiseEmbedding:
            return array_of(embedding.weight, f"{path}.weight")
        embedding = child(self._encoder, path, nn.Embedding)
        if embedding.max_norm is not None:
            raise unsupported(f"{path} renormalises its rows (max_norm)")
        return array_of(embedding.weight, f"{path}.weight")

    def _norm(self, root: nn.Module, path: str, name: str, width: int, *, optional: bool = False) -> None:
        found = child(root, path)
        if optional and type(found) is nn.Identity:
            return
        norm = child(root, path, nn.LayerNorm)
        if norm.weight is None:
            raise unsupported(f"{path} has no weight")
        _expect(path, norm.weight.shape[0], width)
        self._epsilons.add(float(norm.eps))
        self._tensors[f"{name}.weight"] = array_of(norm.weight, f"{path}.weight")
        if norm.bias is not None:
            self._tensors[f"{name}.bias"] = array_of(norm.bias, f"{path}.bias")


def _combined(fused: Activation, module: object, place: str) -> Activation:
    """What a layer's own activation and the one that follows it come to."""
    following = activation_name(module)
    if following is None:
        raise unsupported(f"{place} is {type(module).__name__}, an activation that is not covered")
    if fused != "none" and following != "none":
        raise unsupported(f"{place} follows a layer that has an activation of its own, {fused!r}")
    return fused if following == "none" else following


def _only(problem: str, values: set[Any], default: Any) -> Any:
    """The one value there is."""
    if len(values) > 1:
        raise unsupported(f"{problem} ({', '.join(map(str, sorted(values)))}) are not covered")
    return next(iter(values), default)


def _expect(name: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise ShapeError(
            f"{name} has {found} where its neighbours have {wanted}: the layers do not fit each other"
        )
