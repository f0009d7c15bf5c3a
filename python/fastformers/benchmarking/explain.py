# SPDX-License-Identifier: MIT
"""Explains a model before it is run: what each layer computes, in which precision and why, and what that costs here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from fastformers import kernels
from fastformers._optional import require
from fastformers.benchmarking.engines.model_source import FolderSource
from fastformers.benchmarking.explain_work import LEAST_INT8_TOKENS, Precision, Work, work_of
from fastformers.config import CompileConfig, Int8Config
from fastformers.encoder_plan import EncoderPlan
from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.files.fields import TORCH_FORMAT
from fastformers.files.saved_format import saved_format
from fastformers.recipes.sentence_folder import with_folder_pooling

if TYPE_CHECKING:
    from torch import nn

    from fastformers.benchmarking.explain_precision import Coverage
    from fastformers.recipes.compile_folder import Text

__all__ = [
    "Ceilings",
    "Explanation",
    "LayerFacts",
    "Part",
    "Unsupported",
    "explain",
    "limit_microseconds",
    "measured_ceilings",
]

_SCHEMA = "fastformers-explain/1"
_OPERATIONS_PER_MAC = 2
_USUAL_LENGTH = 128
#: Plain loops for comparison, whose speed says nothing of the machine.
_WITHOUT_CEILING = "reference"


@dataclass(frozen=True)
class Ceilings:
    """What this machine can reach in matmuls, in 10^9 operations a second; None where nothing can be measured.

    Attributes:
        isa: instruction set in use.
        threads: threads at once.
        int8_gops: u8 x s8, measured.
        float_gflops: float32.
        float_source: ``"measured"``, or why there is none.
    """

    isa: str
    threads: int
    int8_gops: float | None
    float_gflops: float | None
    float_source: str


@dataclass(frozen=True, kw_only=True)
class Part:
    """One matrix, or the products of one layer's attention.

    Attributes:
        name: see :class:`fastformers.benchmarking.explain_work.Work`.
        shape: [N, K] of a matrix; None for attention.
        macs: multiply-accumulates, mean over the texts.
        share: of the model's.
        precision: ``"int8"``, ``"float32"``, or ``"mixed"``: INT8 attention for some of the texts.
        reason: why.
        kernel: instruction set and kernel.
        weight_bytes: packed size, the padding of heads to whole panels not counted.
        microseconds: at the ceiling of this machine; None where there is none.
        note: what is left out, in words; may be empty.
    """

    name: str
    shape: tuple[int, int] | None
    macs: float
    share: float
    precision: str
    reason: str
    kernel: str
    weight_bytes: int
    microseconds: float | None
    note: str


@dataclass(frozen=True, kw_only=True)
class LayerFacts:
    """One layer.

    Attributes:
        index: from 0.
        heads: of attention.
        head_size: channels of a head.
        intermediate: width of the feed-forward network.
        window: keys seen to each side; -1 sees all.
        parts: in the order of computing.
    """

    index: int
    heads: int
    head_size: int
    intermediate: int
    window: int
    parts: tuple[Part, ...]


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A model that can be compiled, or an artefact.

    Attributes:
        model: folder.
        kind: ``"transformers"``, ``"quantized transformers"`` or ``"artefact"``.
        lengths: number of ``texts``, ``shortest``, ``mean`` and ``longest`` in tokens.
        hidden: width.
        outputs: what is put out: name -> rows read.
        attention: setting of the products.
        ceilings: of this machine.
        layers: first to last.
        others: matrices outside of the layers: projection of embeddings, heads.
        table_bytes: embedding tables.
        held_bytes: what the packed encoder holds, all padding included; None when it was not packed.
        notes: what else there is to know.
    """

    model: str
    kind: str
    lengths: dict[str, float]
    hidden: int
    outputs: dict[str, str]
    attention: str
    ceilings: Ceilings
    layers: tuple[LayerFacts, ...]
    others: tuple[Part, ...]
    table_bytes: int
    held_bytes: int | None
    notes: tuple[str, ...]

    @property
    def parts(self) -> tuple[Part, ...]:
        """Of all layers and outside of them."""
        return (*(part for layer in self.layers for part in layer.parts), *self.others)

    def totals(self) -> dict[str, Any]:
        """Sums over all parts: ``macs``, ``int8_share`` (attention that is mixed left out), bytes, microseconds."""
        parts = self.parts
        macs = sum(part.macs for part in parts)
        int8 = sum(part.macs for part in parts if part.precision == "int8")
        times = [part.microseconds for part in parts if part.microseconds is not None]
        return {
            "macs": macs,
            "int8_share": int8 / macs if macs else 0.0,
            "weight_bytes": sum(part.weight_bytes for part in parts),
            "table_bytes": self.table_bytes,
            "microseconds": sum(times) if len(times) == len(parts) else None,
        }

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain JSON values."""
        return {"schema": _SCHEMA, "supported": True, **asdict(self), "totals": self.totals()}


@dataclass(frozen=True, kw_only=True)
class Unsupported:
    """A model that cannot be compiled.

    Attributes:
        model: folder.
        problem: what is not covered, and the way out.
        quantize: what ``quantize_`` can do for it; None when it has no linear layer.
    """

    model: str
    problem: str
    quantize: Coverage | None

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain JSON values."""
        return {"schema": _SCHEMA, "supported": False, **asdict(self)}


