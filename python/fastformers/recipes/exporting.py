# SPDX-License-Identifier: MIT
"""``export_onnx``: a model becomes an ONNX file for ONNX Runtime, compared with the model before it is written."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastformers._optional import require
from fastformers.answers import class_names
from fastformers.config import CompileConfig
from fastformers.errors import ConfigError, FormatError
from fastformers.export.builder import CONTRIB, DOMAIN, OPSET
from fastformers.export.encoder_graph import write_encoder
from fastformers.export.native_encoder import native_encoder_model
from fastformers.export.parity import Difference, compare, first_difference, require_within
from fastformers.export.report import ExportReport, description_file, graph_name, model_file
from fastformers.export.session import open_session, session_options
from fastformers.files.replaced_file import replace_file
from fastformers.files.strict_json import json_bytes
from fastformers.modules import PackedLinear
from fastformers.modules.encoder_names import parts_of
from fastformers.quantization.inputs import bundled_texts
from fastformers.recipes import compiling
from fastformers.recipes.model_folder import open_model
from fastformers.rewriting import Encoder
from fastformers.rewriting.outputs import EMBEDDING_RESULT
from fastformers.runtime.tokenizer_files import TOKENIZER, tokenization_of, write_tokenizer
from fastformers.tasks import TASK_FILE, TaskFile

__all__ = ["Native", "Precision", "export_onnx"]

Precision = Literal["fp32", "fp16", "int8", "int8-fastformers"]
_PRECISIONS: tuple[str, ...] = get_args(Precision)
Native = Literal["encoder", "layers"]
_NATIVE_PRECISION = "int8-fastformers"
_INT8 = ("int8", _NATIVE_PRECISION)

_SHORT_TOKENS = 128
#: Texts and most tokens of the batches that are compared; texts of one batch have different lengths. The long one
#: reaches late positions and past local windows.
_BATCHES = (*((size, _SHORT_TOKENS) for size in (1, 2, 5, 8)), (1, 512))
_SPAN_TOKENS = 3
_BYTES_PER_MB = 1e6
#: Class of the outputs of encoders that pool.
_RANDOM_IDS = "random token ids (no tokenizer was given)"
_MOST_BYTES = (1 << 31) - (1 << 20)  # a protobuf message ends there

Arrays = dict[str, NDArray[Any]]


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
            saved.
        path: folder to write into, made if need be: ``model-<precision>.onnx`` and ``.json``. Other precisions that lie
            there stay.
        precision: see above.
        tokenizer: the model's, saved beside it; also used for calibration and for the check. Of a folder, its own.
        texts: calibration texts of the INT8 precisions, as for :func:`fastformers.compile`.
        config: pooling, and how layers are quantized; the defaults when ``None``.
        native: what our operators hold in ``"int8-fastformers"``: ``"encoder"`` (also when ``None``) or ``"layers"``,
            which is written as ``model-int8-fastformers-layers.onnx``.
        allow_partial: with ``native="layers"``, let linear layers that the compiled model keeps in float32 be ONNX
            Runtime's.
        check: compare with the model on texts of the package, at several batch sizes and lengths.
        overwrite: replace the same precision's file.

    Returns:
        The report, which prints; it is also ``model-<precision>.json``.

    Raises:
        GateError: the graph differs from the model by more than the precision allows; names the first layer that does.
        ConfigError: the file is there, an argument is refused, the folder's other exports have another tokenizer, the
            encoder's layers have another precision, or some of them cannot be our operators.
        FormatError: the folder cannot be written, or holds a damaged tokenizer.
        UnsupportedModelError: as ``compile``.
        MissingExtraError: onnx or ONNX Runtime is absent, or our operators are.

    Example:
        >>> print(ff.export_onnx(model, "my-bert-onnx", "int8", tokenizer=tokenizer))  # doctest: +SKIP
        model-int8.onnx: 23.5 MB, opset 17 and com.microsoft
    """
    if precision not in _PRECISIONS:
        raise ConfigError(f"precision is {precision!r}; allowed: {', '.join(map(repr, _PRECISIONS))}")
    native = _native(precision, native)
    if allow_partial and native != "layers":
        raise ConfigError('allow_partial=True is for native="layers": leave it out, or export that form')
    folder, graph_kind = Path(path), graph_name(precision, native)
    _check_place(folder, graph_kind, overwrite)
    require("onnx", "onnx", "export_onnx")
    if not isinstance(model, nn.Module):
        opened = open_model(model)
        model, tokenizer, task = opened.model, tokenizer or opened.tokenizer, opened.task_file
    else:
        task = None
    _check_same_tokenizer(folder, graph_kind, tokenizer)
    encoder = _encoder_of(model, precision, tokenizer, texts, config or CompileConfig())
    graph, report, debug = _written(encoder, precision, native, tokenizer)
    if not allow_partial:
        _require_native(report)
    content = _serialized(graph)
    report = replace(report, megabytes=len(content) / _BYTES_PER_MB)
    if check:
        report = _checked(content, debug, report, _Reference(model, encoder), encoder, tokenizer)
    _save(folder, content, report, encoder, tokenizer, task)
    return report


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


