# SPDX-License-Identifier: MIT
"""A recipe with a search whose teacher and students are trained for one step each."""

from __future__ import annotations

__all__ = ["search_recipe"]


def search_recipe(max_length: int, depth: list[int]) -> str:
    """Returns the recipe's text: as many trials as depths; its model ``base`` is for the caller to give."""
    return f"""
[recipe]
max_length = {max_length}
[models]
base = ""
[[stage]]
name = "teacher"
kind = "train"
model = "base"
max_steps = 1
[search]
teacher = "teacher"
student = "base"
depth = {depth}
trials = {len(depth)}
max_steps = 1
"""
