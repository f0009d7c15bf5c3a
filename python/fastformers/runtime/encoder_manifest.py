# SPDX-License-Identifier: MIT
"""``fastformers.json`` of a compiled encoder: the plan, how texts become tokens, and the files with their digests.

Nothing in it is trusted: types, ranges and names are checked, other versions are refused, and no file is opened by a
name that is not a bare one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

from fastformers.config import AttentionMode
from fastformers.encoder_plan import EncoderPlan
from fastformers.errors import ConfigError, FormatError
from fastformers.files.fields import (
    ENCODER_FORMAT,
    MANIFEST,
    TORCH_FORMAT,
    digest_field,
    field_of,
    file_name,
    short,
    size_field,
)
from fastformers.pair_head import PairHead
from fastformers.runtime.expected_tensors import TensorRule, expected_tensors
from fastformers.span_head import SPAN_FILLS, SpanFill, SpanHead
from fastformers.text_head import TextHead

__all__ = [
    "FORMAT_VERSION",
    "EncoderManifest",
    "FileEntry",
    "PairHeadEntry",
    "SpanHeadEntry",
    "TextHeadEntry",
    "Tokenization",
    "check_attention",
]

FORMAT_VERSION = 1

_ATTENTIONS: tuple[str, ...] = get_args(AttentionMode)

_MOST_LAYERS = 1_024
_MOST_OUTPUTS = 64
_MOST_STEPS = 16
_MOST_ANGLES = 1 << 24
_MOST_FILES = 64
_MOST_TEXTS = 1 << 16
_MOST_GOLDEN_TOKENS = 4_096
_MOST_SOURCE_FACTS = 64
_MOST_SPANS = 64
_MOST_LABELS = 1 << 16


@dataclass(frozen=True)
class FileEntry:
    """What was noted of a file when it was written.

    Attributes:
        bytes: its size.
        sha256: of its content.
        checksum: see :func:`fastformers.files.digests.checksum_of`.
    """

    bytes: int
    sha256: str
    checksum: str


@dataclass(frozen=True)
class Tokenization:
    """What a tokenizer's settings say beyond ``tokenizer.json``.

    Attributes:
        max_length: longest input in tokens, special ones included; longer texts are cut.
        truncation_side: the side that is cut.
        token_types: the model is told which text of a pair a token is of.
        split_special_tokens: what looks like a special token in a text, ``[SEP]``, is text.
    """

    max_length: int
    truncation_side: Literal["left", "right"]
    token_types: bool
    split_special_tokens: bool = False


@dataclass(frozen=True)
class SpanHeadEntry:
    """The head of a span classifier without its weights.

    Attributes:
        num_spans: spans of a text.
        labels: width of the logits.
        fill: what tokens outside a span count as.
    """

    num_spans: int
    labels: int
    fill: SpanFill

    def taken_from(self, tensors: dict[str, Any]) -> SpanHead:
        """Takes the head's tensors out of those of the file."""
        return SpanHead.taken_from(tensors, self.num_spans, self.fill)

    def rules(self, hidden: int) -> dict[str, TensorRule]:
        """Returns the rules of its tensors, beside those of :func:`expected_tensors`."""
        shapes = SpanHead.shapes(self.num_spans, self.labels, hidden)
        return {name: TensorRule(shape=shape) for name, shape in shapes.items()}


@dataclass(frozen=True)
class PairHeadEntry:
    """The head of a pair classifier without its weights.

    Attributes:
        labels: width of the logits.
        separator_id: the token that ends each text.
        first_id: the special token before the first text.
    """

    labels: int
    separator_id: int
    first_id: int

    def taken_from(self, tensors: dict[str, Any]) -> PairHead:
        """Takes the head's tensors out of those of the file."""
        return PairHead.taken_from(tensors, self.separator_id, self.first_id)

    def rules(self, hidden: int) -> dict[str, TensorRule]:
        """Returns the rules of its tensors, beside those of :func:`expected_tensors`; no one depends on ``hidden``."""
        return {name: TensorRule(shape=shape) for name, shape in PairHead.shapes(self.labels).items()}


TextHeadEntry: TypeAlias = SpanHeadEntry | PairHeadEntry


def head_entry(head: TextHead | None) -> TextHeadEntry | None:
    """Notes a head; ``None`` for none."""
    if head is None:
        return None
    if isinstance(head, PairHead):
        return PairHeadEntry(head.labels, head.separator_id, head.first_id)
    return SpanHeadEntry(head.num_spans, head.labels, head.fill)


