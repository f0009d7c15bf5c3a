# SPDX-License-Identifier: MIT
"""An exported graph and the model that it was made of, on the same batches."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastformers.config import CompileConfig
from fastformers.errors import ConfigError
from fastformers.export.parity import Difference, compare, first_difference, require_within
from fastformers.export.report import ExportReport
from fastformers.export.session import open_session, session_options
from fastformers.modules import holds_packed_layers
from fastformers.modules.encoder_names import parts_of
from fastformers.quantization.inputs import bundled_texts
from fastformers.recipes import compiling
from fastformers.rewriting import Encoder
from fastformers.rewriting.outputs import EMBEDDING_RESULT

__all__ = ["checked_report", "has_int8_layers", "most_different"]

_SHORT_TOKENS = 128
#: Texts and most tokens of the batches that are compared; texts of one batch have different lengths. The long one
#: reaches late positions and past local windows.
_BATCHES = (*((size, _SHORT_TOKENS) for size in (1, 2, 5, 8)), (1, 512))
_SPAN_TOKENS = 3
_RANDOM_IDS = "random token ids (no tokenizer was given)"

Arrays = dict[str, NDArray[Any]]


def checked_report(
    content: bytes,
    layer_outputs: Sequence[str],
    report: ExportReport,
    model: nn.Module,
    encoder: Encoder,
    tokenizer: Any,
) -> ExportReport:
    """Runs the graph and the model on the same batches; with native layers also the engine.

    Args:
        content: of the file.
        layer_outputs: names of what leaves each layer; empty where the graph has no such names.
        report: of the graph.
        model: that was exported.
        encoder: its plan and tensors.
        tokenizer: the model's; ``None`` checks on random token ids.

    Returns:
        The report with the seconds that loading took and with the differences.

    Raises:
        GateError: the graph differs by more than the precision allows; names the first layer that does.
        ConfigError: the model puts out nothing that can be compared.
    """
    reference = _Reference(model, encoder)
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
        batch = batches[most_different(batches, found, wanted)]
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


def has_int8_layers(model: nn.Module) -> bool:
    """Says whether a model, compiled or not, has INT8 layers."""
    if not isinstance(model, Encoder):
        return holds_packed_layers(model)
    return any(name.endswith(".weight") and array.dtype == np.int8 for name, array in model.tensors.items())


class _Reference:
    """What the graph is compared with: the torch model where there is one that puts out the same, else an encoder."""

    def __init__(self, model: nn.Module, encoder: Encoder) -> None:
        self.padding_id = int(encoder.config.get("pad_token_id") or 0)
        self.vocabulary, self.types = encoder.plan.vocab, encoder.plan.types
        held = "the model with its INT8 layers" if has_int8_layers(model) else "the float32 model"
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
        text_head=encoder.text_head,
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


def most_different(batches: Sequence[Arrays], found: Sequence[Arrays], wanted: Sequence[Arrays]) -> int:
    """The number of the batch with the largest difference."""
    largest = [
        np.max([difference.max_abs for difference in compare([batch], [one], [other]).values()])
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
            encoded = tokenizer(chosen, seconds, padding=False, truncation=True, max_length=longest)
            batch = _padded_batch(encoded, report, reference.padding_id)
            first += 7 * size
        if report.num_spans:
            batch["spans"] = _spans(batch["attention_mask"].sum(1), report.num_spans)
        yield batch


def _padded_batch(encoded: Mapping[str, Any], report: ExportReport, padding_id: int) -> Arrays:
    """Texts as ``OrtModel`` gives them: padded on the right, and with types only where the model has several."""
    lengths = np.array([len(ids) for ids in encoded["input_ids"]])
    mask = np.arange(lengths.max())[None, :] < lengths[:, None]
    batch = {"attention_mask": mask.astype(np.int64)}
    fillings = {"input_ids": padding_id, **({"token_type_ids": 0} if report.token_types else {})}
    for name, filling in fillings.items():
        if name in encoded:
            batch[name] = np.full(mask.shape, filling, np.int64)
            batch[name][mask] = np.concatenate(encoded[name])
    return batch


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
