# SPDX-License-Identifier: MIT
"""Where the parts of an encoder are among the attributes of transformers' modules: one table for all that reads them.

Compiling, pruning, students cut from a teacher and artefacts of pruned models look the same names up here. Only exact
classes of transformers count, or classes derived from them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, NamedTuple

from torch import nn

from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.modules.own_heads import without_own_head

__all__ = [
    "BERT",
    "CAMEMBERT",
    "DISTILBERT",
    "ELECTRA",
    "ENCODERS",
    "MODERNBERT",
    "MPNET",
    "ROBERTA",
    "XLM_ROBERTA",
    "BlockNames",
    "EmbeddingNames",
    "EncoderNames",
    "EncoderParts",
    "check_layers",
    "keep_layers_",
    "names_of",
    "parts_of",
    "positions_of",
]


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
        classes: path of a module -> name of its class, whose ``forward`` is known.
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
class EncoderNames:
    """One model family.

    Attributes:
        name: for people.
        package: module of transformers that holds its classes.
        base: attribute of models with heads that is the encoder.
        model: name of the encoder's class.
        embeddings: where the tables are.
        layers: path of the list of layers, below the encoder.
        block: where the parts of a layer are.
        gated: the first linear of the FFN puts out the values that are activated, then as many gates.
        shared_heads: something outside the layers has an entry for each head, the same for every layer.
    """

    name: str
    package: str
    base: str
    model: str
    embeddings: EmbeddingNames
    layers: str
    block: BlockNames
    gated: bool = False
    shared_heads: bool = False


def _bert_block(prefix: str) -> BlockNames:
    """A layer arranged as BERT's, with another prefix of the class names."""
    return BlockNames(
        classes={
            "": f"{prefix}Layer",
            "attention": f"{prefix}Attention",
            "attention.self": f"{prefix}SelfAttention",
            "attention.output": f"{prefix}SelfOutput",
            "intermediate": f"{prefix}Intermediate",
            "output": f"{prefix}Output",
        },
        attention="attention.self",
        head_size="attention_head_size",
        qkv=("attention.self.query", "attention.self.key", "attention.self.value"),
        output="attention.output.dense",
        attention_norm="attention.output.LayerNorm",
        up="intermediate.dense",
        activation="intermediate.intermediate_act_fn",
        down="output.dense",
        ffn_norm="output.LayerNorm",
    )


_BERT_EMBEDDINGS = EmbeddingNames(
    word="embeddings.word_embeddings",
    position="embeddings.position_embeddings",
    type="embeddings.token_type_embeddings",
    norm="embeddings.LayerNorm",
)
_WITHOUT_TYPES = replace(_BERT_EMBEDDINGS, type=None)


def _like_bert(name: str, package: str, prefix: str, base: str) -> EncoderNames:
    return EncoderNames(
        name=name,
        package=f"transformers.models.{package}.modeling_{package}",
        base=base,
        model=f"{prefix}Model",
        embeddings=_BERT_EMBEDDINGS,
        layers="encoder.layer",
        block=_bert_block(prefix),
    )


BERT = _like_bert("BERT", "bert", "Bert", "bert")
ROBERTA = _like_bert("RoBERTa", "roberta", "Roberta", "roberta")
XLM_ROBERTA = _like_bert("XLM-RoBERTa", "xlm_roberta", "XLMRoberta", "roberta")
CAMEMBERT = _like_bert("CamemBERT", "camembert", "Camembert", "roberta")
ELECTRA = replace(
    _like_bert("ELECTRA", "electra", "Electra", "electra"),
    embeddings=replace(_BERT_EMBEDDINGS, projection="embeddings_project"),
)
DISTILBERT = EncoderNames(
    name="DistilBERT",
    package="transformers.models.distilbert.modeling_distilbert",
    base="distilbert",
    model="DistilBertModel",
    embeddings=_WITHOUT_TYPES,
    layers="transformer.layer",
    block=BlockNames(
        classes={"": "TransformerBlock", "attention": "DistilBertSelfAttention", "ffn": "FFN"},
        attention="attention",
        head_size="attention_head_size",
        qkv=("attention.q_lin", "attention.k_lin", "attention.v_lin"),
        output="attention.out_lin",
        attention_norm="sa_layer_norm",
        up="ffn.lin1",
        activation="ffn.activation",
        down="ffn.lin2",
        ffn_norm="output_layer_norm",
    ),
)
MPNET = EncoderNames(
    name="MPNet",
    package="transformers.models.mpnet.modeling_mpnet",
    base="mpnet",
    model="MPNetModel",
    embeddings=_WITHOUT_TYPES,
    layers="encoder.layer",
    block=BlockNames(
        classes={
            "": "MPNetLayer",
            "attention": "MPNetAttention",
            "attention.attn": "MPNetSelfAttention",
            "intermediate": "MPNetIntermediate",
            "output": "MPNetOutput",
        },
        attention="attention.attn",
        head_size="attention_head_size",
        qkv=("attention.attn.q", "attention.attn.k", "attention.attn.v"),
        output="attention.attn.o",
        attention_norm="attention.LayerNorm",
        up="intermediate.dense",
        activation="intermediate.intermediate_act_fn",
        down="output.dense",
        ffn_norm="output.LayerNorm",
    ),
    shared_heads=True,
)
MODERNBERT = EncoderNames(
    name="ModernBERT",
    package="transformers.models.modernbert.modeling_modernbert",
    base="model",
    model="ModernBertModel",
    embeddings=EmbeddingNames(word="embeddings.tok_embeddings", norm="embeddings.norm"),
    layers="layers",
    block=BlockNames(
        classes={"": "ModernBertEncoderLayer", "attn": "ModernBertAttention", "mlp": "ModernBertMLP"},
        attention="attn",
        head_size="head_dim",
        qkv=("attn.Wqkv",),
        output="attn.Wo",
        attention_norm="attn_norm",
        up="mlp.Wi",
        activation="mlp.act",
        down="mlp.Wo",
        ffn_norm="mlp_norm",
    ),
    gated=True,
)