@dataclass(frozen=True, kw_only=True)
class _Model:
    """What there is to explain, whatever it was read from."""

    kind: str
    plan: EncoderPlan
    tensors: Mapping[str, Any]
    precisions: Mapping[str, Precision]
    attention: str
    held_bytes: int | None
    notes: tuple[str, ...]


def explain(
    folder: str | Path,
    *,
    length: int | None = None,
    texts: Sequence[Text] | None = None,
    threads: int = 1,
    ceilings: Ceilings | None = None,
) -> Explanation | Unsupported:
    """Explains a model without quantizing or running it.

    Args:
        folder: a transformers model (of sentence-transformers, as it would be compiled), one with INT8 layers that
            ``fastformers quantize`` saved, or the artefact of a compiled encoder (which needs no torch).
        length: tokens of the text that is counted for; ``None`` for 128, or for as many as the model takes where
            that is fewer, which a note then says.
        texts: count for these instead, single or pairs, tokenized, cut at the model's limit; figures are means over
            them.
        threads: whose ceilings the expected times assume.
        ceilings: instead of measuring.

    Returns:
        The explanation, or what is not covered.

    Raises:
        FormatError: the folder holds none of these.
        ConfigError: the model takes no text of this length, there are no texts, or both are given.
        MissingExtraError: a transformers model, without torch.

    Example:
        >>> explain("my-bert").totals()["macs"]
        11173625856.0
    """
    if length is not None and texts is not None:
        raise ConfigError(
            "length and texts exclude each other: count for one text of a length, or for the texts"
        )
    path = Path(folder)
    if FolderSource.is_artefact(path):
        return _explain_artefact(path, length, texts, threads, ceilings)
    require("torch", "torch", "explain (of a transformers model)")
    require("transformers", "torch", "explain (of a transformers model)")
    from fastformers.benchmarking.explain_precision import coverage_of

    with TemporaryDirectory() as scratch:
        source = FolderSource(path, Path(scratch))
        module = _torch_module(source)
        try:
            model = _translated(module, path)
        except UnsupportedModelError as error:
            try:
                coverage: Coverage | None = coverage_of(module, Int8Config())
            except UnsupportedModelError:
                coverage = None
            return Unsupported(model=str(path), problem=str(error), quantize=coverage)
        lengths = None if length is None else [length]
        if texts is not None:
            tokenizer = source.tokenizer()
            parts = [(text,) if isinstance(text, str) else text for text in texts]
            lengths = [len(tokenizer(*each, truncation=False)["input_ids"]) for each in parts]
    return _explanation(path, model, lengths, texts is not None, ceilings or measured_ceilings(threads))


def measured_ceilings(threads: int = 1) -> Ceilings:
    """Measures what the instruction set in use can reach, in a tenth of a second."""
    isa = kernels.active_isa()
    if isa == _WITHOUT_CEILING:
        return Ceilings(isa, threads, None, None, f"{isa} has no ceiling")
    return Ceilings(
        isa, threads, kernels.ceiling_gops(isa, threads), kernels.ceiling_gflops(isa, threads), "measured"
    )


