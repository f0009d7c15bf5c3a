# SPDX-License-Identifier: MIT
"""C++ includes point one way. The table in csrc/README.md is the rule; this file only reads it.

A row is `| room | may include | what is in it |`. The backquoted words of the second column are rooms
(`base`), single headers of other rooms (`kernels/packed_layout.h`) or guarded system headers
(`<immintrin.h>`).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"(?P<ours>[^"]+)"|<(?P<system>[^>]+)>)', re.MULTILINE)

# Headers that only the rooms which name them may include.
GUARDED = re.compile(
    r"immintrin\.h|[a-z]mmintrin\.h|x86intrin\.h|cpuid\.h|pybind11/.*|Python\.h|onnxruntime.*"
)

# The folders of one instruction set each: what these headers define becomes weak symbols compiled for that
# instruction set, which the linker may keep for the whole program.
ISA_ROOM = re.compile(r"kernels/(?!reference$)\w+")
WEAK_SYMBOL_HEADERS = {
    "algorithm",
    "functional",
    "iostream",
    "memory",
    "sstream",
    "stdexcept",
    "string",
    "vector",
}

Table = dict[str, set[str]]


def read_table(markdown: str) -> Table:
    """Reads room -> words it may include."""
    table: Table = {}
    for line in markdown.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
        room = re.fullmatch(r"`([\w/]+?)/?`", cells[0])
        if line.lstrip().startswith("|") and len(cells) >= 3 and room:
            table[room[1]] = {word.strip("<>/") for word in re.findall(r"`([^`]+)`", cells[1])}
    return table


def violations_in(source: str, room: str, table: Table) -> list[str]:
    allowed = table[room] | {room}
    found = []
    for include in INCLUDE.finditer(source):
        ours, system = include["ours"], include["system"]
        if ours is not None and not {ours, str(Path(ours).parent)} & allowed:
            found.append(f"{room} may not include {ours}")
        if system is not None and GUARDED.fullmatch(system) and not names_guarded(system, allowed):
            found.append(f"{room} may not include <{system}>")
        if system in WEAK_SYMBOL_HEADERS and ISA_ROOM.fullmatch(room):
            found.append(f"{room} may not include <{system}>: it leaves weak symbols with vector code")
    return found


def names_guarded(header: str, allowed: set[str]) -> bool:
    return header in allowed or header.split("/")[0] in allowed


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
| `base` | the C++ standard library | views |
| `kernels/avx2` | `base/dcheck.h`, `<immintrin.h>` | one instruction set |
| `ops` | `base`, `kernels` | ... |
"""


@pytest.mark.parametrize(
    ("room", "line", "count"),
    [
        ("ops", '#include "base/check.h"', 0),
        ("ops", '#include "kernels/registry.h"', 0),
        ("ops", '#include "kernels/avx2/vec_math.h"', 1),
        ("ops", "#include <immintrin.h>", 1),
        ("ops", "#include <vector>", 0),
        ("base", '#include "ops/linear.h"', 1),
        ("kernels/avx2", '#include "base/dcheck.h"', 0),
        ("kernels/avx2", '#include "base/check.h"', 1),
        ("kernels/avx2", "#include <immintrin.h>", 0),
        ("kernels/avx2", "#include <vector>", 1),
    ],
)
def test_the_check_sees_a_wrong_include(room: str, line: str, count: int) -> None:
    assert len(violations_in(line, room, read_table(EXAMPLE))) == count
