# SPDX-License-Identifier: MIT
"""What a user can choose, as frozen dataclasses that refuse wrong values at once.

One config per technique. Every field is checked when the object is made, so that nothing downstream has to;
the error names the field, the value and what is allowed. No torch is imported here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from math import isfinite
from typing import Any, ClassVar, Literal, TypeGuard, TypeVar, get_args

from fastformers.errors import ConfigError

__all__ = [
    "ActivationRange",
    "AttentionKind",
    "AttentionMode",
    "CompileConfig",
    "Device",
    "DistillConfig",
    "Fp16Attention",
    "Fp16Config",
    "HiddenDistance",
    "Int8Config",
    "Int8EmbeddingConfig",
    "Pooling",
    "Precision",
    "PruneConfig",
    "PruneRanking",
    "PruneScores",
    "Rounding",
    "TorchConfig",
    "TorchPadding",
    "TrainConfig",
]

Rounding = Literal["nearest", "compensated"]
ActivationRange = Literal["per_token", "per_tensor"]
AttentionMode = Literal["auto", "float32", "int8"]
Pooling = Literal["mean", "first"]
HiddenDistance = Literal["mse", "cosine"]
AttentionKind = Literal["probabilities", "relations"]
PruneRanking = Literal["layer", "global"]
PruneScores = Literal["first_order", "magnitude", "activation", "random"]
Precision = Literal["auto", "float32", "bfloat16", "float16"]
Device = Literal["auto", "cpu", "cuda"]
Fp16Attention = Literal["sdpa", "eager"]
TorchPadding = Literal["buckets", "longest", "fixed"]
#: Heads of ours that a checkpoint can get instead of its class's own.
Head = Literal["cosine"]


_ConfigT = TypeVar("_ConfigT", bound="_Config")


@dataclass(frozen=True, kw_only=True)
class _Config:
    """What all configs can do: become plain JSON values, and come back from them."""

    #: Fields that hold another config.
    _configs: ClassVar[Mapping[str, type[_Config]]] = {}

    def to_dict(self) -> dict[str, Any]:
        """Returns the fields as plain JSON values, tuples as lists."""
        return {each.name: _plain(getattr(self, each.name)) for each in fields(self)}

    @classmethod
    def from_dict(cls: type[_ConfigT], values: Mapping[str, Any]) -> _ConfigT:
        """Builds a config from :meth:`to_dict`'s result; absent fields take their defaults.

        Args:
            values: field name to value.

        Raises:
            ConfigError: a key is not a field (the message names close matches), or a value is refused.
        """
        _check_names(cls, values)
        given = dict(values)
        for name, kind in cls._configs.items():
            if isinstance(given.get(name), Mapping):
                given[name] = kind.from_dict(given[name])
        return cls(**given)


@dataclass(frozen=True, kw_only=True)
class Int8Config(_Config):
    """How :func:`fastformers.quantize_` turns ``nn.Linear`` layers into INT8 ones.

    Attributes:
        equalize: move outlier input channels from the activations into the weights, from calibration texts.
            Free at run time; it raises the fidelity of every model measured.
        rounding: ``"nearest"``, or ``"compensated"``: each weight's rounding error is made up for by the weights
            not yet rounded (GPTQ-style, from the same texts). Slower to convert, free at run time.
        activation: ``"per_token"`` gives each row its own range, so a text's result cannot depend on its batch
            mates. ``"per_tensor"`` (one range for the whole batch) is for comparison with published results.
        exclude: names of modules, or :mod:`fnmatch` patterns, that stay float; a module's name covers everything
            inside it. An entry that matches no module is an error.
        include_head: quantize the pooler and the classifier too. By default they stay float: they are small, and
            their rounding errors go straight into the answer.
        max_disagreement: the largest share (0 to 1) of answers that may differ from the float32 model's on the
            texts given, see :class:`fastformers.quantization.Agreement`. Missed: the originals are put back and
            :class:`fastformers.errors.GateError` is raised. ``None`` reports and never raises.
        min_speedup: a layer whose INT8 version is not this many times faster here stays float.
        never_slower: measure each distinct layer shape before swapping it; ``False`` swaps without looking.
        threads: threads both sides use while layers are timed; ``None`` measures the process as it is set up.
        batch_size: texts per forward pass during calibration, at most; passes hold a few hundred tokens anyway.
        max_length: tokens after which a calibration text is cut.
        max_texts: calibrate and compare on at most this many of the texts given, evenly spread over them.

    Raises:
        ConfigError: a value is of the wrong type or out of range.

    Example:
        >>> Int8Config(rounding="compensated", exclude=("encoder.layer.0.*",)).rounding
        'compensated'
    """

    equalize: bool = True
    rounding: Rounding = "nearest"
    activation: ActivationRange = "per_token"
    exclude: tuple[str, ...] = ()
    include_head: bool = False
    max_disagreement: float | None = None
    min_speedup: float = 1.05
    never_slower: bool = True
    threads: int | None = None
    batch_size: int = 8
    max_length: int = 256
    max_texts: int = 128

    def __post_init__(self) -> None:
        """Checks every field; ``exclude`` may be given as any list or tuple of names."""
        for name in ("equalize", "include_head", "never_slower"):
            _require(isinstance(getattr(self, name), bool), self, name, "True or False")
        _require_choice(self, "rounding", Rounding)
        _require_choice(self, "activation", ActivationRange)
        object.__setattr__(self, "exclude", _names(self))
        if self.max_disagreement is not None:
            _require_number(self, "max_disagreement", 0.0, 1.0)
        _require_number(self, "min_speedup", 0.0, 1000.0)
        if self.threads is not None:
            _require_count(self, "threads", 1024)
        _require_count(self, "batch_size", 65536)
        _require_count(self, "max_length", 1 << 20, least=2)
        _require_count(self, "max_texts", 1 << 20, least=8)


@dataclass(frozen=True, kw_only=True)
class Int8EmbeddingConfig(_Config):
    """Which embedding tables :func:`fastformers.quantize_embeddings_` puts into 8 bits.

    Attributes:
        min_rows: a table with fewer rows stays float: there is little to save.
        exclude: names of tables, or :mod:`fnmatch` patterns, that stay float. An entry that matches no table is an
            error.

    Raises:
        ConfigError: a value is of the wrong type or out of range.

    Example:
        >>> Int8EmbeddingConfig(min_rows=100).exclude
        ()
    """

    min_rows: int = 1000
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Checks every field; ``exclude`` may be given as any list or tuple of names."""
        _require_count(self, "min_rows", 1 << 31)
        object.__setattr__(self, "exclude", _names(self))


