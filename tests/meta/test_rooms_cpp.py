# SPDX-License-Identifier: MIT
"""C++ includes point one way. The table in csrc/README.md is the rule for our own headers; this file reads it.

A row is ``| room | may include | what is in it |``, with the rooms of the second column separated by commas.
System headers that matter have their rule here.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"(?P<ours>[^"]+)"|<(?P<system>[^>]+)>)', re.MULTILINE)

# Headers that show what a room does; only these rooms may do it.
GUARDED_HEADERS = {
    re.compile(r"\w*mmintrin\.h|x86intrin\.h"): re.compile(r"kernels/(?!reference$)\w+"),
    re.compile(r"cpuid\.h"): re.compile(r"cpu"),
    re.compile(r"pybind11/.*|Python\.h"): re.compile(r"bindings"),
    re.compile(r"onnxruntime\w*\.h"): re.compile(r"ort"),
}

# Kernels neither allocate nor throw, and what an instruction set's folder takes from other headers of the standard
# library could become weak symbols compiled for that instruction set.
KERNEL_FOLDER = re.compile(r"kernels/\w+")
KERNEL_SYSTEM_HEADERS = {"cmath", "cstddef", "cstdint", "cstring", "immintrin.h"}
CLOSED_TO_KERNELS = {"kernels/registry.h"}
OPEN_TO_KERNELS_IN_BASE = {"base/dcheck.h"}

Table = dict[str, set[str]]


def read_table(markdown: str) -> Table:
    """Reads room -> rooms it may include."""
    table: Table = {}
    for line in markdown.splitlines():
        cells = [cell.strip(" `") for cell in line.strip().strip("|").split("|")]
        if line.startswith("|") and len(cells) == 3 and re.fullmatch(r"[a-z][\w/]*", cells[0]):
            table[cells[0]] = {word for cell in cells[1].split(",") if (word := cell.strip(" `"))}
    table.pop("room", None)
    return table


def wrong_include_of_ours(name: str, room: str, allowed: set[str]) -> str | None:
    target = str(Path(name).parent)
    if target == room:
        return None
    if target not in allowed:
        return f"{room} may not include {target}: {name}"
    closed = name in CLOSED_TO_KERNELS or (target == "base" and name not in OPEN_TO_KERNELS_IN_BASE)
    return f"kernels may not include {name}" if KERNEL_FOLDER.fullmatch(room) and closed else None


def wrong_system_include(name: str, room: str) -> str | None:
    for header, rooms in GUARDED_HEADERS.items():
        if header.fullmatch(name) and not rooms.fullmatch(room):
            return f"{room} may not include <{name}>"
    if KERNEL_FOLDER.fullmatch(room) and name not in KERNEL_SYSTEM_HEADERS:
        return f"kernels may not include <{name}>"
    return None


def violations_in(source: str, room: str, table: Table) -> list[str]:
    found = [
        wrong_include_of_ours(include["ours"], room, table[room])
        if include["ours"] is not None
        else wrong_system_include(include["system"], room)
        for include in INCLUDE.finditer(source)
    ]
    return [violation for violation in found if violation is not None]


@pytest.fixture(scope="module")
def csrc(repository: Path) -> Path:
    return repository / "csrc"


@pytest.fixture(scope="module")
def table(csrc: Path) -> Table:
    return read_table((csrc / "README.md").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def sources(csrc: Path) -> list[Path]:
    return sorted([*csrc.rglob("*.h"), *csrc.rglob("*.cc")])


def room_of(path: Path, csrc: Path) -> str:
    return path.parent.relative_to(csrc).as_posix()


def test_table_and_folders_agree(table: Table, sources: list[Path], csrc: Path) -> None:
    assert table.keys() == {room_of(path, csrc) for path in sources}


def test_includes_point_one_way(table: Table, sources: list[Path], csrc: Path) -> None:
    found = [
        f"{path.relative_to(csrc)}: {violation}"
        for path in sources
        for violation in violations_in(path.read_text(encoding="utf-8"), room_of(path, csrc), table)
    ]
    assert not found, "\n".join(found)


def test_our_headers_are_named_from_the_root(sources: list[Path], csrc: Path) -> None:
    named = {
        include["ours"]
        for path in sources
        for include in INCLUDE.finditer(path.read_text(encoding="utf-8"))
        if include["ours"] is not None
    }
    assert {name for name in named if not (csrc / name).is_file()} == set()


def test_every_header_is_guarded_against_double_inclusion(sources: list[Path]) -> None:
    assert [p.name for p in sources if p.suffix == ".h" and "#pragma once" not in p.read_text("utf-8")] == []


EXAMPLE = """
| room | may include | what is in it |
|---|---|---|
| base | | views |
| kernels | base | the contract |
| `kernels/avx2` | `base`, kernels | one instruction set |
| ops | base, kernels | ... |

| word | means |
|---|---|
| tile | not a room |
"""


def test_table_is_read_whatever_its_quotes() -> None:
    assert read_table(EXAMPLE) == {
        "base": set(),
        "kernels": {"base"},
        "kernels/avx2": {"base", "kernels"},
        "ops": {"base", "kernels"},
    }


@pytest.mark.parametrize(
    ("room", "line", "count"),
    [
        ("ops", '#include "base/check.h"', 0),
        ("ops", '#include "ops/linear.h"', 0),
        ("ops", '#include "kernels/registry.h"', 0),
        ("ops", '#include "kernels/avx2/vec_math.h"', 1),
        ("ops", "#include <immintrin.h>", 1),
        ("ops", "#include <vector>", 0),
        ("ops", "#include <pybind11/numpy.h>", 1),
        ("ops", "#include <cpuid.h>", 1),
        ("base", '#include "ops/linear.h"', 1),
        ("kernels/avx2", '#include "base/dcheck.h"', 0),
        ("kernels/avx2", '#include "base/check.h"', 1),
        ("kernels/avx2", '#include "kernels/kernel_table.h"', 0),
        ("kernels/avx2", '#include "kernels/registry.h"', 1),
        ("kernels/avx2", "#include <immintrin.h>", 0),
        ("kernels/avx2", "#  include <vector>", 1),
    ],
)
def test_the_check_sees_a_wrong_include(room: str, line: str, count: int) -> None:
    assert len(violations_in(line, room, read_table(EXAMPLE))) == count
