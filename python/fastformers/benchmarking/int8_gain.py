# SPDX-License-Identifier: MIT
"""How much faster INT8 products are than float32 ones on this CPU, and a note where they are hardly faster.

Apart from the facts of :mod:`fastformers.benchmarking.machine`, as it is a measurement: facts are compared to tell
whether two measurements are of the same machine, and a measured number is never twice the same.
"""

from __future__ import annotations

__all__ = ["int8_note", "int8_over_float32"]

# Below this INT8 engines of MiniLM took as long as float32 ones (1.0 on a Zen 1, all within 2 %).
_LEAST_GAIN = 1.2
_READING = 0.015  # seconds


def int8_over_float32(isa: str) -> float | None:
    """Measures INT8 operations that a core does for each float32 one, in a tenth of a second.

    Other load only lowers a reading, so each is the best of three.

    Args:
        isa: a kernel path that this CPU can run, see :func:`fastformers.kernels.available_isas`.

    Returns:
        The ratio of the path's two ceilings; ``None`` for the reference path, which has none.

    Raises:
        ValueError: this CPU has no such path.

    Example:
        >>> int8_over_float32("reference") is None
        True
    """
    from fastformers import kernels

    if isa == "reference":
        return None
    int8, float32 = (
        max(ceiling(isa, seconds=_READING) for _ in range(3))
        for ceiling in (kernels.ceiling_gops, kernels.ceiling_gflops)
    )
    return round(int8 / float32, 2)


def int8_note() -> str | None:
    """Says so where the path in use has hardly faster INT8 products than float32 ones, so that nobody expects them.

    Returns:
        A sentence, or ``None`` where INT8 products are faster.
    """
    from fastformers import kernels

    isa = kernels.active_isa()
    ratio = int8_over_float32(isa)
    if ratio is None or ratio >= _LEAST_GAIN:
        return None
    return (
        f"INT8 products run at {ratio:.1f} times the rate of float32 ones on this CPU ({isa}, measured): "
        "here INT8 saves memory and hardly any time; distilling, pruning and leaving out padding save time"
    )