@dataclass(frozen=True, kw_only=True)
class CompileConfig(_Config):
    """How :func:`fastformers.compile` turns a transformers model into an encoder.

    Attributes:
        int8: how the linear layers are quantized; ``None`` leaves every one float32. ``never_slower`` and
            ``min_speedup`` are not looked at: they time single torch layers, which the encoder does not run. A model
            that holds INT8 layers already is taken as it is.
        attention: products of attention: ``"float32"``, ``"int8"``, or ``"auto"``: the faster one that keeps the
            fidelity, chosen by length and head size.
        pooling: for base encoders: put out one sentence embedding, the ``"mean"`` over the tokens or the
            ``"first"`` token's row, instead of all rows.
        normalize: divide sentence embeddings by their Euclidean length.
        int8_embeddings: hold word embeddings as int8 with one scale for each row: a quarter of the memory.
        threads: threads of a call; ``None`` for :func:`fastformers.kernels.num_threads`.

    Raises:
        ConfigError: a value is of the wrong type or out of range, or ``normalize`` without ``pooling``.

    Example:
        >>> CompileConfig(pooling="mean", normalize=True).attention
        'auto'
    """

    _configs: ClassVar[Mapping[str, type[_Config]]] = {"int8": Int8Config}

    int8: Int8Config | None = field(default_factory=Int8Config)
    attention: AttentionMode = "auto"
    pooling: Pooling | None = None
    normalize: bool = False
    int8_embeddings: bool = False
    threads: int | None = None

    def __post_init__(self) -> None:
        """Checks every field."""
        is_config = self.int8 is None or isinstance(self.int8, Int8Config)
        _require(is_config, self, "int8", "an Int8Config, or None for float32 layers")
        per_token = self.int8 is None or self.int8.activation == "per_token"
        _require(per_token, self, "int8", 'activation="per_token": results may not depend on the batch')
        _require_choice(self, "attention", AttentionMode)
        _require_choice(self, "pooling", Pooling, None)
        for name in ("normalize", "int8_embeddings"):
            _require(isinstance(getattr(self, name), bool), self, name, "True or False")
        pooled = self.pooling is not None or not self.normalize
        _require(pooled, self, "normalize", "True only with pooling: it is for sentence embeddings")
        if self.threads is not None:
            _require_count(self, "threads", 1024)


