# SPDX-License-Identifier: MIT
"""The checksum finds every changed bit and byte, wherever it is, and blocks that moved."""

from __future__ import annotations

import hashlib
import random

import pytest

from fastformers.files.digests import checksum_of, sha256_of

BLOCK = 1 << 20
SIZES = [1, 7, 8, 9, 1_000, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 13]


@pytest.mark.parametrize("size", [0, *SIZES])
def test_sha256_is_sha256(size: int) -> None:
    content = random.Random(size).randbytes(size)
    assert sha256_of(content) == hashlib.sha256(content).hexdigest()
    assert checksum_of(content) == checksum_of(memoryview(content))


@pytest.mark.parametrize("size", SIZES)
def test_a_changed_bit_or_byte_is_found_anywhere(size: int) -> None:
    draw = random.Random(size)
    content = bytearray(draw.randbytes(size))
    before = checksum_of(bytes(content))
    for place in {0, size - 1, *(draw.randrange(size) for _ in range(20))}:
        old = content[place]
        content[place] = old ^ 1 << draw.randrange(8)
        assert checksum_of(bytes(content)) != before
        content[place] = old
    assert checksum_of(bytes(content)) == before


def test_other_lengths_and_moved_blocks_are_found() -> None:
    one, two = (random.Random(seed).randbytes(BLOCK) for seed in (1, 2))
    different = [
        one + two,
        two + one,
        one,
        two,
        one + two + b"\0",
        b"",
        b"\0",
        b"\0\0",
        bytes(8),
        bytes(BLOCK),
    ]
    assert len({checksum_of(content) for content in different}) == len(different)
