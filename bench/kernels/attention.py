# SPDX-License-Identifier: MIT
"""Time of attention with INT8 products over its time with float32 ones, by length and head size.

usage: python -m bench.kernels.attention [--rounds 15]     (FASTFORMERS_ISA=avx2 for that instruction set)

What ``products="auto"`` decides by (``kMinInt8Tokens`` in csrc/ops/head_attention.cc): one length for every instruction
set and head size, because a sequence's bits must not depend on the CPU. Quantizing and packing count. One thread.
"""

from __future__ import annotations

import argparse
from functools import partial
from typing import Literal

import numpy as np

from bench.harness.markdown import table
from fastformers import kernels
from fastformers.measuring import interleave, paired_ratio, time_block

HEAD_SIZES = (26, 32, 64, 96, 128)
LENGTHS = (4, 8, 12, 16, 24, 32, 48, 64, 128, 512)
HEADS = 4
TOKENS = 512  # of a call, in sequences of one length, so that the call itself weighs little
PRODUCTS: tuple[Literal["int8", "float32"], ...] = ("int8", "float32")
BLOCK_SECONDS = 0.01


def ratio(length: int, size: int, rounds: int) -> str:
    """Median over the rounds of INT8 time / float32 time."""
    shape = (max(1, TOKENS // length), length, 3 * HEADS * size)
    qkv = np.random.default_rng(0).standard_normal(shape).astype(np.float32)

    def seconds(products: Literal["int8", "float32"], _: int) -> float:
        call = partial(kernels.attention, qkv, HEADS, products=products, threads=1)
        return time_block(call, BLOCK_SECONDS)

    times = interleave({name: partial(seconds, name) for name in PRODUCTS}, rounds)
    return f"{paired_ratio(times['int8'], times['float32']).median:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    rows = [[str(size), *(ratio(length, size, options.rounds) for length in LENGTHS)] for size in HEAD_SIZES]
    print(f"Kernels: {kernels.active_isa()}")
    print(table(["head size", *(f"{length} tokens" for length in LENGTHS)], rows))


if __name__ == "__main__":
    main()
