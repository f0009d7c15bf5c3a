# SPDX-License-Identifier: MIT
"""The forms in which a model is run, as a table: float32, half, attention fused or not, compiled, graphs, INT8, FP8."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import import_module
from typing import Any

import torch
from torch import nn

import fastformers as ff
from fastformers.modules.encoder_names import parts_of


@dataclass(frozen=True)
class Form:
    """One form.

    Attributes:
        meaning: for the report.
        make: float32 model -> the model that is run.
        settings: changes of the batches' settings.
        tf32: float32 products may be rounded to TF32 while it runs.
        section: which one runs it; what has to be compiled takes minutes to prepare and comes last.
    """

    meaning: str
    make: Callable[[nn.Module], nn.Module]
    settings: Callable[[ff.TorchConfig], ff.TorchConfig] = lambda config: config
    tf32: bool = False
    section: str = "precisions"


def same(model: nn.Module) -> nn.Module:
    return model


def half_of(config: ff.Fp16Config) -> Callable[[nn.Module], nn.Module]:
    return lambda model: ff.to_fp16(model, config)


def eager_float32(model: nn.Module) -> nn.Module:
    twin: Any = copy.deepcopy(model)
    parts_of(twin).encoder.set_attn_implementation("eager")
    return twin


def bfloat16(model: nn.Module) -> nn.Module:
    """The published recipe of most guides: every tensor in bfloat16, attention as loaded."""
    return copy.deepcopy(model).bfloat16()


def through_torchao(config_name: str) -> Callable[[nn.Module], nn.Module]:
    """Linears of the encoder's layers through torchao, the rest in half."""

    def make(model: nn.Module) -> nn.Module:
        torchao: Any = import_module("torchao.quantization")
        half = ff.to_fp16(model)
        for layer in parts_of(half).layers:
            torchao.quantize_(layer, getattr(torchao, config_name)())
        return half

    return make


def compiled(config: ff.TorchConfig) -> ff.TorchConfig:
    return replace(config, compile=True)


def graphs(config: ff.TorchConfig) -> ff.TorchConfig:
    return replace(config, cuda_graphs=True, length_step=max(32, config.length_step))


#: The first is what the others are compared with: PyTorch out of the box.
FORMS: dict[str, Form] = {
    "float32": Form("out of the box; fused attention, as transformers loads it", same),
    "float32, eager attention": Form("attention step by step", eager_float32),
    "float32, TF32": Form("products rounded to TF32, which torch does only when asked", same, tf32=True),
    "bfloat16": Form("model.bfloat16()", bfloat16),
    "half": Form("ff.to_fp16: fused attention, float32 sums in norms and softmax", half_of(ff.Fp16Config())),
    "half, eager attention": Form(
        "attention step by step, scores in half", half_of(ff.Fp16Config(attention="eager"))
    ),
    "half, CUDA graphs": Form("recorded and replayed", half_of(ff.Fp16Config()), graphs),
    "half, not filled up": Form(
        "heads and neurons as pruning left them", half_of(ff.Fp16Config(align=False)), section="shapes"
    ),
    "half, torch.compile": Form("compiled, dynamic shapes", half_of(ff.Fp16Config()), compiled, section="compiled"),
    "INT8, torch.compile": Form(
        "torchao, 8-bit weights and activations", through_torchao("Int8DynamicActivationInt8WeightConfig"),
        compiled, section="compiled",
    ),
    "FP8, torch.compile": Form(
        "torchao, 8-bit floats", through_torchao("Float8DynamicActivationFloat8WeightConfig"),
        compiled, section="compiled",
    ),
}  # fmt: skip


@contextmanager
def precision_of(form: Form) -> Iterator[None]:
    """Allows TF32 inside the block, where the form asks for it."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = form.tf32
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
