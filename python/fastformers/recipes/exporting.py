# SPDX-License-Identifier: MIT
"""``export_onnx``: a model becomes an ONNX file for ONNX Runtime, compared with the model before it is written."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from torch import nn

from fastformers._optional import require
from fastformers.answers import class_names, has_many_labels
from fastformers.config import CompileConfig
from fastformers.errors import ConfigError, FormatError
from fastformers.export.builder import CONTRIB, DOMAIN, OPSET
from fastformers.export.encoder_graph import write_encoder
from fastformers.export.native_encoder import native_encoder_model
from fastformers.export.report import ExportReport, description_file, graph_name, model_file
from fastformers.files.replaced_file import replace_file
from fastformers.files.strict_json import json_bytes
from fastformers.pair_head import PairHead
from fastformers.recipes import compiling
from fastformers.recipes.export_check import checked_report, has_int8_layers
from fastformers.recipes.model_folder import open_model
from fastformers.recipes.sentence_folder import with_folder_pooling
from fastformers.rewriting import Encoder
from fastformers.runtime.tokenizer_files import TOKENIZER, tokenization_of, write_tokenizer
from fastformers.tasks import TASK_FILE, TaskFile

__all__ = ["Native", "Precision", "check_export", "export_onnx"]

Precision = Literal["fp32", "fp16", "int8", "int8-fastformers"]
_PRECISIONS: tuple[str, ...] = get_args(Precision)
Native = Literal["encoder", "layers"]
_NATIVE_PRECISION = "int8-fastformers"
_INT8 = ("int8", _NATIVE_PRECISION)

_BYTES_PER_MB = 1e6
_MOST_BYTES = (1 << 31) - (1 << 20)  # a protobuf message ends there


def export_onnx(
    model: nn.Module | str | Path,
    path: str | Path,
    precision: Precision = "fp32",
    *,
    tokenizer: Any = None,
    texts: Iterable[Any] | None = None,
    config: CompileConfig | None = None,
    native: Native | None = None,
    allow_partial: bool = False,
    check: bool = True,
    overwrite: bool = False,
) -> ExportReport:
    """Writes a model as one self-contained ONNX file, with tokenizer and configuration beside it.

    The graph is written from the encoder's plan and not traced, for every family and head that
    :func:`fastformers.compile` takes, pruned and span models included. It holds standard operators and those of ONNX
    Runtime's own domain, fused; batch and length are dynamic.

    ``"int8"`` quantizes weights to s8 with one scale for each column and activations at run time, with attention
    products in float32. ``"fp16"`` halves weights and products; LayerNorm and softmax stay float32.

    ``"int8-fastformers"`` uses our operators (:func:`fastformers.ort_library_path`). With ``native="encoder"`` one of
    them is the whole encoder, with the engine's bits and speed. With ``native="layers"`` each linear layer and each
    attention block is one, with the bits of :func:`fastformers.kernels.linear`, and the rest are ONNX Runtime's own
    nodes: a graph that other tools can look into and change, after the paper's integration of FBGEMM. It is also
    compared with the engine.

    Args:
        model: as for :func:`fastformers.compile`; or a compiled encoder; or a folder that transformers or fastformers
            saved; one of sentence-transformers pools as its ``modules.json`` says, unless ``config`` does.
        path: folder to write into, made if need be: ``model-<precision>.onnx`` and ``.json``. Other precisions that lie
            there stay.
        precision: see above.
        tokenizer: the model's, saved beside it; also used for calibration and for the check. Of a folder, its own.
        texts: calibration texts of the INT8 precisions, as for :func:`fastformers.compile`.
        config: pooling, and how layers are quantized; the defaults when ``None``.
        native: what our operators hold in ``"int8-fastformers"``: ``"encoder"`` (also when ``None``) or ``"layers"``,
            which is written as ``model-int8-fastformers-layers.onnx``.
        allow_partial: let blocks that cannot be written fused stand as their parts; with ``native="layers"`` also let
            linear layers that the compiled model keeps in float32 be ONNX Runtime's.
        check: compare with the model on texts of the package, at several batch sizes and lengths.
        overwrite: replace the same precision's file.

    Returns:
        The report, which prints; it is also ``model-<precision>.json``.

    Raises:
        GateError: the graph differs from the model by more than the precision allows; names the first layer that does.
        ConfigError: the file is there, an argument is refused, the folder's other exports have another tokenizer, the
            encoder's layers have another precision, or some blocks cannot be fused or be our operators.
        FormatError: the folder cannot be written, or holds a damaged tokenizer.
        UnsupportedModelError: as ``compile``.
        MissingExtraError: onnx or ONNX Runtime is absent, or our operators are.

    Example:
        >>> print(ff.export_onnx(model, "my-bert-onnx", "int8", tokenizer=tokenizer))  # doctest: +SKIP
        model-int8.onnx: 23.5 MB, opset 17 and com.microsoft
    """
    _check_precision(precision)
    native = _native(precision, native)
    if allow_partial and native == "encoder":
        raise ConfigError("allow_partial=True has no effect where the encoder is one node: leave it out")
    folder, graph_kind = Path(path), graph_name(precision, native)
    _check_place(folder, graph_kind, overwrite)
    require("onnx", "onnx", "export_onnx")
    task: TaskFile | None = None
    notes: tuple[str, ...] = ()
    if not isinstance(model, nn.Module):
        opened = open_model(model)
        model, tokenizer, task = opened.model, tokenizer or opened.tokenizer, opened.task_file
        if not isinstance(model, Encoder):
            config, notes = with_folder_pooling(opened.folder, config)
    _check_same_tokenizer(folder, graph_kind, tokenizer)
    encoder = _encoder_of(model, precision, tokenizer, texts, config or CompileConfig())
    graph, report, layer_outputs = _written(encoder, precision, native, tokenizer)
    if not allow_partial:
        _require_whole(report)
    content = _serialized(graph)
    report = replace(report, megabytes=len(content) / _BYTES_PER_MB, notes=(*report.notes, *notes))
    if check:
        report = checked_report(content, layer_outputs, report, model, encoder, tokenizer)
    _save(folder, content, report, encoder, tokenizer, task)
    return report


def check_export(path: Path, precision: str, native: Native | None, overwrite: bool) -> None:
    """Refuses what is no precision of an export, or has no place in its folder, for who writes several.

    Args:
        path: folder to write into.
        precision: as for :func:`export_onnx`, as are the two that follow.
        native: what our operators hold.
        overwrite: replace the same precision's file.

    Raises:
        ConfigError: names the precisions there are, or what is in the way.
    """
    _check_precision(precision)
    _check_place(path, graph_name(precision, _native(precision, native)), overwrite)


def _check_precision(name: str) -> None:
    """Refuses what is no precision of an export.

    Raises:
        ConfigError: names those there are.
    """
    if name not in _PRECISIONS:
        raise ConfigError(f"precision is {name!r}; allowed: {', '.join(map(repr, _PRECISIONS))}")


def _native(precision: str, native: Native | None) -> Native | None:
    """What our operators hold: nothing in other precisions."""
    if native is not None and native not in get_args(Native):
        raise ConfigError(f"native is {native!r}; allowed: {', '.join(map(repr, get_args(Native)))}")
    if precision == _NATIVE_PRECISION:
        return native or "encoder"
    if native is not None:
        raise ConfigError(
            f"native={native!r} has no effect on {precision!r}, which has none of our operators: leave it out, or "
            f"export as {_NATIVE_PRECISION!r}"
        )
    return None


def _require_whole(report: ExportReport) -> None:
    for name, (done, count) in report.native_blocks.items():
        if done < count:
            raise ConfigError(
                f"{done} of {count} {name} run in fastformers' kernel: the compiled model keeps the others in float32 "
                "(excluded, or too small). Pass allow_partial=True (--allow-partial) to leave those to ONNX Runtime"
            )
    for name, (done, count) in report.fused.items():
        if done < count:
            raise ConfigError(
                f"{done} of {count} {name} can be written fused: ONNX Runtime's operator does not take this model's "
                "form of it. Pass allow_partial=True (--allow-partial) to have the others as their parts"
            )


def _check_place(folder: Path, graph: str, overwrite: bool) -> None:
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file: name a folder to write into")
    if not folder.absolute().parent.is_dir():
        raise ConfigError(f"{folder.absolute().parent} does not exist: make it first")
    if (folder / model_file(graph)).exists() and not overwrite:
        raise ConfigError(f"{folder / model_file(graph)} exists: pass overwrite=True to replace it")


def _check_same_tokenizer(folder: Path, graph: str, tokenizer: Any) -> None:
    """Keeps the exports that lie there readable: they share one tokenizer."""
    others = sorted({path.name for path in folder.glob("model-*.onnx")} - {model_file(graph)})
    there, backend = folder / TOKENIZER, getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not others or not there.is_file() or not hasattr(backend, "to_str"):
        return
    if _vocabulary_and_rules(there.read_text(encoding="utf-8")) != _vocabulary_and_rules(backend.to_str()):
        raise ConfigError(
            f"{folder} holds {', '.join(others)} of a model with another tokenizer: name another folder"
        )


def _vocabulary_and_rules(text: str) -> dict[str, Any]:
    """A ``tokenizer.json`` without what the last call left in it."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise FormatError(
            f"{TOKENIZER} of the folder is damaged ({error}): delete it, or name another folder"
        ) from error
    return {key: value for key, value in content.items() if key not in ("padding", "truncation")}


