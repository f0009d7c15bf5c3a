# SPDX-License-Identifier: MIT
"""Who takes part in a comparison: a name, the file that runs it, what must be installed, and its options.

A contestant's file is imported in its own process only, so that no library sees another one's threads or settings.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from fastformers._optional import how_to_install

__all__ = ["Contestant", "by_name", "split_by_presence"]


@dataclass(frozen=True)
class Contestant:
    """One row of a comparison.

    Attributes:
        name: how tables call it.
        module: dotted name of the file that runs it.
        packages: what must be installed.
        extra: extra of fastformers that installs them.
        options: passed to the file's function.
        environment: environment variables of its process, e.g. a cap on the instruction set.
    """

    name: str
    module: str
    packages: tuple[str, ...]
    extra: str
    options: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def missing(self) -> str:
        """Says which packages are absent and how to get them; empty when none is."""
        absent = [package for package in self.packages if find_spec(package) is None]
        return f"{' and '.join(absent)} not installed: {how_to_install(self.extra)}" if absent else ""

    def load(self) -> ModuleType:
        """Imports the contestant's file."""
        return import_module(self.module)

    def inference(self) -> AbstractContextManager[object]:
        """Returns the context in which a user serves with this library: torch's inference mode, or none."""
        if "torch" not in self.packages:
            return nullcontext()
        context: AbstractContextManager[object] = import_module("torch").inference_mode()
        return context


def by_name(contestants: Iterable[Contestant], name: str) -> Contestant:
    """Returns the contestant of that name.

    Raises:
        ValueError: no such contestant.
    """
    known = list(contestants)
    for contestant in known:
        if contestant.name == name:
            return contestant
    raise ValueError(f"unknown contestant {name!r}: choose among {', '.join(c.name for c in known)}")


def split_by_presence(wanted: Sequence[Contestant]) -> tuple[list[Contestant], dict[str, str]]:
    """Splits contestants into those whose packages are installed and, with the remedy, those that are not."""
    missing = {contestant.name: remedy for contestant in wanted if (remedy := contestant.missing())}
    return [contestant for contestant in wanted if contestant.name not in missing], missing
