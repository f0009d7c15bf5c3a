# SPDX-License-Identifier: MIT
"""Times a layer's float and INT8 versions on this machine, once per shape, and remembers the result.

A choice between two nearly equal versions must not change from run to run: times are cached in a JSON file in the
user's cache directory, keyed by everything they depend on, at row counts rounded to powers of two. The file may be
deleted at any time; one that is damaged is ignored and written anew.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastformers import __version__, kernels
from fastformers.files.replaced_file import replace_file
from fastformers.kernels import Activation
from fastformers.modules import PackedLinear

__all__ = ["LayerTiming", "TimingCache", "cache_directory", "row_buckets"]

#: Row counts to look at when no examples say which occur.
DEFAULT_ROWS = (32, 256)

_SECONDS_PER_SHAPE = 0.15
_SECONDS_PER_SAMPLE = 100e-6
_LEAST_ROUNDS = 5
_CACHE_FORMAT = 1


@dataclass(frozen=True)
class LayerTiming:
    """Time of one call of a layer, activation included.

    Attributes:
        rows: row count M it was measured at, a power of two.
        float_us: torch's float32 layer, microseconds.
        packed_us: :class:`PackedLinear`, microseconds.
        cached: taken from the cache instead of measured now.
    """

    rows: int
    float_us: float
    packed_us: float
    cached: bool = False

    @property
    def speedup(self) -> float:
        """How many times faster the INT8 version is."""
        return self.float_us / self.packed_us


def row_buckets(row_counts: list[int]) -> tuple[int, ...]:
    """The row counts to measure at: median and 90th percentile of those seen, as powers of two (nearest)."""
    seen = sorted(count for count in row_counts if count > 0)
    if not seen:
        return DEFAULT_ROWS
    picked = (seen[len(seen) // 2], seen[min(len(seen) - 1, len(seen) * 9 // 10)])
    return tuple(sorted({1 << max(0, round(_log2(count))) for count in picked}))


def cache_directory() -> Path:
    """Where times are kept: FASTFORMERS_CACHE_DIR, else XDG_CACHE_HOME/fastformers, else ~/.cache/fastformers."""
    own = os.environ.get("FASTFORMERS_CACHE_DIR")
    if own:
        return Path(own)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "fastformers"


class TimingCache:
    """Times of layer shapes on this machine, measured when they are first asked for.

    Args:
        threads: threads of both sides while measuring; None leaves the process as it is set up.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.notes: list[str] = []
        self._threads = threads
        self._path = cache_directory() / "timings.json"
        self._entries = self._read()

    def time_layer(
        self, linear: nn.Linear, activation: Activation | None, rows: int, per_tensor: bool
    ) -> LayerTiming:
        """Returns the times of a layer of this shape at ``rows`` rows.

        Args:
            linear: float32 layer; its values do not matter.
            activation: applied after it, fused into the INT8 version.
            rows: M.
            per_tensor: as in :class:`PackedLinear`.
        """
        key = self._key(linear, activation, rows, per_tensor)
        known = self._entries.get(key)
        if known is not None:
            return LayerTiming(rows, known["float_us"], known["packed_us"], cached=True)
        found = measure_layer(linear, activation, rows, per_tensor, self._threads)
        self._entries[key] = {"float_us": found.float_us, "packed_us": found.packed_us}
        self._write()
        return found

    def _key(self, linear: nn.Linear, activation: Activation | None, rows: int, per_tensor: bool) -> str:
        ours = self._threads or kernels.num_threads()
        theirs = self._threads or torch.get_num_threads()
        return "; ".join(
            (
                str(kernels.cpu_facts()["model"]),
                kernels.active_isa(),
                f"threads {ours}/{theirs}",
                f"torch {torch.__version__}",
                f"fastformers {__version__}",
                f"M {rows} N {linear.out_features} K {linear.in_features}",
                f"{activation or 'no activation'}, {'per tensor' if per_tensor else 'per token'}",
            )
        )

    def _read(self) -> dict[str, dict[str, float]]:
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            self.notes.append(f"timing cache not readable ({error}); times were measured anew")
            return {}
        try:
            return _checked_entries(json.loads(content))
        except (AttributeError, KeyError, TypeError, ValueError):
            self.notes.append(
                f"timing cache {self._path} was damaged and is ignored; times were measured anew"
            )
            return {}

    def _write(self) -> None:
        """Replaces the file in one step; a cache that cannot be written costs a note, nothing else."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            content = {"format": _CACHE_FORMAT, "entries": self._entries}
            replace_file(self._path, json.dumps(content, indent=1, sort_keys=True).encode())
        except OSError as error:
            note = (
                f"times could not be cached ({error}); a later run may choose differently near the threshold"
            )
            if note not in self.notes:
                self.notes.append(note)


def measure_layer(
    linear: nn.Linear, activation: Activation | None, rows: int, per_tensor: bool, threads: int | None
) -> LayerTiming:
    """Times both versions of a layer, interleaved, on random rows."""
    before = torch.get_num_threads(), kernels.num_threads()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(rows, linear.in_features, dtype=torch.float32, generator=generator)
    packed = PackedLinear(
        linear.in_features,
        linear.out_features,
        linear.bias is not None,
        activation=activation,
        per_tensor=per_tensor,
        input_factors=True,
    )  # all zeros: the kernels' speed does not depend on the values
    then = _ACTIVATIONS[activation]
    try:
        if threads is not None:
            torch.set_num_threads(threads)
            kernels.set_num_threads(threads)
        with torch.inference_mode():
            float_us, packed_us = _interleaved(lambda: then(linear(x)), lambda: packed(x), _clock())
    finally:
        torch.set_num_threads(before[0])
        kernels.set_num_threads(before[1])
    return LayerTiming(rows, float_us, packed_us)


def _unchanged(x: Tensor) -> Tensor:
    return x


def _gelu_tanh(x: Tensor) -> Tensor:
    return F.gelu(x, approximate="tanh")


_ACTIVATIONS: dict[Activation | None, Callable[[Tensor], Tensor]] = {
    None: _unchanged,
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_tanh": _gelu_tanh,
}


def _clock() -> Callable[[], float]:
    """Seconds: of this thread's CPU time where it does all the work, so that other processes do not count."""
    alone = torch.get_num_threads() == kernels.num_threads() == 1
    return time.thread_time if alone else time.perf_counter


