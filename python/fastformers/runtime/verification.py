# SPDX-License-Identifier: MIT
"""Verifies an artefact on this machine: every file as written, golden outputs the same bits on every instruction set.

The kernels of all instruction sets give the same bits, and a sequence's result depends on that sequence alone, so the
golden outputs must come out exactly: the largest difference allowed is 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf, isfinite, isnan
from pathlib import Path
from typing import Any

from fastformers import kernels
from fastformers.kernels import NativeEncoder
from fastformers.runtime.artefact import pack_artefact
from fastformers.runtime.artefact_folder import EncoderArtefact, read_artefact
from fastformers.runtime.golden import Golden

__all__ = ["GoldenCheck", "Verification", "verify_artefact"]

#: The scalar kernels are a hundred times slower: without ``full`` they get the short sequences only.
_SCALAR_ISA = "reference"
_MOST_SCALAR_TOKENS = 32


@dataclass(frozen=True)
class GoldenCheck:
    """Golden sequences run one way.

    Attributes:
        isa: instruction set.
        batch: ``"together"`` or each sequence ``"alone"``.
        threads: thread count; 0 for the default.
        sequences: how many were run.
        tokens: their tokens.
        largest_difference: from the outputs noted when the artefact was saved; NaN where an output was NaN.
    """

    isa: str
    batch: str
    threads: int
    sequences: int
    tokens: int
    largest_difference: float

    @property
    def passed(self) -> bool:
        """Whether all outputs were the same."""
        return self.largest_difference == 0.0


@dataclass(frozen=True)
class Verification:
    """What was verified; :meth:`__str__` tells it to a person.

    Attributes:
        folder: of the artefact.
        written_by: package and version that wrote it.
        files: file name -> bytes; all of them have the SHA-256 noted.
        checks: golden outputs, one entry a way of running them.
    """

    folder: str
    written_by: str
    files: dict[str, int]
    checks: tuple[GoldenCheck, ...]

    @property
    def passed(self) -> bool:
        """Whether the golden outputs were reproduced in every way."""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """Returns plain JSON values; a difference that is not finite becomes ``None``."""
        checks = []
        for check in self.checks:
            difference = check.largest_difference
            finite = difference if isfinite(difference) else None
            checks.append({**asdict(check), "largest_difference": finite, "passed": check.passed})
        return {**asdict(self), "checks": checks, "passed": self.passed}

    def __str__(self) -> str:
        files = f"{len(self.files)} files, {sum(self.files.values()):,} bytes: SHA-256 as written"
        lines = [f"{self.folder} ({self.written_by})", f"  ok      {files}"]
        for check in self.checks:
            verdict = "ok    " if check.passed else "FAILED"
            way = f"{check.isa}, {check.batch}" + (f", {check.threads} thread(s)" if check.threads else "")
            size = f"{check.sequences} golden sequences, {check.tokens} tokens"
            lines.append(f"  {verdict}  {way}: {size}, largest difference {check.largest_difference:g}")
        return "\n".join(lines)


def verify_artefact(path: str | Path, *, full: bool = False) -> Verification:
    """Verifies an artefact of a compiled encoder; switches this process's instruction set while it runs.

    Args:
        path: the folder.
        full: also run every sequence on the scalar kernels, each sequence alone, and with one thread and with all.

    Returns:
        What was verified. Golden outputs that differ are told in it, not raised.

    Raises:
        FormatError: a file is missing, damaged, changed, of a newer format, or does not fit the plan.

    Example:
        >>> verify_artefact("my-encoder").passed
        True
    """
    artefact = read_artefact(path, verify="full")
    checks = [check for isa in kernels.available_isas() for check in _checks_under(artefact, isa, full)]
    manifest = artefact.manifest
    sizes = {name: entry.bytes for name, entry in manifest.files.items()}
    return Verification(str(path), manifest.written_by, sizes, tuple(checks))


def _checks_under(artefact: EncoderArtefact, isa: str, full: bool) -> list[GoldenCheck]:
    golden = artefact.golden
    sequences = [
        index
        for index, length in enumerate(golden.lengths)
        if full or isa != _SCALAR_ISA or length <= _MOST_SCALAR_TOKENS or index == 0
    ]
    with kernels.use_isa(isa):
        native = pack_artefact(artefact)
        checks = [_check(golden, native, isa, sequences, together=True, threads=0)]
        if full:
            checks.append(_check(golden, native, isa, sequences, together=False, threads=1))
            everyone = kernels.default_threads()
            checks.append(_check(golden, native, isa, sequences, together=True, threads=everyone))
    return checks


def _check(
    golden: Golden, native: NativeEncoder, isa: str, sequences: Sequence[int], *, together: bool, threads: int
) -> GoldenCheck:
    batches = [list(sequences)] if together else [[index] for index in sequences]
    differences = [golden.largest_difference(golden.run(native, batch, threads), batch) for batch in batches]
    largest = max(differences, key=lambda value: inf if isnan(value) else value)
    tokens = sum(golden.lengths[index] for index in sequences)
    return GoldenCheck(isa, "together" if together else "alone", threads, len(sequences), tokens, largest)