@dataclass(frozen=True, kw_only=True)
class PruneConfig(_Config):
    """What :func:`fastformers.prune_` keeps of a model's attention heads and feed-forward neurons, and how it chooses.

    Attributes:
        heads: heads to keep in each layer: a count (a whole number), or a share of those there (a number between 0
            and 1). ``None`` keeps all.
        ffn: neurons to keep in each layer, likewise.
        ranking: ``"layer"`` keeps as many in each layer (the paper). ``"global"`` ranks all layers together: ``heads``
            and ``ffn`` are then averages over the layers.
        macs: with global ranking, instead of ``heads`` and ``ffn``: share (between 0 and 1) of the multiplications of
            the encoder's linear layers that may remain; heads and neurons then compete by score for each of them.
        scores: what a unit is worth. ``"first_order"``: the gradient of the loss with respect to a mask on it, per
            example (needs labels). ``"activation"``: what it adds to the residual stream (needs texts).
            ``"magnitude"``: its weights. ``"random"``: nothing, for comparison.
        min_heads: heads that every layer keeps.
        min_ffn: neurons that every layer keeps.
        ffn_multiple: neurons kept in a layer are a multiple of this.
        max_examples: score on at most this many examples: drawn at random from encoded ones, the first of batches.
        seed: of that draw, and of random scores.

    Raises:
        ConfigError: a value is of the wrong type or out of range, or contradicts another one, or nothing reads it.

    Example:
        >>> PruneConfig(heads=8, ffn=0.5).ranking
        'layer'
    """

    heads: int | float | None = None
    ffn: int | float | None = None
    ranking: PruneRanking = "layer"
    macs: float | None = None
    scores: PruneScores = "first_order"
    min_heads: int = 1
    min_ffn: int = 8
    ffn_multiple: int = 1
    max_examples: int = 2048
    seed: int = 42

    def __post_init__(self) -> None:
        """Checks every field."""
        _require_choice(self, "ranking", PruneRanking)
        _require_choice(self, "scores", PruneScores)
        for name in ("min_heads", "min_ffn", "ffn_multiple"):
            _require_count(self, name, 1 << 16)
        _require_count(self, "max_examples", 1 << 30)
        _require_count(self, "seed", 1 << 32, least=0)
        for name, least in (("heads", "min_heads"), ("ffn", "min_ffn")):
            _require_kept(self, name, least)
        whole = not isinstance(self.ffn, int) or self.ffn % self.ffn_multiple == 0
        _require(whole, self, "ffn", f"a multiple of ffn_multiple={self.ffn_multiple}, or a share")
        if self.macs is not None:
            _require(_is_share(self.macs), self, "macs", "a number between 0 and 1")
            _require(self.ranking == "global", self, "macs", 'a budget only with ranking="global"')
            alone = self.heads is None and self.ffn is None
            _require(alone, self, "macs", "a budget only instead of heads and ffn")
        _require_use(self, _BUDGETS_THAT_READ, "")

    @property
    def prunes(self) -> bool:
        """Whether anything at all is asked for."""
        return not (self.heads is None and self.ffn is None and self.macs is None)