def _interleaved(
    first: Callable[[], Tensor], second: Callable[[], Tensor], clock: Callable[[], float]
) -> tuple[float, float]:
    """Microseconds of a call of each, measured in turn so that both see the same machine.

    The lower quartile of the samples: interruptions only ever add time, and a choice is kept for good.
    """
    calls = (first, second)
    repetitions = [_repetitions(call, clock) for call in calls]
    samples: tuple[list[float], list[float]] = ([], [])
    deadline = time.perf_counter() + _SECONDS_PER_SHAPE
    while len(samples[0]) < _LEAST_ROUNDS or time.perf_counter() < deadline:
        for call, count, found in zip(calls, repetitions, samples, strict=True):
            found.append(_seconds(call, count, clock) * 1e6)
    low = [quantiles(found, n=4)[0] for found in samples]
    return low[0], low[1]


def _repetitions(call: Callable[[], Tensor], clock: Callable[[], float]) -> int:
    call()
    return max(1, round(_SECONDS_PER_SAMPLE / max(_seconds(call, 2, clock), 1e-9)))


def _seconds(call: Callable[[], Tensor], count: int, clock: Callable[[], float]) -> float:
    start = clock()
    for _ in range(count):
        call()
    return (clock() - start) / count


def _checked_entries(content: Any) -> dict[str, dict[str, float]]:
    if not isinstance(content, Mapping) or content["format"] != _CACHE_FORMAT:
        raise ValueError("another format")
    entries: dict[str, dict[str, float]] = {}
    for key, entry in content["entries"].items():
        times = {name: float(entry[name]) for name in ("float_us", "packed_us")}
        if not all(0 < value < 1e12 for value in times.values()):
            raise ValueError("a time out of range")
        entries[str(key)] = times
    return entries


def _log2(count: int) -> float:
    whole = count.bit_length() - 1
    return whole + (count / (1 << whole) - 1)
