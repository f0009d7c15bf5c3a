# SPDX-License-Identifier: MIT
"""Keeps the process small while a model is converted: gives pages back to the system."""

from __future__ import annotations

import ctypes
import mmap
from pathlib import Path

from torch import Tensor

__all__ = ["page_out", "return_freed_pages"]

_MADV_PAGEOUT = 21


def return_freed_pages() -> None:
    """Asks the C library to give freed memory back to the system.

    What lives long (samples, packed weights) lies between what is freed soon (activations, float weights), so the heap
    would only grow: observing BERT-base took 220 MB more without it, and the swapped weights were never returned.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def page_out(tensor: Tensor) -> None:
    """Drops the pages of a tensor that is mapped from a file, as checkpoints are; they are read again when touched.

    The mapping of a whole checkpoint lives as long as any tensor in it, and its pages count as the process's memory.
    Pages that another process has mapped too stay: they are shared with it, and cost this one nothing.
    """
    start = tensor.data_ptr()
    first = -(-start // mmap.PAGESIZE) * mmap.PAGESIZE
    size = start + tensor.numel() * tensor.element_size() - first
    advise = getattr(ctypes.CDLL(None), "madvise", None)
    if advise is not None and size >= mmap.PAGESIZE and _is_file(first):
        advise(ctypes.c_void_p(first), ctypes.c_size_t(size // mmap.PAGESIZE * mmap.PAGESIZE), _MADV_PAGEOUT)


def _is_file(address: int) -> bool:
    """Whether an address lies in a mapping of a file, not in memory that would have to be written to swap."""
    try:
        mappings = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return False
    for mapping in mappings:
        fields = mapping.split(maxsplit=5)
        first, last = (int(bound, 16) for bound in fields[0].split("-"))
        if first <= address < last:
            return len(fields) == 6 and fields[5].startswith("/")
    return False
