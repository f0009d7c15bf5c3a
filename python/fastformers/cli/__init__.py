# SPDX-License-Identifier: MIT
"""The ``fastformers`` command: each verb parses its arguments, makes one call and prints the result."""

from fastformers.cli.app import main

__all__ = ["main"]