@dataclass(frozen=True, kw_only=True)
class EncoderManifest:
    """The content of ``fastformers.json``.

    Attributes:
        plan: what the encoder computes.
        attention: setting of the native executor, ``"auto"``, ``"float32"`` or ``"int8"``.
        tokenization: of the tokenizer saved beside the model; ``None`` without one.
        labels: names of a classifier's outputs, in order; ``None`` for other models.
        result: class of transformers' outputs that the torch-side encoder returns; ``None`` for none.
        notes: what its user should know.
        source: where the model came from, name -> text; for people.
        text_head: of a span or pair classifier; ``None`` for other models.
        golden_tokens: tokens of all golden sequences.
        golden_sequences: how many golden sequences there are.
        files: file name -> what was noted of it.
        written_by: package and version.
    """

    plan: EncoderPlan
    attention: str
    tokenization: Tokenization | None
    labels: tuple[str, ...] | None
    result: str | None
    notes: tuple[str, ...]
    source: dict[str, str]
    golden_tokens: int
    golden_sequences: int
    files: dict[str, FileEntry]
    written_by: str
    text_head: TextHeadEntry | None = None

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values, format name and version first."""
        return {
            "format": ENCODER_FORMAT,
            "format_version": FORMAT_VERSION,
            "written_by": self.written_by,
            "source": self.source,
            "attention": self.attention,
            "plan": self.plan.to_dict(),
            "tokenization": None if self.tokenization is None else asdict(self.tokenization),
            "labels": None if self.labels is None else list(self.labels),
            "result": self.result,
            "notes": list(self.notes),
            "span_head": asdict(self.text_head) if isinstance(self.text_head, SpanHeadEntry) else None,
            "pair_head": asdict(self.text_head) if isinstance(self.text_head, PairHeadEntry) else None,
            "golden_tokens": self.golden_tokens,
            "golden_sequences": self.golden_sequences,
            "files": {name: asdict(entry) for name, entry in self.files.items()},
        }

    @classmethod
    def parse(cls, content: Mapping[str, Any]) -> EncoderManifest:
        """Checks the content of a manifest.

        Raises:
            FormatError: another format or version, or a field is missing, of the wrong type or out of range.
        """
        _check_format(content)
        plan = _plan(field_of(content, "plan", dict))
        return cls(
            plan=plan,
            attention=_choice(content, "attention", _ATTENTIONS),
            tokenization=_tokenization(content, plan),
            labels=None if content.get("labels") is None else _texts(content, "labels"),
            result=_result(content),
            notes=_texts(content, "notes"),
            source=_source(field_of(content, "source", dict)),
            golden_tokens=_count(content, "golden_tokens", 1, _MOST_GOLDEN_TOKENS),
            golden_sequences=_count(content, "golden_sequences", 1, _MOST_GOLDEN_TOKENS),
            files=_files(field_of(content, "files", dict)),
            written_by=field_of(content, "written_by", str),
            text_head=_text_head(content, plan),
        )


def check_attention(attention: str) -> None:
    """Refuses a setting of attention's products that is none.

    Raises:
        ConfigError: names the setting, and those that are.
    """
    if attention not in _ATTENTIONS:
        raise ConfigError(f"attention is {attention!r}; allowed: {', '.join(map(repr, _ATTENTIONS))}")


def _text_head(content: Mapping[str, Any], plan: EncoderPlan) -> TextHeadEntry | None:
    if content.get("pair_head") is not None:
        if content.get("span_head") is not None:
            raise FormatError(
                "fastformers.json has a span_head and a pair_head; a model has one of them at most"
            )
        values = field_of(content, "pair_head", dict)
        ids = (_count(values, name, 0, plan.vocab - 1) for name in ("separator_id", "first_id"))
        return PairHeadEntry(_count(values, "labels", 1, _MOST_LABELS), *ids)
    if content.get("span_head") is None:
        return None
    values = field_of(content, "span_head", dict)
    return SpanHeadEntry(
        _count(values, "num_spans", 1, _MOST_SPANS),
        _count(values, "labels", 1, _MOST_LABELS),
        "zero" if _choice(values, "fill", tuple(SPAN_FILLS)) == "zero" else "-inf",
    )


def _check_format(content: Mapping[str, Any]) -> None:
    found = content.get("format")
    if found == TORCH_FORMAT:
        raise FormatError(
            "the folder holds a torch model, not a compiled encoder: compile it (fastformers compile), or load it with "
            "fastformers.load_pretrained_torch"
        )
    if found != ENCODER_FORMAT:
        raise FormatError(f"{MANIFEST} is not of a compiled encoder: format is {short(found)}")
    version = field_of(content, "format_version", int)
    if version > FORMAT_VERSION:
        raise FormatError(
            f"the artefact has format version {version}, this package reads {FORMAT_VERSION}: upgrade fastformers"
        )
    if version < 1:
        raise FormatError(f"{MANIFEST}: format_version is {version}, the first one was 1")


def _plan(values: dict[str, Any]) -> EncoderPlan:
    try:
        plan = EncoderPlan.from_dict(values)
        too_large = _excess(plan)
        if too_large is not None:
            raise ConfigError(too_large)
        expected_tensors(plan)
    except ConfigError as error:
        raise FormatError(f"{MANIFEST} holds a plan that is refused: {error}") from error
    return plan


def _excess(plan: EncoderPlan) -> str | None:
    """What in a plan costs memory without a tensor of that size in the file."""
    if len(plan.layers) > _MOST_LAYERS:
        return f"{len(plan.layers)} layers, at most {_MOST_LAYERS} are read"
    if len(plan.outputs) > _MOST_OUTPUTS or any(len(output.steps) > _MOST_STEPS for output in plan.outputs):
        return f"more than {_MOST_OUTPUTS} outputs, or one of more than {_MOST_STEPS} steps"
    rotations = {
        (layer.rope_base, layer.head_size) for layer in plan.layers if layer.heads and layer.rope_base
    }
    angles = plan.max_tokens * sum(head_size for _, head_size in rotations)
    if angles > _MOST_ANGLES:
        return f"max_tokens {plan.max_tokens} needs {angles} rotary angles, at most {_MOST_ANGLES} are made"
    return None


def _choice(content: Mapping[str, Any], key: str, choices: tuple[str, ...]) -> str:
    value = field_of(content, key, str)
    if value not in choices:
        raise FormatError(f"{MANIFEST}: {key} is {short(value)}; known: {', '.join(choices)}")
    return value


def _count(content: Mapping[str, Any], key: str, least: int, most: int) -> int:
    value = field_of(content, key, int)
    if not least <= value <= most:
        raise FormatError(f"{MANIFEST}: {key} is {value}, must be from {least} to {most}")
    return value


def _tokenization(content: Mapping[str, Any], plan: EncoderPlan) -> Tokenization | None:
    values = content.get("tokenization")
    if values is None:
        return None
    if not isinstance(values, dict):
        raise FormatError(f"{MANIFEST}: tokenization is {short(values)}")
    side = _choice(values, "truncation_side", ("left", "right"))
    return Tokenization(
        max_length=_count(values, "max_length", 1, plan.max_tokens),
        truncation_side="left" if side == "left" else "right",
        token_types=field_of(values, "token_types", bool),
        # Older ones do not say it.
        split_special_tokens=field_of(
            {"split_special_tokens": False, **values}, "split_special_tokens", bool
        ),
    )


def _texts(content: Mapping[str, Any], key: str) -> tuple[str, ...]:
    texts = field_of(content, key, list)
    if len(texts) > _MOST_TEXTS or not all(isinstance(text, str) for text in texts):
        raise FormatError(f"{MANIFEST}: {key} is {short(texts)}, must be at most {_MOST_TEXTS} texts")
    return tuple(texts)


def _result(content: Mapping[str, Any]) -> str | None:
    name = content.get("result")
    if name is not None and not (isinstance(name, str) and name.isidentifier()):
        raise FormatError(f"{MANIFEST}: result is {short(name)}, must be the name of a class")
    return name


def _source(values: dict[str, Any]) -> dict[str, str]:
    if len(values) > _MOST_SOURCE_FACTS or not all(isinstance(value, str) for value in values.values()):
        raise FormatError(f"{MANIFEST}: source is {short(values)}, must hold a few texts")
    return dict(values)


def _files(values: dict[str, Any]) -> dict[str, FileEntry]:
    if len(values) > _MOST_FILES:
        raise FormatError(f"{MANIFEST} lists {len(values)} files, at most {_MOST_FILES} are read")
    files = {}
    for name, entry in values.items():
        if file_name(name) == MANIFEST or not isinstance(entry, dict):
            raise FormatError(f"{MANIFEST}: files.{name} is {short(entry)}")
        digests = (digest_field(entry, key, name) for key in ("sha256", "checksum"))
        files[name] = FileEntry(size_field(entry), *digests)
    return files
