# SPDX-License-Identifier: MIT
"""Batches of token ids for exported graphs, and the time that sessions take for one, rounds interleaved."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastformers.measuring import Spread, interleave, spread, time_block

_SECONDS = 0.2

Ids = NDArray[np.int64]


def random_batch(lengths: Sequence[int], vocabulary: int) -> tuple[Ids, Ids]:
    """Token ids of texts of these lengths, padded at the right, and their mask."""
    ids = np.random.default_rng(0).integers(1000, vocabulary, (len(lengths), max(lengths)))
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    return ids * mask, mask


def fed(session: Any, ids: Any, mask: Any = None) -> dict[str, Ids]:
    """What a session reads: no mask keeps every token, and types are 0."""
    kept = np.ones_like(ids) if mask is None else mask
    values = {"input_ids": ids, "attention_mask": kept, "token_type_ids": np.zeros_like(ids)}
    return {entry.name: values[entry.name].astype(np.int64) for entry in session.get_inputs()}


def milliseconds(sessions: dict[str, Any], ids: Ids, mask: Ids, rounds: int) -> dict[str, Spread]:
    """Row -> time for the last hidden state of all tokens."""

    def reading(session: Any) -> Callable[[int], float]:
        inputs = fed(session, ids, mask)
        return lambda _: time_block(lambda: session.run(["last_hidden_state"], inputs), _SECONDS)

    taken = interleave({name: reading(session) for name, session in sessions.items()}, rounds)
    return {name: spread(seconds).scaled(1e3) for name, seconds in taken.items()}