def _torch_module(source: FolderSource) -> nn.Module:
    if saved_format(source.folder) != TORCH_FORMAT:
        return source.torch_model()
    from fastformers.quantization.artefact import load_pretrained_torch

    module: nn.Module = load_pretrained_torch(source.folder)
    return module.eval()


def _translated(module: nn.Module, folder: Path) -> _Model:
    """What ``fastformers compile`` would make of the folder's model."""
    from fastformers.benchmarking.explain_precision import planned_precisions
    from fastformers.modules import holds_packed_layers
    from fastformers.rewriting import translate

    config, notes = with_folder_pooling(folder, CompileConfig())
    assert config.int8 is not None
    translation = translate(module, pooling=config.pooling, normalize=config.normalize)
    packed = holds_packed_layers(module)
    return _Model(
        kind="quantized transformers" if packed else "transformers",
        plan=translation.plan,
        tensors=translation.tensors,
        precisions=planned_precisions(module, translation.tensors, config.int8),
        attention=config.attention,
        held_bytes=None,
        notes=(*translation.notes, *notes),
    )


def _explain_artefact(
    folder: Path,
    length: int | None,
    texts: Sequence[Text] | None,
    threads: int,
    ceilings: Ceilings | None,
) -> Explanation:
    from fastformers.runtime.artefact import pack_artefact
    from fastformers.runtime.artefact_folder import read_artefact
    from fastformers.runtime.tokenizer_files import open_tokenizer

    artefact = read_artefact(folder)
    manifest = artefact.manifest
    lengths = None if length is None else [length]
    if texts is not None:
        if artefact.tokenizer_json is None or manifest.tokenization is None:
            raise ConfigError(f"{folder} was saved without a tokenizer: give --length instead of texts")
        tokenizer = open_tokenizer(artefact.tokenizer_json, manifest.tokenization)
        tokenizer.no_truncation()  # only counted: a text that the tokenizer's own strategy could not cut is no error
        most = manifest.tokenization.max_length
        lengths = [min(most, len(encoding.ids)) for encoding in tokenizer.encode_batch(list(texts))]
    model = _Model(
        kind="artefact",
        plan=manifest.plan,
        tensors=artefact.tensors,
        precisions=_saved_precisions(artefact.tensors),
        attention=manifest.attention,
        held_bytes=pack_artefact(artefact).weight_bytes,
        notes=manifest.notes,
    )
    return _explanation(folder, model, lengths, texts is not None, ceilings or measured_ceilings(threads))


def _saved_precisions(tensors: Mapping[str, Any]) -> dict[str, Precision]:
    """Of an artefact only the outcome is known."""
    return {
        name.removesuffix(".weight"): _saved_precision(name, array)
        for name, array in tensors.items()
        if name.endswith(".weight") and array.ndim == 2
    }


def _saved_precision(name: str, array: Any) -> Precision:
    if array.dtype == "int8":
        return Precision(True, "saved as INT8")
    return Precision(
        False, "head" if name.startswith("outputs.") else "saved as float32; why is not recorded"
    )


def _explanation(
    folder: Path, model: _Model, lengths: list[int] | None, cut: bool, ceilings: Ceilings
) -> Explanation:
    if lengths is None:
        model, lengths = _with_usual_length(model)
    lengths = _checked(lengths, model.plan.max_tokens, cut)
    work = work_of(model.plan, lengths, model.attention)
    total = sum(each.macs for each in work)
    made = [(each.layer, _part(each, model, total, ceilings)) for each in work]
    return Explanation(
        model=str(folder),
        kind=model.kind,
        lengths={
            "texts": len(lengths),
            "shortest": min(lengths),
            "mean": sum(lengths) / len(lengths),
            "longest": max(lengths),
        },
        hidden=model.plan.hidden,
        outputs={output.name: output.rows for output in model.plan.outputs},
        attention=model.attention,
        ceilings=ceilings,
        layers=tuple(
            LayerFacts(
                index=index,
                heads=layer.heads,
                head_size=layer.head_size,
                intermediate=layer.intermediate,
                window=layer.window,
                parts=tuple(part for owner, part in made if owner == index),
            )
            for index, layer in enumerate(model.plan.layers)
        ),
        others=tuple(part for owner, part in made if owner is None),
        table_bytes=_table_bytes(model.tensors),
        held_bytes=model.held_bytes,
        notes=model.notes,
    )


