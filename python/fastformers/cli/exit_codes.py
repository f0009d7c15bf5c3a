# SPDX-License-Identifier: MIT
"""What the command's exit status says, so that scripts can tell a missed gate from a bad file."""

from __future__ import annotations

from enum import IntEnum

from fastformers.errors import (
    CalibrationError,
    ConfigError,
    FastformersError,
    FormatError,
    GateError,
    IsaError,
    MissingExtraError,
    UnsupportedModelError,
)

__all__ = ["ExitCode", "exit_code_of"]


class ExitCode(IntEnum):
    """Exit statuses of every verb."""

    OK = 0
    FAILED = 1
    USAGE = 2
    GATE_FAILED = 3
    BAD_FILE = 4
    MISSING_EXTRA = 5


_CODE_OF_ERROR: tuple[tuple[type[FastformersError], ExitCode], ...] = (
    (GateError, ExitCode.GATE_FAILED),
    (FormatError, ExitCode.BAD_FILE),
    (UnsupportedModelError, ExitCode.BAD_FILE),
    (MissingExtraError, ExitCode.MISSING_EXTRA),
    (ConfigError, ExitCode.USAGE),
    (CalibrationError, ExitCode.USAGE),
    (IsaError, ExitCode.USAGE),
)


def exit_code_of(error: FastformersError) -> ExitCode:
    """Returns the exit status for an error; ``FAILED`` for one without a status of its own."""
    for kind, code in _CODE_OF_ERROR:
        if isinstance(error, kind):
            return code
    return ExitCode.FAILED