ENCODERS: tuple[EncoderNames, ...] = (
    BERT,
    ROBERTA,
    XLM_ROBERTA,
    CAMEMBERT,
    DISTILBERT,
    ELECTRA,
    MPNET,
    MODERNBERT,
)


class EncoderParts(NamedTuple):
    """The encoder inside a model.

    Attributes:
        names: where its parts are.
        encoder: the base model.
        layers: its layers.
    """

    names: EncoderNames
    encoder: Any
    layers: nn.ModuleList

    @property
    def positions(self) -> int | None:
        """Tokens of the longest text that the table of positions has rows for; ``None`` without such a table."""
        path = self.names.embeddings.position
        if path is None:
            return None
        table: Any = self.encoder.get_submodule(path)
        first = 0 if table.padding_idx is None else table.padding_idx + 1  # RoBERTa's kind counts from there
        return int(table.num_embeddings) - first


def names_of(model: nn.Module) -> EncoderNames | None:
    """The family whose package the model's class, or a class it was derived from, is in."""
    packages = {kind.__module__ for kind in type(model).__mro__}
    return next((names for names in ENCODERS if names.package in packages), None)


def parts_of(model: nn.Module) -> EncoderParts:
    """Finds the encoder inside a model of transformers, bare or with any head, or inside one of our heads.

    Args:
        model: the model; it is only read.

    Raises:
        UnsupportedModelError: it is of no family known, names those that are; or it is only a part of a model.

    Example:
        >>> parts_of(BertForSequenceClassification(BertConfig())).names.name
        'BERT'
    """
    outer = without_own_head(model)
    names = names_of(outer)
    if names is None:
        known = ", ".join(each.name for each in ENCODERS)
        raise UnsupportedModelError(f"{type(outer).__name__} is of no family known here: {known}")
    is_base = any(kind.__name__ == names.model for kind in type(outer).__mro__)
    encoder = outer if is_base else getattr(outer, names.base, None)
    if encoder is None:
        raise UnsupportedModelError(
            f"{type(outer).__name__} is a part of a {names.name} model: give the whole {names.model} or one with a head"
        )
    layers: Any = encoder.get_submodule(names.layers)
    return EncoderParts(names, encoder, layers)


def positions_of(model: nn.Module) -> int | None:
    """Tokens of the longest text that a model takes; ``None`` where positions are no table, or the family unknown."""
    try:
        return parts_of(model).positions
    except UnsupportedModelError:
        return None


def check_layers(parts: EncoderParts, keep: Iterable[int]) -> tuple[int, ...]:
    """Checks that an encoder can be left with some of its layers.

    Args:
        parts: the encoder.
        keep: places of the layers, from 0; whole numbers of numpy are fine too.

    Returns:
        The places.

    Raises:
        ConfigError: there is none, one does not exist or occurs twice, or they are not ascending.
        UnsupportedModelError: a later layer cannot stand where the first one stands.
    """
    count = len(parts.layers)
    given = list(keep) if isinstance(keep, Iterable) else keep
    places = [int(place) for place in given if _is_whole(place)] if isinstance(given, list) else []
    fits = bool(places) and places == given == sorted(set(places))
    if not fits or places[0] < 0 or places[-1] >= count:
        raise ConfigError(
            f"layers to keep are {given}: name one or more layers from 0 to {count - 1}, each once, in ascending order"
        )
    path = parts.names.block.attention_norm
    first, new_first = (type(parts.layers[place].get_submodule(path)) for place in (0, places[0]))
    if first is not new_first:
        raise UnsupportedModelError(
            f"the first layer of {parts.names.name} has no norm before its attention and layer {places[0]} has one: "
            "keep layer 0"
        )
    return tuple(places)


def _is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def keep_layers_(parts: EncoderParts, kept: Sequence[int]) -> None:
    """Leaves an encoder with some of its layers; its config, which is changed too, counts them.

    Args:
        parts: the encoder.
        kept: places of the layers that pass :func:`check_layers`.
    """
    layers = nn.ModuleList(parts.layers[number] for number in kept)
    parts.encoder.set_submodule(parts.names.layers, layers)
    config = parts.encoder.config
    types = getattr(config, "layer_types", None)
    config.num_hidden_layers = len(layers)
    if types is not None:
        config.layer_types = [types[number] for number in kept]
        _forget_rotations_(parts.encoder, set(config.layer_types))
    module: Any
    for number, layer in enumerate(layers):
        for module in layer.modules():
            if isinstance(getattr(module, "layer_idx", None), int):
                module.layer_idx = number


def _forget_rotations_(encoder: Any, types: set[str]) -> None:
    """Removes the angles of kinds of attention that no layer has: a model of the new config has no place for them."""
    rotary: Any = getattr(encoder, "rotary_emb", None)
    for kind in set(getattr(rotary, "layer_types", ())) - types:
        for name in ("inv_freq", "original_inv_freq", "attention_scaling"):
            if hasattr(rotary, f"{kind}_{name}"):  # a kind may have no rotation at all
                delattr(rotary, f"{kind}_{name}")
        rotary.layer_types.remove(kind)
        rotary.rope_type.pop(kind, None)
