# SPDX-License-Identifier: MIT
"""The same call on several threads at once."""

from __future__ import annotations

import threading
from collections.abc import Callable


def call_on_threads(call: Callable[[int], None], count: int) -> None:
    """Runs ``call(0)`` to ``call(count - 1)``, a thread each, and requires that all come to an end."""
    threads = [threading.Thread(target=call, args=(index,)) for index in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert not any(thread.is_alive() for thread in threads)
