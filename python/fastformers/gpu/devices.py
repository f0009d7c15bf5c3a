# SPDX-License-Identifier: MIT
"""What there is to know about the device that a model is on: which GPU, how much memory a call takes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from fastformers.errors import DeviceError

__all__ = ["PeakMemory", "check_cuda", "device_facts", "device_of"]


def device_of(model: nn.Module) -> torch.device:
    """The device of a model's parameters.

    Raises:
        DeviceError: they are on several devices.
    """
    devices = {parameter.device for parameter in model.parameters()}
    if len(devices) != 1:
        named = ", ".join(sorted(map(str, devices))) or "none"
        raise DeviceError(f"the model's parameters are on these devices: {named}; move it to one")
    return devices.pop()


def check_cuda() -> None:
    """Checks that torch can use a GPU.

    Raises:
        DeviceError: says whether torch was built without CUDA or found no GPU.
    """
    if torch.cuda.is_available():
        return
    if torch.version.cuda is None:
        raise DeviceError(
            f"device is 'cuda', and torch {torch.__version__} was built without CUDA: install a CUDA build of torch"
        )
    raise DeviceError(
        "device is 'cuda', and torch sees no GPU: look at nvidia-smi and CUDA_VISIBLE_DEVICES, or use a CPU"
    )


def device_facts(device: torch.device) -> dict[str, Any]:
    """Names a device, for reports.

    Args:
        device: a GPU or the CPU.

    Returns:
        JSON values: ``type``; of a GPU also ``name``, ``memory_bytes``, ``capability`` ("9.0"), ``cuda`` and ``tf32``,
        whether float32 products may be rounded to TF32.
    """
    if device.type != "cuda":
        return {"type": device.type}
    properties = torch.cuda.get_device_properties(device)
    return {
        "type": "cuda",
        "name": properties.name,
        "memory_bytes": properties.total_memory,
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }


class PeakMemory:
    """The most scratch memory that a GPU held inside ``with`` blocks, over what it held when each began.

    Args:
        device: a CPU counts nothing.

    Attributes:
        scratch_bytes: the largest over the blocks so far.
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.scratch_bytes = 0

    def __enter__(self) -> PeakMemory:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
        return self

    def __exit__(self, *_: object) -> None:
        if self._device.type == "cuda":
            peak = torch.cuda.max_memory_allocated(self._device)
            self.scratch_bytes = max(self.scratch_bytes, peak - self._before)