@dataclass(frozen=True, kw_only=True)
class TrainConfig(_Config):
    """How :func:`fastformers.train` and :func:`fastformers.distill` train: AdamW, warm-up, linear decay to zero.

    A step is one update of the weights, from ``batch_size * accumulation`` examples.

    Attributes:
        epochs: passes over the training set; fractions are allowed.
        max_steps: stop after so many steps instead, which also sets the decay.
        learning_rate: at its highest, after the warm-up.
        batch_size: examples that go through the model together.
        accumulation: batches of a step; each example weighs the same, as if all were one batch.
        weight_decay: of matrices; biases and norms have none.
        warmup: share of all steps (0 to 1) over which the learning rate rises from 0.
        max_grad_norm: the gradient of all parameters is shortened to this Euclidean length; 0 leaves it alone.
        seed: of dropout and the order of examples.
        evaluate_every: steps from one evaluation to the next; ``None``: after each epoch. The last step always has one.
        patience: stop after so many evaluations in a row without a better score; ``None`` never stops.
        fixed_length: pad every batch to this many tokens, the paper's baseline; ``None`` pads to the batch's longest.
        precision: of the model's products while it trains; the weights stay float32, and evaluation is in float32.
            ``"auto"``: bfloat16 on a GPU, float32 on a CPU. A CPU with AVX512_BF16 or AMX may be told ``"bfloat16"``: a
            step of MPNet 12 x 768 then takes 0.59 of its time, of MiniLM 6 x 384 0.69 (Zen 4, 16 x 96 tokens).
        device: ``"auto"``: a GPU where there is one.
        eval_batch_size: examples of a batch in evaluation.

    Raises:
        ConfigError: a value is of the wrong type or out of range.

    Example:
        >>> TrainConfig(epochs=10, learning_rate=3e-5, patience=3).batch_size
        16
    """

    epochs: float = 3.0
    max_steps: int | None = None
    learning_rate: float = 2e-5
    batch_size: int = 16
    accumulation: int = 1
    weight_decay: float = 0.01
    warmup: float = 0.06
    max_grad_norm: float = 1.0
    seed: int = 42
    evaluate_every: int | None = None
    patience: int | None = None
    fixed_length: int | None = None
    precision: Precision = "auto"
    device: Device = "auto"
    eval_batch_size: int = 32

    def __post_init__(self) -> None:
        """Checks every field."""
        for name, least, most in (
            ("epochs", 1e-6, 1e6),
            ("learning_rate", 1e-12, 1.0),
            ("weight_decay", 0.0, 1.0),
            ("warmup", 0.0, 1.0),
            ("max_grad_norm", 0.0, 1e6),
        ):
            _require_number(self, name, least, most)
        for name in ("batch_size", "accumulation", "eval_batch_size"):
            _require_count(self, name, 1 << 16)
        _require_count(self, "seed", (1 << 32) - 1, least=0)
        for name in ("max_steps", "evaluate_every", "patience", "fixed_length"):
            if getattr(self, name) is not None:
                _require_count(self, name, 1 << 30)
        _require_choice(self, "precision", Precision)
        _require_choice(self, "device", Device)


@dataclass(frozen=True, kw_only=True)
class DistillConfig(_Config):
    """What :func:`fastformers.distill` makes a student learn from its teacher.

    By default the teacher's logits alone, as in the paper. The other losses, each off at weight 0, look at tokens:
    teacher and student must cut texts into the same ones.

    Attributes:
        temperature: by which the logits are divided before the softmax; 1 is the paper's.
        hard_labels: share of the labels' own loss, 0 to 1; the teacher's logits get the rest.
        embeddings: weight of the distance of the embeddings' output.
        hidden_states: weight of the distance of the layers' outputs, the mean over ``layer_map``. ModernBERT's last one
            is taken after its final norm: pair last layers with each other only.
        hidden_distance: ``"mse"``, or ``"cosine"``: one less the cosine. Where the widths differ a linear layer from
            the student's to the teacher's is learned along, and thrown away after.
        attention: weight of the distance of attention, the mean over ``layer_map``.
        attention_kind: ``"relations"`` of queries, of keys and of values to each other (MiniLMv2), for any widths and
            numbers of heads, or ``"probabilities"``, for equal numbers of heads. Relations of all layers can take
            longer than the rest of a step; MiniLMv2 compares one layer, which ``layer_map`` can name.
        layer_map: pairs (student layer, teacher layer), from 0; ``"auto"`` spreads the student's layers evenly over the
            teacher's, the last to the last.
        train: how the student is trained.

    Raises:
        ConfigError: a value is of the wrong type or out of range, or says how to measure a loss that is off.

    Example:
        >>> DistillConfig(temperature=2.0, hard_labels=0.3).looks_at_tokens
        False
    """

    _configs: ClassVar[Mapping[str, type[_Config]]] = {"train": TrainConfig}

    temperature: float = 1.0
    hard_labels: float = 0.0
    embeddings: float = 0.0
    hidden_states: float = 0.0
    hidden_distance: HiddenDistance = "mse"
    attention: float = 0.0
    attention_kind: AttentionKind = "relations"
    layer_map: Literal["auto"] | tuple[tuple[int, int], ...] = "auto"
    train: TrainConfig = field(default_factory=TrainConfig)

    def __post_init__(self) -> None:
        """Checks every field; ``layer_map`` may be given as any list or tuple of pairs."""
        _require_number(self, "temperature", 0.01, 1000.0)
        _require_number(self, "hard_labels", 0.0, 1.0)
        for name in ("embeddings", "hidden_states", "attention"):
            _require_number(self, name, 0.0, 1e6)
        _require_choice(self, "hidden_distance", HiddenDistance)
        _require_choice(self, "attention_kind", AttentionKind)
        object.__setattr__(self, "layer_map", _layer_map(self))
        _require(isinstance(self.train, TrainConfig), self, "train", "a TrainConfig")
        _require_use(self, _LOSSES_THAT_READ, " a weight above 0")

    @property
    def looks_at_tokens(self) -> bool:
        """Whether any loss compares what is inside the models, token by token."""
        return bool(self.embeddings or self.hidden_states or self.attention)