def _encoder_of(
    model: nn.Module, precision: str, tokenizer: Any, texts: Iterable[Any] | None, config: CompileConfig
) -> Encoder:
    """The model as plan and tensors, with layers of the precision."""
    if texts is not None and (precision not in _INT8 or isinstance(model, Encoder)):
        held = (
            "the compiled encoder's layers are made already" if isinstance(model, Encoder) else "none is made"
        )
        raise ConfigError(f"texts calibrate INT8 layers, and {held}: leave them out (--texts)")
    if has_int8_layers(model) and precision not in _INT8:
        raise ConfigError(
            "the model's layers are INT8, which can be exported as 'int8' or 'int8-fastformers': for "
            f"{precision!r} pass the model that it was made of"
        )
    if not isinstance(model, Encoder):
        chosen = config if precision in _INT8 else replace(config, int8=None)
        return compiling.compile(model, chosen, tokenizer=tokenizer, texts=texts)
    if precision in _INT8 and not has_int8_layers(model):
        raise ConfigError(
            "the encoder's layers are float32, which can be exported as 'fp32' or 'fp16': for "
            f"{precision!r} pass the model that it was made of"
        )
    return model


def _written(
    encoder: Encoder, precision: str, native: Native | None, tokenizer: Any
) -> tuple[Any, ExportReport, Sequence[str]]:
    """The graph, its description, and the names of its layers' outputs."""
    plan, text_head = encoder.plan, encoder.text_head
    metadata = {"fastformers.precision": precision}
    fused: Mapping[str, tuple[int, int]] = {}
    native_blocks: Mapping[str, tuple[int, int]] = {}
    layer_outputs: Sequence[str] = ()
    if native == "encoder":
        graph = native_encoder_model(
            plan, encoder.tensors, attention=encoder.attention, text_head=text_head, metadata=metadata
        )
        domains: tuple[str, ...] = (DOMAIN,)
    else:
        written = write_encoder(
            plan,
            encoder.tensors,
            text_head=text_head,
            half=precision == "fp16",
            native_attention=None if native is None else encoder.attention,
            metadata=metadata,
        )
        graph, fused, layer_outputs = written.model, written.fused, written.layer_outputs
        native_blocks, domains = written.native, (CONTRIB,) if native is None else (CONTRIB, DOMAIN)
    tokenization = None if tokenizer is None else tokenization_of(tokenizer, plan)
    report = ExportReport(
        precision=precision,
        opset=OPSET,
        domains=domains,
        inputs=tuple(entry.name for entry in graph.graph.input),
        outputs=tuple(entry.name for entry in graph.graph.output),
        fused=fused,
        megabytes=0.0,
        load_seconds=0.0,
        checked={},
        checked_on="",
        max_length=plan.max_tokens if tokenization is None else tokenization.max_length,
        token_types=plan.types > 1 and (tokenization is None or tokenization.token_types),
        labels=class_names(encoder.config.get("id2label")),
        num_spans=0 if text_head is None else text_head.num_spans,
        only_pairs=isinstance(text_head, PairHead),
        notes=_notes(precision, fused, encoder.tensors),
        native=native,
        native_blocks=native_blocks,
        many_labels=has_many_labels(encoder.config.get("problem_type")),
        truncation_side="right" if tokenization is None else tokenization.truncation_side,
    )
    return graph, report, layer_outputs


