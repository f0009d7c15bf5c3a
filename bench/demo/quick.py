# SPDX-License-Identifier: MIT
"""The demo's ladder with a trace of its training and few texts: every step runs, no answer is worth anything.

usage: python -m bench.demo.quick --folder DIR --json FILE --picture FILE
"""

from __future__ import annotations

import argparse
import re
import sys
from importlib.resources import files
from pathlib import Path

from fastformers.benchmarking.demo import run_demo

EPOCHS = 0.1


def main() -> int:
    """Command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name in ("folder", "json", "picture"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    recipe = options.folder / "recipe.toml"
    full = (files("fastformers") / "data" / "demo_recipe.toml").read_text(encoding="utf-8")
    recipe.write_text(re.sub(r"^epochs = .*$", f"epochs = {EPOCHS}", full, flags=re.MULTILINE), "utf-8")
    run_demo(
        folder=options.folder,
        json_path=options.json,
        picture_path=options.picture,
        quick=True,
        recipe=recipe,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
