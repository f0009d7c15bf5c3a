# SPDX-License-Identifier: MIT
"""The command line inside the test's own process."""

from __future__ import annotations

import pytest

from fastformers.cli import main


def exit_status(*arguments: object) -> int:
    """Runs ``fastformers`` with these arguments and returns what it exits with."""
    with pytest.raises(SystemExit) as stopped:
        main([str(argument) for argument in arguments])
    assert isinstance(stopped.value.code, int)
    return stopped.value.code
