# SPDX-License-Identifier: MIT
"""Keeps transformers from printing while a model is loaded: progress bars, and reports of weights that a head lacks.

What matters in them our own loaders check and say. Nothing of the user's own settings is changed for longer than that,
and one who asked transformers for more than its default is not kept from it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

__all__ = ["quiet_loading"]


@contextmanager
def quiet_loading() -> Iterator[None]:
    """Silences transformers inside the block; it must be installed. Settings are of the process, not of a thread.

    Left alone: a verbosity that shows more than warnings, and progress bars where ``HF_HUB_DISABLE_PROGRESS_BARS`` says
    something about them.

    Example:
        >>> with quiet_loading():  # doctest: +SKIP
        ...     model = AutoModel.from_pretrained(folder)
    """
    logging: Any = import_module("transformers.utils.logging")
    with _without_reports(logging), _without_bars(logging):
        yield


@contextmanager
def _without_reports(logging: Any) -> Iterator[None]:
    before = logging.get_verbosity()
    if before != logging.WARNING:
        yield
        return
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(before)


@contextmanager
def _without_bars(logging: Any) -> Iterator[None]:
    if "HF_HUB_DISABLE_PROGRESS_BARS" in os.environ or not logging.is_progress_bar_enabled():
        yield
        return
    # transformers' switch turns that of the hub's client too, and forgets its settings for single groups of bars.
    groups: dict[str, bool] = getattr(import_module("huggingface_hub.utils.tqdm"), "progress_bar_states", {})
    before = dict(groups)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.enable_progress_bar()
        groups.clear()
        groups.update(before)
