# SPDX-License-Identifier: MIT
"""From ``instances="auto", threads="auto"`` to numbers."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from fastformers import kernels
from fastformers.errors import ConfigError
from fastformers.runtime.tuning import Arrangement, Goal, Tuning

__all__ = ["DEFAULT_BATCH_TOKENS", "Count", "arrange"]

Count: TypeAlias = "int | Literal['auto']"

#: Enough rows to use the matmul's tiles fully; more only delays what waits behind.
DEFAULT_BATCH_TOKENS = 1024
_MOST = 1024


def arrange(
    instances: Count, threads: Count, batch_tokens: Count, tuning: Tuning | None, goal: Goal
) -> Arrangement:
    """Fills in what is ``"auto"``.

    With all three on ``"auto"``, a tuning made on a machine with as many cores decides. Otherwise one thread for each
    instance and one instance for each core (:func:`fastformers.kernels.default_threads`): two instances compute two
    texts in less time than two threads compute one after the other, because nothing is waited for in between. A number
    given for one of the two leaves the other what remains of the cores.

    Raises:
        ConfigError: a number is out of range, or there is no such goal.
    """
    for name, value in (("instances", instances), ("threads", threads)):
        _check(name, value, _MOST)
    _check("batch_tokens", batch_tokens, 1 << 20)
    if goal not in get_args(Goal):
        raise ConfigError(f"goal is {goal!r}; allowed: {', '.join(map(repr, get_args(Goal)))}")
    cores = kernels.default_threads()
    automatic = all(value == "auto" for value in (instances, threads, batch_tokens))
    if automatic and tuning is not None and tuning.cores == cores:
        return tuning.throughput if goal == "throughput" else tuning.latency
    given_instances = instances if isinstance(instances, int) else None
    given_threads = threads if isinstance(threads, int) else None
    if given_threads is None:
        given_threads = 1 if given_instances is None else max(1, cores // given_instances)
    return Arrangement(
        instances=given_instances or max(1, cores // given_threads),
        threads=given_threads,
        batch_tokens=batch_tokens if isinstance(batch_tokens, int) else DEFAULT_BATCH_TOKENS,
    )


def _check(name: str, value: object, most: int) -> None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= most
    if value != "auto" and not is_count:
        raise ConfigError(f"{name} is {value!r}; allowed: 'auto' or a whole number from 1 to {most}")
