# SPDX-License-Identifier: MIT
"""Two digests of a file's bytes: SHA-256 against deliberate change, and a checksum at the speed of memory.

SHA-256 takes 0.2 to 2 s for the weights of a base model, as long as all the rest of loading them or longer. The
checksum (sums of 64-bit words, 1 MiB at a time, modulo 2^64) finds any one changed word of a block, a missing, added or
moved block, and takes a few hundredths of a second.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

__all__ = ["checksum_of", "sha256_of", "sha256_of_file"]

_BLOCK_BYTES = 1 << 20


def sha256_of(content: bytes | memoryview) -> str:
    """Returns the SHA-256 of the bytes as 64 hexadecimal digits."""
    digest = hashlib.sha256()
    for block in _blocks(content):
        digest.update(block)
    return digest.hexdigest()


def sha256_of_file(file: Path) -> str:
    """Returns the SHA-256 of a file's content as 64 hexadecimal digits; it is read block by block."""
    digest = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def checksum_of(content: bytes | memoryview) -> str:
    """Returns the checksum of the bytes as 64 hexadecimal digits: the SHA-256 of the blocks' sums and the size."""
    sums = [int(np.add.reduce(_words(block))) for block in _blocks(content)]
    return hashlib.sha256(np.array([*sums, len(content)], dtype="<u8").tobytes()).hexdigest()


def _blocks(content: bytes | memoryview) -> Iterator[memoryview]:
    view = memoryview(content)
    for start in range(0, len(view), _BLOCK_BYTES):
        yield view[start : start + _BLOCK_BYTES]


def _words(block: memoryview) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """Little-endian 64-bit words, the last one filled up with zeros."""
    whole = block if len(block) % 8 == 0 else bytes(block) + bytes(-len(block) % 8)
    return np.frombuffer(whole, dtype="<u8")