def _require_native(report: ExportReport) -> None:
    for name, (done, count) in report.native_blocks.items():
        if done < count:
            raise ConfigError(
                f"{done} of {count} {name} run in fastformers' kernel: the compiled model keeps the others in float32 "
                "(excluded, or too small). Pass allow_partial=True (--allow-partial) to leave those to ONNX Runtime"
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
    if _has_int8_layers(model) and precision not in _INT8:
        raise ConfigError(
            "the model's layers are INT8, which can be exported as 'int8' or 'int8-fastformers': for "
            f"{precision!r} pass the model that it was made of"
        )
    if not isinstance(model, Encoder):
        chosen = config if precision in _INT8 else replace(config, int8=None)
        return compiling.compile(
            model, chosen, tokenizer=tokenizer, texts=texts if precision in _INT8 else None
        )
    if precision in _INT8 and not _has_int8_layers(model):
        raise ConfigError(
            "the encoder's layers are float32, which can be exported as 'fp32' or 'fp16': for "
            f"{precision!r} pass the model that it was made of"
        )
    return model


def _has_int8_layers(model: nn.Module) -> bool:
    if not isinstance(model, Encoder):
        return any(isinstance(module, PackedLinear) for module in model.modules())
    return any(name.endswith(".weight") and array.dtype == np.int8 for name, array in model.tensors.items())


def _written(
    encoder: Encoder, precision: str, native: Native | None, tokenizer: Any
) -> tuple[Any, ExportReport, Sequence[str]]:
    """The graph, its description, and the names of its layers' outputs."""
    plan, span_head = encoder.plan, encoder.span_head
    metadata = {"fastformers.precision": precision}
    fused: Mapping[str, tuple[int, int]] = {}
    native_blocks: Mapping[str, tuple[int, int]] = {}
    layer_outputs: Sequence[str] = ()
    if native == "encoder":
        graph = native_encoder_model(
            plan, encoder.tensors, attention=encoder.attention, span_head=span_head, metadata=metadata
        )
        domains: tuple[str, ...] = (DOMAIN,)
    else:
        written = write_encoder(
            plan,
            encoder.tensors,
            span_head=span_head,
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
        num_spans=0 if span_head is None else span_head.num_spans,
        notes=_notes(precision, fused, encoder.tensors),
        native=native,
        native_blocks=native_blocks,
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


class _Reference:
    """What the graph is compared with: the torch model where there is one that puts out the same, else an encoder."""

    def __init__(self, model: nn.Module, encoder: Encoder) -> None:
        self.padding_id = int(encoder.config.get("pad_token_id") or 0)
        self.vocabulary, self.types = encoder.plan.vocab, encoder.plan.types
        held = "the model with its INT8 layers" if _has_int8_layers(model) else "the float32 model"
        self.words = "the compiled encoder" if isinstance(model, Encoder) else held
        if isinstance(model, Encoder):
            model = _with_float32_attention(model)
        elif encoder.result == EMBEDDING_RESULT:  # a torch model has no such output
            pooling = encoder.plan.outputs[0]
            config = CompileConfig(
                int8=None,
                attention="float32",
                pooling="mean" if pooling.rows == "mean" else "first",
                normalize=pooling.normalize,
            )
            model = compiling.compile(model, config)
        self._called = model

    def outputs(self, batch: Arrays, names: Sequence[str]) -> Arrays:
        """Outputs of a batch, by name."""
        return _outputs_of(self._called, batch, names)

    def layers(self, batch: Arrays) -> list[NDArray[Any]]:
        """What leaves each layer; nothing for a compiled encoder."""
        if isinstance(self._called, Encoder):
            return []
        kept: list[NDArray[Any]] = []
        with _hooked(self._called, lambda value: kept.append(value.float().numpy())):
            self.outputs(batch, ())
        return kept


def _outputs_of(called: Callable[..., Any], batch: Arrays, names: Sequence[str]) -> Arrays:
    with torch.inference_mode():
        result = called(**{name: torch.from_numpy(array) for name, array in batch.items()})
    found = {name: result[name] for name in names if name in result and result[name] is not None}
    return {name: value.float().numpy() for name, value in found.items()}


def _with_float32_attention(encoder: Encoder) -> Encoder:
    """The same encoder with the attention products that graphs have."""
    return Encoder(
        encoder.plan,
        encoder.tensors,
        config=encoder.config,
        result=encoder.result,
        attention="float32",
        span_head=encoder.span_head,
    )


@contextmanager
def _hooked(model: nn.Module, keep: Callable[[Tensor], None]) -> Iterator[None]:
    def hook(_: nn.Module, __: Any, output: Any) -> None:
        keep(output[0] if isinstance(output, tuple) else output)

    handles = [layer.register_forward_hook(hook) for layer in parts_of(model).layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _checked(
    content: bytes,
    layer_outputs: Sequence[str],
    report: ExportReport,
    reference: _Reference,
    encoder: Encoder,
    tokenizer: Any,
) -> ExportReport:
    """Runs the graph and the model on the same batches."""
    options = session_options(1, native=report.native is not None)
    start = time.perf_counter()
    session = open_session(content, options)
    seconds = time.perf_counter() - start
    batches = list(_batches(report, tokenizer, reference))
    found = [
        dict(zip(report.outputs, session.run(list(report.outputs), _fed(report, batch)), strict=True))
        for batch in batches
    ]
    wanted = [reference.outputs(batch, report.outputs) for batch in batches]
    differences = compare(batches, found, wanted)
    if not differences:
        raise ConfigError(
            f"the model puts out none of {', '.join(report.outputs)}: nothing can be compared; pass check=False"
        )

    def where() -> str:
        batch = batches[_most_different(batches, found, wanted)]
        layers = reference.layers(batch) if layer_outputs else []
        if len(layers) != len(layer_outputs) or not layers:
            return "Its layers cannot be looked at one by one"
        import onnx

        graph: Any = onnx.ModelProto.FromString(content)
        return first_difference(graph, layer_outputs, _fed(report, batch), layers, report.precision, options)

    require_within(differences, report.precision, where)
    engine: dict[str, Difference] = {}
    if report.native == "layers":
        engine = compare(batches, found, [_outputs_of(encoder, batch, report.outputs) for batch in batches])
        require_within(
            engine, report.graph, lambda: "The linear layers have the engine's weights", "our engine"
        )
    what = _RANDOM_IDS if tokenizer is None else f"{len(batches)} batches of texts"
    return replace(
        report,
        load_seconds=round(seconds, 3),
        checked={name: difference.to_dict() for name, difference in differences.items()},
        checked_on=f"{reference.words}, {what}",
        engine={name: difference.to_dict() for name, difference in engine.items()},
    )


def _most_different(batches: Sequence[Arrays], found: Sequence[Arrays], wanted: Sequence[Arrays]) -> int:
    """The number of the batch with the largest difference."""
    largest = [
        max(difference.max_abs for difference in compare([batch], [one], [other]).values())
        for batch, one, other in zip(batches, found, wanted, strict=True)
    ]
    return int(np.nan_to_num(largest, nan=np.inf).argmax())


def _fed(report: ExportReport, batch: Arrays) -> Arrays:
    return {
        name: batch[name] if name in batch else np.zeros_like(batch["input_ids"]) for name in report.inputs
    }


def _batches(report: ExportReport, tokenizer: Any, reference: _Reference) -> Iterator[Arrays]:
    """Batches of several sizes: texts of several lengths, a long one, pairs; with spans where the model reads them."""
    random = np.random.default_rng(0)
    texts = [text for text in bundled_texts() if isinstance(text, str)]
    first = 0
    for number, (size, most) in enumerate(_BATCHES):
        longest = min(most, report.max_length)
        if tokenizer is None:
            batch = _random_batch(random, size, longest, reference)
        else:
            chosen = [texts[(first + 7 * place) % len(texts)] for place in range(size)]
            if most > _SHORT_TOKENS:
                chosen = [" ".join(texts)] * size
            seconds = [texts[-1 - place] for place in range(size)] if number % 2 else None
            encoded = tokenizer(
                chosen, seconds, padding=size > 1, truncation=True, max_length=longest, return_tensors="np"
            )
            batch = {name: encoded[name].astype(np.int64) for name in report.inputs if name in encoded}
            first += 7 * size
        if report.num_spans:
            batch["spans"] = _spans(batch["attention_mask"].sum(1), report.num_spans)
        yield batch


def _spans(lengths: NDArray[Any], count: int) -> NDArray[np.int64]:
    """Overlapping spans inside each text, [batch, count, 2]."""
    starts = np.minimum(1 + np.arange(count), lengths[:, None] - 1)
    ends = np.minimum(starts + _SPAN_TOKENS, lengths[:, None])
    return np.stack([starts, ends], axis=-1).astype(np.int64)


def _random_batch(random: np.random.Generator, size: int, longest: int, reference: _Reference) -> Arrays:
    lengths = random.integers(1, longest + 1, size)
    lengths[0] = longest if size == 1 else max(2, lengths.max())
    mask = (np.arange(lengths.max())[None, :] < lengths[:, None]).astype(np.int64)
    padding, vocabulary = reference.padding_id, reference.vocabulary
    ids = random.integers(0, vocabulary, mask.shape)
    ids[ids == padding] = (padding + 1) % vocabulary
    types = mask * random.integers(0, max(1, reference.types), mask.shape)
    return {
        "input_ids": np.where(mask == 1, ids, padding),
        "attention_mask": mask,
        **({"token_type_ids": types} if reference.types > 1 else {}),
    }


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
