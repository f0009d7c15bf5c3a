# SPDX-License-Identifier: MIT
"""All tasks by name."""

from __future__ import annotations

from difflib import get_close_matches

from fastformers.errors import ConfigError
from fastformers.tasks.custom import CUSTOM
from fastformers.tasks.glue import GLUE
from fastformers.tasks.superglue import SUPERGLUE
from fastformers.tasks.task import Task

__all__ = ["TASK_NAMES", "get_task"]

_TASKS = {task.name: task for task in (*SUPERGLUE, *GLUE)}
_OFFICIAL = {task.files.folder.lower(): task for task in (*GLUE, *SUPERGLUE)}  # of RTE, SuperGLUE's

#: Names that :func:`get_task` knows.
TASK_NAMES: tuple[str, ...] = tuple(_TASKS)


def get_task(name: str) -> Task:
    """Returns an official task.

    Args:
        name: one of :data:`TASK_NAMES`, e.g. ``"boolq"``, or the official name of its folder, e.g. ``"SST-2"``; case
            does not matter. ``"rte"`` is SuperGLUE's, ``"rte-glue"`` GLUE's.

    Raises:
        ConfigError: no such task; names close matches.

    Example:
        >>> get_task("boolq").labels
        ('True', 'False')
    """
    task = _TASKS.get(name.lower()) or _OFFICIAL.get(name.lower())
    if task is not None:
        return task
    if name == CUSTOM:
        raise ConfigError(
            "a task of your own has no name, since its labels are those of its files: leave the task out and give the "
            "folder alone (in Python, custom_task(folder) makes one)"
        )
    close = get_close_matches(name.lower(), TASK_NAMES, n=3)
    hint = f"did you mean {', '.join(close)}?" if close else f"known: {', '.join(TASK_NAMES)}"
    raise ConfigError(f"there is no task {name!r}; {hint}")