def _with_usual_length(model: _Model) -> tuple[_Model, list[int]]:
    most = model.plan.max_tokens
    if most >= _USUAL_LENGTH:
        return model, [_USUAL_LENGTH]
    note = f"counted for {most} tokens, the model's limit, not for the usual {_USUAL_LENGTH}"
    return replace(model, notes=(*model.notes, note)), [most]


def _checked(lengths: list[int], most: int, cut: bool) -> list[int]:
    if not lengths:
        raise ConfigError("there are no texts to count for")
    if cut:
        return [max(1, min(length, most)) for length in lengths]
    if not 1 <= lengths[0] <= most:
        raise ConfigError(f"length is {lengths[0]}; allowed: 1 to {most}, the model's limit")
    return lengths


def _table_bytes(tensors: Mapping[str, Any]) -> int:
    tables = ("embeddings.word", "embeddings.word.scale", "embeddings.position", "embeddings.type")
    return sum(int(tensors[name].nbytes) for name in tables if name in tensors)


def _part(work: Work, model: _Model, total: float, ceilings: Ceilings) -> Part:
    if work.columns:
        held = model.precisions[work.tensor]
        int8_share, precision, reason = float(held.int8), "int8" if held.int8 else "float32", held.reason
    else:
        int8_share = work.int8_share
        precision = "mixed" if 0 < int8_share < 1 else "int8" if int8_share else "float32"
        reason = _reason_of_attention(model.attention, work)
    return Part(
        name=work.name,
        shape=(work.columns, work.depth) if work.columns else None,
        macs=work.macs,
        share=work.macs / total,
        precision=precision,
        reason=reason,
        kernel=f"{ceilings.isa} {_kernel(work, precision)}",
        weight_bytes=_weight_bytes(work, precision, ceilings.isa),
        microseconds=limit_microseconds(work.macs, int8_share, ceilings),
        note=work.note,
    )


def _reason_of_attention(setting: str, work: Work) -> str:
    if work.note and not work.int8_share and setting != "float32":
        return "products with the layer's input have no INT8 form"
    if setting == "auto":
        return f"auto: INT8 from {LEAST_INT8_TOKENS} tokens on"
    return f"attention={setting!r}"


def _kernel(work: Work, precision: str) -> str:
    if work.columns:
        return "gemm_u8s8_f32" if precision == "int8" else "gemm_f32"
    return {"int8": "attend_u8s8", "float32": "gemm_f32", "mixed": "attend_u8s8, gemm_f32"}[precision]


def _weight_bytes(work: Work, precision: str, isa: str) -> int:
    if not work.columns:
        return 0
    float_bytes = 4 * work.depth
    if precision == "float32":
        return work.columns * float_bytes
    packed = kernels.PackedWeight.nbytes_for(work.columns - work.float_columns, work.depth, isa)
    return packed + work.float_columns * float_bytes


def limit_microseconds(macs: float, int8_share: float, ceilings: Ceilings) -> float | None:
    """Time that multiply-accumulates take at the ceilings, in microseconds.

    Args:
        macs: how many.
        int8_share: of them in INT8, 0 to 1; the others are float32.
        ceilings: of this machine.

    Returns:
        The time; None where there is no ceiling.

    Example:
        >>> limit_microseconds(1e6, 1.0, Ceilings("avx2", 1, 400.0, 100.0, "measured"))
        5.0
    """
    if ceilings.int8_gops is None or ceilings.float_gflops is None:
        return None
    operations = _OPERATIONS_PER_MAC * macs
    int8, float32 = operations * int8_share, operations * (1 - int8_share)
    return 1e-3 * (int8 / ceilings.int8_gops + float32 / ceilings.float_gflops)
