# SPDX-License-Identifier: MIT
"""``python -m fastformers``: the command line without the installed script."""

from __future__ import annotations

from fastformers.cli import main

if __name__ == "__main__":
    main()
