# SPDX-License-Identifier: MIT
"""Energy counters of NVIDIA GPUs (NVML): joules of all GPUs that this process may see, not of the processor."""

from __future__ import annotations

from typing import Any

from fastformers._optional import how_to_install, require
from fastformers.benchmarking.energy.reading import UnavailableError
from fastformers.counted import counted
from fastformers.errors import MissingExtraError

__all__ = ["NvmlSource"]

_MILLIJOULES = 1e-3


class NvmlSource:
    """Joules of all visible GPUs since the source was made.

    Args:
        library: the module ``pynvml``; imported when ``None``.

    Raises:
        UnavailableError: the package is missing, there is no driver or GPU, or the GPU is too old to count.
    """

    polled = False

    def __init__(self, library: Any | None = None) -> None:
        try:
            self._nvml = library or require("pynvml", "energy", "reading a GPU's energy")
        except MissingExtraError as error:
            raise UnavailableError(f"nvidia-ml-py is not installed: {how_to_install('energy')}") from error
        try:
            self._nvml.nvmlInit()
            count = self._nvml.nvmlDeviceGetCount()
            self._devices = [self._nvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
            self._first = self._total()
        except self._nvml.NVMLError as error:
            raise UnavailableError(f"no GPU whose energy can be read: {error}") from error
        if not self._devices:
            raise UnavailableError("no NVIDIA GPU is visible to this process")

    def joules(self) -> float:
        """Returns joules since the source was made."""
        return (self._total() - self._first) * _MILLIJOULES

    def detail(self) -> str:
        """Says how many GPUs are counted."""
        return f"counters of {counted(len(self._devices), 'GPU')}; the processor is not counted"

    def _total(self) -> int:
        return sum(int(self._nvml.nvmlDeviceGetTotalEnergyConsumption(device)) for device in self._devices)