@dataclass(frozen=True, kw_only=True)
class Fp16Config(_Config):
    """How :func:`fastformers.to_fp16` makes a model run in half.

    Attributes:
        attention: ``"sdpa"``: torch's fused attention, which keeps scores and softmax in float32 and never writes them
            down. ``"eager"``: transformers' own, for comparison; its scores are rounded to half.
        align: fill heads and feed-forward widths that are no multiple of 8 up with zeros, as the matrix units of GPUs
            want them; the answers stay the same. Matters for pruned models and for heads of 26 channels.
        min_cosine: the smallest cosine, -1 to 1, between a text's mean hidden state in half and in float32; checked
            on texts, where some are given. Missed: :class:`fastformers.errors.GateError`. ``None`` only reports.

    Raises:
        ConfigError: a value is of the wrong type or out of range.

    Example:
        >>> Fp16Config(min_cosine=0.9999).attention
        'sdpa'
    """

    attention: Fp16Attention = "sdpa"
    align: bool = True
    min_cosine: float | None = 0.999

    def __post_init__(self) -> None:
        """Checks every field."""
        _require_choice(self, "attention", Fp16Attention)
        _require(isinstance(self.align, bool), self, "align", "True or False")
        if self.min_cosine is not None:
            _require_number(self, "min_cosine", -1.0, 1.0)


@dataclass(frozen=True, kw_only=True)
class TorchConfig(_Config):
    """How :class:`fastformers.TorchModel` cuts texts into batches and runs them.

    Attributes:
        batch_size: texts of a batch; 256 was best on the paper's GPU.
        max_length: tokens after which a text is cut; ``None``: what tokenizer and model take.
        padding: ``"buckets"``: batches of texts of similar length, each padded to its longest; where lengths fall fast
            a batch has fewer texts, down to an eighth. ``"longest"``: in the order given, padded to the batch's longest
            (the paper's "dynamic length"). ``"fixed"``: in the order given, padded to ``max_length`` (its baseline).
        length_step: lengths of batches are multiples of this, so that there are few shapes.
        compile: run the model through ``torch.compile``; the first batches then take long.
        cuda_graphs: record each shape of batch once and replay it, which saves the launch of every single kernel;
            take a ``length_step`` of 32 or more with it, for each shape holds memory. Needs a model on a GPU.

    Raises:
        ConfigError: a value is of the wrong type or out of range, or ``compile`` and ``cuda_graphs`` together.

    Example:
        >>> TorchConfig(padding="longest").batch_size
        256
    """

    batch_size: int = 256
    max_length: int | None = None
    padding: TorchPadding = "buckets"
    length_step: int = 8
    compile: bool = False
    cuda_graphs: bool = False

    def __post_init__(self) -> None:
        """Checks every field."""
        _require_count(self, "batch_size", 1 << 20)
        _require_count(self, "length_step", 1 << 20)
        if self.max_length is not None:
            _require_count(self, "max_length", 1 << 20, least=2)
        _require_choice(self, "padding", TorchPadding)
        for name in ("compile", "cuda_graphs"):
            _require(isinstance(getattr(self, name), bool), self, name, "True or False")
        one = not (self.compile and self.cuda_graphs)
        _require(one, self, "cuda_graphs", "True only without compile")


def _plain(value: Any) -> Any:
    if isinstance(value, _Config):
        return value.to_dict()
    return [_plain(each) for each in value] if isinstance(value, tuple) else value


