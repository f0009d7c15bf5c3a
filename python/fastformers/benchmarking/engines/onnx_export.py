# SPDX-License-Identifier: MIT
"""Writes a transformers model as the ONNX graph that runtimes fuse best, float32, batch and length dynamic.

transformers 5 scales scores before the mask in a form that ONNX Runtime's fusion of attention does not know, and makes
the mask with operations that its fusion of embeddings does not know. The attention is therefore written out as
product, division, mask, softmax, product; the mask is made here; token types are an input. The numbers are the same.
"""

from __future__ import annotations

import inspect
import math
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastformers.benchmarking.engines.batch import Batch
from fastformers.benchmarking.engines.model_source import ModelSource, answer_of, kept

__all__ = ["MODEL_FILE", "attention_size", "exported", "feed"]

MODEL_FILE = "model.onnx"

_ATTENTION = "fastformers_written_out"
_HEADS, _WIDTH = "attention_heads", "attention_width"
_OPSET = 14
_EXAMPLE_LENGTH = 16


class _AnswerOnly(nn.Module):
    """The model with the usual inputs and one output; masked keys get the lowest float."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
    ) -> Tensor:
        lowest = torch.finfo(torch.float32).min
        mask = (1.0 - attention_mask[:, None, None, :].to(torch.float32)) * lowest
        types = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        return answer_of(self.model(input_ids=input_ids, attention_mask=mask, **types))


def exported(source: ModelSource) -> Path:
    """Returns the ONNX file of a model, written on the first call."""
    return kept(source.workspace / "onnx-float32", lambda folder: _export(source, folder)) / MODEL_FILE


def attention_size(path: Path) -> tuple[int, int]:
    """Returns heads and heads x head size of a layer, as the export noted them; zeros when the model does not say."""
    import onnx

    noted = {entry.key: entry.value for entry in onnx.load(path).metadata_props}
    return int(noted.get(_HEADS, 0)), int(noted.get(_WIDTH, 0))


def feed(names: list[str], batch: Batch, padding_id: int) -> dict[str, Any]:
    """Returns the inputs of a graph by name: int64 [sequences, longest] each."""
    ids, mask = batch.padded(padding_id)
    arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0}
    return {name: arrays[name] for name in names}


def _export(source: ModelSource, folder: Path) -> None:
    from transformers import AttentionInterface

    AttentionInterface.register(_ATTENTION, _attention)
    model = source.torch_model()
    model.set_attn_implementation(_ATTENTION)
    names = ["input_ids", "attention_mask"]
    if "token_type_ids" in inspect.signature(model.forward).parameters and model.config.type_vocab_size > 0:
        names.append("token_type_ids")
    arrays = feed(names, Batch.of([[5] * _EXAMPLE_LENGTH] * 2), 0)
    example = tuple(torch.from_numpy(arrays[name]) for name in names)
    axes = {0: "batch", 1: "length"}
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracing exporter is deprecated; the fusions know its graphs
        answer = _AnswerOnly(model)(*example)
        torch.onnx.export(
            _AnswerOnly(model).eval(),
            example,
            str(folder / MODEL_FILE),
            input_names=names,
            output_names=["answer"],
            dynamic_axes=dict.fromkeys(names, axes)
            | {"answer": axes if answer.ndim > len(axes) else {0: "batch"}},
            opset_version=_OPSET,
            dynamo=False,
        )
    _note_attention(folder / MODEL_FILE, model)


def _note_attention(path: Path, model: nn.Module) -> None:
    """Writes the size of the first attention module into the file: a pruned model's config may say another one."""
    import onnx

    attention = next((module for module in model.modules() if hasattr(module, "all_head_size")), None)
    if attention is None:
        return
    graph = onnx.load(path)
    noted = {_HEADS: str(attention.num_attention_heads), _WIDTH: str(attention.all_head_size)}
    onnx.helper.set_model_props(graph, noted)
    onnx.save(graph, path)


def _attention(
    _module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor, **_: Any
) -> tuple[Tensor, None]:
    """Attention of query, key and value [batch, heads, length, head size]."""
    scores = torch.matmul(query, key.transpose(-1, -2)) / math.sqrt(query.shape[-1]) + attention_mask
    return torch.matmul(nn.functional.softmax(scores, dim=-1), value).transpose(1, 2).contiguous(), None