def _notes(
    precision: str, fused: Mapping[str, tuple[int, int]], tensors: Mapping[str, NDArray[Any]]
) -> tuple[str, ...]:
    notes = [
        f"{count - done} of {count} {name} could not be written fused"
        for name, (done, count) in fused.items()
        if done < count
    ]
    matrices = [
        array
        for name, array in tensors.items()
        if name.startswith("layers.") and name.endswith(".weight") and array.ndim == 2
    ]
    kept = sum(array.dtype != np.int8 for array in matrices)
    if precision in _INT8 and kept:
        notes.append(f"{kept} of {len(matrices)} weight matrices of the layers stay float32")
    if precision == "int8":
        notes.append(
            'on CPUs without VNNI set the session option "session.x64quantprecision" to "1"; OrtModel does'
        )
    if precision == _NATIVE_PRECISION:
        notes.append("sessions must register ff.ort_library_path() first; OrtModel does")
    return tuple(notes)


def _serialized(graph: Any) -> bytes:
    if graph.ByteSize() > _MOST_BYTES:
        raise ConfigError(
            f"the graph has {graph.ByteSize() / _BYTES_PER_MB:.0f} MB, and one ONNX file holds at most 2147: export it "
            "as 'int8' or 'fp16'"
        )
    content: bytes = graph.SerializeToString()
    return content


def _save(
    folder: Path,
    content: bytes,
    report: ExportReport,
    encoder: Encoder,
    tokenizer: Any,
    task: TaskFile | None,
) -> None:
    """Writes each file in one step, the graph last: a folder without it holds no export of that precision."""
    try:
        folder.mkdir(exist_ok=True)
        if tokenizer is not None:
            write_tokenizer(tokenizer, folder)
        replace_file(folder / "config.json", json_bytes(encoder.config))
        if task is not None:
            replace_file(folder / TASK_FILE, json_bytes(task.to_dict()))
        replace_file(folder / description_file(report.graph), json_bytes(report.to_dict()))
        replace_file(folder / model_file(report.graph), content)
    except OSError as error:
        raise FormatError(f"{folder} cannot be written: {error}") from error