def _check_names(cls: type[Any], values: Mapping[str, Any]) -> None:
    known = [field.name for field in fields(cls)]
    for key in values:
        if key not in known:
            close = get_close_matches(str(key), known, n=3)
            hint = f"did you mean {_one_of(close)}?" if close else f"known fields: {', '.join(known)}"
            raise ConfigError(f"{cls.__name__} has no field {key!r}; {hint}")


def _require(holds: bool, config: object, name: str, allowed: str) -> None:
    if not holds:
        raise ConfigError(f"{type(config).__name__}.{name} is {getattr(config, name)!r}; allowed: {allowed}")


def _require_choice(config: object, name: str, literal: Any, *others: None) -> None:
    """Requires one of a ``Literal``'s values, or of the others."""
    choices = (*others, *get_args(literal))
    _require(getattr(config, name) in choices, config, name, _one_of(choices))


def _require_number(config: object, name: str, least: float, most: float) -> None:
    value = getattr(config, name)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    holds = is_number and isfinite(value) and least <= value <= most
    _require(holds, config, name, f"a number from {least:g} to {most:g}")


def _require_count(config: object, name: str, most: int, least: int = 1) -> None:
    value = getattr(config, name)
    is_count = isinstance(value, int) and not isinstance(value, bool)
    _require(is_count and least <= value <= most, config, name, f"a whole number from {least} to {most}")


def _is_share(value: object) -> bool:
    return isinstance(value, float) and 0.0 < value < 1.0


def _require_kept(config: PruneConfig, name: str, least_name: str) -> None:
    value, least = getattr(config, name), getattr(config, least_name)
    is_count = isinstance(value, int) and not isinstance(value, bool) and least <= value <= 1 << 16
    allowed = f"a whole number from {least_name}={least}, or a share to keep between 0 and 1, or None for all"
    _require(value is None or is_count or _is_share(value), config, name, allowed)


def _names(config: Int8Config | Int8EmbeddingConfig) -> tuple[str, ...]:
    value: object = config.exclude
    allowed = "a list or tuple of module names or patterns, none of them empty"
    _require(isinstance(value, list | tuple), config, "exclude", allowed)
    names = tuple(config.exclude)
    _require(all(isinstance(name, str) and name for name in names), config, "exclude", allowed)
    return names


#: Choice of :class:`PruneConfig` -> the fields that read it.
_BUDGETS_THAT_READ: Mapping[str, tuple[str, ...]] = {
    "ranking": ("heads", "ffn", "macs"),
    "ffn_multiple": ("ffn", "macs"),
}

#: Choice of :class:`DistillConfig` -> the losses that read it.
_LOSSES_THAT_READ: Mapping[str, tuple[str, ...]] = {
    "layer_map": ("hidden_states", "attention"),
    "hidden_distance": ("embeddings", "hidden_states"),
    "attention_kind": ("attention",),
}


def _require_use(
    config: PruneConfig | DistillConfig, read_by: Mapping[str, tuple[str, ...]], what: str
) -> None:
    """A choice that nothing reads would be ignored without a word.

    Raises:
        ConfigError: such a choice is not its default.
    """
    for name, readers in read_by.items():
        default = next(one.default for one in fields(config) if one.name == name)
        if getattr(config, name) != default and not any(getattr(config, reader) for reader in readers):
            raise ConfigError(
                f"{type(config).__name__}.{name} is {getattr(config, name)!r}, and nothing reads it: give "
                f"{' or '.join(readers)}{what}, or leave {name} out"
            )


def _layer_map(config: DistillConfig) -> Literal["auto"] | tuple[tuple[int, int], ...]:
    value: object = config.layer_map
    allowed = "'auto', or pairs of whole numbers (student layer, teacher layer), from 0"
    if value == "auto":
        return "auto"
    pairs = [tuple(pair) for pair in value if isinstance(pair, list | tuple)] if _is_list(value) else []
    whole = all(
        isinstance(one, int) and not isinstance(one, bool) and one >= 0 for pair in pairs for one in pair
    )
    holds = (
        bool(pairs)
        and len(pairs) == len(config.layer_map)
        and whole
        and all(len(pair) == 2 for pair in pairs)
    )
    _require(holds, config, "layer_map", allowed)
    return tuple((first, second) for first, second in pairs)


def _is_list(value: object) -> TypeGuard[list[object] | tuple[object, ...]]:
    return isinstance(value, list | tuple)


def _one_of(choices: Sequence[str | None]) -> str:
    return ", ".join(repr(choice) for choice in choices)
