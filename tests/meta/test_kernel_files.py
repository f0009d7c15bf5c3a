# SPDX-License-Identifier: MIT
"""A kernel's file says what it computes and what limits it; its registers say what they hold."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ISA_FOLDERS = ("avx2", "avx512vnni")
HEADINGS = ("Computes", "Layout", "Registers", "Bound")
HEADING_LINES = 60

# A variable, parameter, member or array of a vector type; not a function's return type, a cast, or a reference
# to an element of an array (which has the full name).
VECTOR_VARIABLE = re.compile(r"\b__m(?:128|256|512)[id]?\s+(?P<name>\w+)\b(?!\s*[(:])")
VECTOR_NAME = re.compile(r"\w+_(?:u8|s8|i8|i16|s16|i32|s32|u32|f32)x\d+")


def is_kernel(path: Path) -> bool:
    """The table of a folder's functions has no loop of its own to describe."""
    return path.name != "table.cc"


def kernel_files(repository: Path) -> list[Path]:
    folders = [repository / "csrc" / "kernels" / isa for isa in ISA_FOLDERS]
    return sorted(path for folder in folders for path in folder.glob("*.cc") if is_kernel(path))


def misnamed_vectors(source: str) -> list[str]:
    code = re.sub(r"//[^\n]*", "", source)
    names = [match["name"] for match in VECTOR_VARIABLE.finditer(code)]
    return [name for name in names if not VECTOR_NAME.fullmatch(name)]


@pytest.mark.parametrize("isa", ISA_FOLDERS)
def test_instruction_set_has_a_folder_of_kernels(repository: Path, isa: str) -> None:
    assert any((repository / "csrc" / "kernels" / isa).glob("*.cc"))


def test_kernel_file_opens_with_its_headings(repository: Path) -> None:
    lacking = {}
    for path in kernel_files(repository):
        opening = "\n".join(path.read_text(encoding="utf-8").splitlines()[:HEADING_LINES])
        absent = [
            heading for heading in HEADINGS if not re.search(rf"^//\s+{heading}\b", opening, re.MULTILINE)
        ]
        if absent:
            lacking[path.name] = absent
    assert not lacking


def test_vector_variables_are_named_by_what_they_hold(repository: Path) -> None:
    sources = [path for isa in ISA_FOLDERS for path in sorted((repository / "csrc/kernels" / isa).iterdir())]
    misnamed = {
        f"{path.parent.name}/{path.name}": names
        for path in sources
        if (names := misnamed_vectors(path.read_text(encoding="utf-8")))
    }
    assert not misnamed


def test_instruction_sets_have_the_same_files(repository: Path) -> None:
    """A kernel is found at the same place in each folder."""
    files = {isa: {p.name for p in kernel_files(repository) if p.parent.name == isa} for isa in ISA_FOLDERS}
    assert files["avx2"] == files["avx512vnni"]


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("__m512i sum = _mm512_setzero_si512();", ["sum"]),
        ("__m512i sum_i32x16[kRows][kPanels];", []),
        ("const __m256 half_f32x8 = f(x), y;", []),
        ("static inline __m512 gelu(__m512 x, const float* t) {", ["x"]),
        ("for (__m512& sum : sum_f32x16) sum = zero();", []),
        ("const auto step = [&](__m512i& sum) {", []),
    ],
)
def test_the_check_sees_a_nameless_vector(line: str, names: list[str]) -> None:
    assert misnamed_vectors(line) == names
