# SPDX-License-Identifier: MIT
"""Refuses before the first step what would fail after hours, and settles the device and the precision."""

from __future__ import annotations

import torch
from torch import nn

from fastformers.config import TrainConfig
from fastformers.errors import ConfigError, UnsupportedModelError
from fastformers.modules import holds_packed_layers
from fastformers.tasks import EncodedExamples
from fastformers.tasks.fitting import check_fits

__all__ = ["check_run", "device_of", "precision_of"]


def check_run(
    model: nn.Module,
    train: EncodedExamples,
    val: EncodedExamples | None,
    config: TrainConfig,
    needs_labels: bool,
) -> None:
    """Checks model, data and config against each other.

    Raises:
        ConfigError, UnsupportedModelError: as :func:`fastformers.training.train_`.
    """
    _check_model(model, train)
    for name, encoded, labelled in (("training", train, needs_labels), ("validation", val, True)):
        if encoded is not None:
            _check_examples(name, encoded, config, labelled)
            check_fits(model, encoded, config.fixed_length)
    if val is None and config.patience is not None:
        raise ConfigError(
            f"patience is {config.patience}, and there is no validation set whose score it could wait for: give one, "
            "or leave patience out"
        )
    if val is not None and (val.task.name, val.task.labels) != (train.task.name, train.task.labels):
        raise ConfigError(
            f"the training set is of {train.task.name}, the validation set of {val.task.name}: both must be of one task"
        )


def device_of(config: TrainConfig) -> torch.device:
    """Returns where to train.

    Raises:
        ConfigError: there is no GPU.
    """
    has_gpu = torch.cuda.is_available()
    if config.device == "cuda" and not has_gpu:
        raise ConfigError("device is 'cuda', and torch sees no GPU here: use 'auto' or 'cpu'")
    return torch.device("cpu" if config.device == "cpu" or not has_gpu else "cuda")


def precision_of(config: TrainConfig, device: torch.device) -> str:
    """Returns the precision of products.

    Raises:
        ConfigError: the CPU has no products of that precision.
    """
    if device.type != "cpu":
        return "bfloat16" if config.precision == "auto" else config.precision
    if config.precision == "float16":
        raise ConfigError(
            "precision is 'float16', which is for GPUs: a CPU trains in 'float32' or 'bfloat16'"
        )
    if config.precision == "bfloat16" and not _cpu_has_bfloat16():
        raise ConfigError(
            "precision is 'bfloat16', and this CPU has no bfloat16 products (AVX512_BF16 or AMX): emulating them is "
            "slower than 'float32'"
        )
    return "float32" if config.precision == "auto" else config.precision


def _cpu_has_bfloat16() -> bool:
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


def _check_model(model: nn.Module, train: EncodedExamples) -> None:
    if holds_packed_layers(model):
        raise UnsupportedModelError(
            "the model holds INT8 layers, which cannot be trained: train first, then quantize"
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UnsupportedModelError("the model has no parameters to train: it is compiled, or frozen")
    halved = next((one for one in model.named_parameters() if _is_trained_in_half(one[1])), None)
    if halved is not None:
        raise UnsupportedModelError(
            f"{halved[0]} is {str(halved[1].dtype).removeprefix('torch.')}, and weights are trained in float32, so "
            "that small steps are not lost: call model.float() first; TrainConfig.precision is that of the products"
        )
    outputs = getattr(getattr(model, "config", None), "num_labels", train.task.num_labels)
    if outputs != train.task.num_labels:
        raise ConfigError(
            f"the model gives {outputs} outputs; {train.task.name} needs {train.task.num_labels}"
        )


def _is_trained_in_half(parameter: nn.Parameter) -> bool:
    return parameter.requires_grad and parameter.dtype in (torch.float16, torch.bfloat16)


def _check_examples(name: str, encoded: EncodedExamples, config: TrainConfig, labelled: bool) -> None:
    if not len(encoded):
        raise ConfigError(f"the {name} set holds no examples")
    longest = max(encoded.lengths)
    if config.fixed_length is not None and longest > config.fixed_length:
        raise ConfigError(
            f"fixed_length is {config.fixed_length}, and a text of the {name} set has {longest} tokens: encode with "
            f"max_length={config.fixed_length}"
        )
    if labelled:
        missing = next((index for index, feature in enumerate(encoded) if "labels" not in feature), None)
        if missing is not None:
            raise ConfigError(f"example {encoded.examples[missing].guid} of the {name} set has no label")
