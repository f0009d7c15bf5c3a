# SPDX-License-Identifier: MIT
"""Options that several verbs have, in the same words."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

__all__ = ["Overwrite"]

Overwrite: TypeAlias = Annotated[bool, typer.Option("--overwrite", help="Replace a model saved in OUT.")]
