# SPDX-License-Identifier: MIT
"""Nothing in the repository depends on the machine it was written on, and nothing generated is kept in it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

# Registries of packages by name; any host of theirs counts, whatever stands before the name.
REGISTRIES = {
    "org": ("pypi", "pythonhosted", "pytorch", "debian", "npmjs", "anaconda", "golang"),
    "io": ("crates",),
}
REGISTRY_HOST = re.compile(
    "|".join(rf"(?:{'|'.join(names)})\.{domain}" for domain, names in REGISTRIES.items())
)
HOME_OF_A_MACHINE = re.compile(r"(?<![\w.~$}/*-])/(?:work|root|home|opt|Users|mnt|srv)/\w")
GENERATED_SUFFIXES = {".so", ".o", ".a", ".pyc", ".whl", ".egg", ".log", ".onnx", ".data"}
LARGEST_FILE_BYTES = 1 << 20


def text_of(path: Path) -> str:
    """Returns a file's text; the empty string for one that is not text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def test_no_file_names_a_package_registry(tracked_files: list[Path]) -> None:
    found = [
        (path.name, match[0]) for path in tracked_files for match in REGISTRY_HOST.finditer(text_of(path))
    ]
    assert found == []


@pytest.mark.parametrize(("name", "domain"), [(n, d) for d, names in REGISTRIES.items() for n in names])
def test_the_check_sees_a_host_of_every_registry(name: str, domain: str) -> None:
    assert REGISTRY_HOST.search(f"https://download.{name}.{domain}/simple")


def test_no_file_names_a_folder_of_one_machine(tracked_files: list[Path]) -> None:
    found = [
        f"{path}: {match[0]}"
        for path in tracked_files
        if path != Path(__file__)
        for match in HOME_OF_A_MACHINE.finditer(text_of(path))
    ]
    assert not found, "\n".join(found)


def test_no_generated_file_is_tracked(tracked_files: list[Path]) -> None:
    assert [path.name for path in tracked_files if path.suffix in GENERATED_SUFFIXES] == []


def test_files_are_small(tracked_files: list[Path]) -> None:
    assert [path.name for path in tracked_files if path.stat().st_size > LARGEST_FILE_BYTES] == []


def test_modules_are_named_by_what_they_do(tracked_files: list[Path]) -> None:
    shelves = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [str(path) for path in tracked_files if path.stem in shelves] == []


def opens_properly(path: Path) -> bool:
    """Licence, then the purpose; a .cc may leave the purpose to the header beside it, which comes next."""
    licence, *rest = text_of(path).splitlines()[:2]
    purpose = rest[0] if rest else ""
    beside = re.match(rf'#include "(?:\w+/)*{path.parent.name}/\w+\.h"', purpose) is not None
    states_purpose = purpose.startswith(('"""', 'r"""', "//")) or (path.suffix == ".cc" and beside)
    return "SPDX-License-Identifier: MIT" in licence and states_purpose


def test_every_source_file_opens_with_its_licence_and_purpose(tracked_files: list[Path]) -> None:
    sources = [path for path in tracked_files if path.suffix in (".py", ".h", ".cc")]
    assert sources
    assert [str(path) for path in sources if not opens_properly(path)] == []


def test_the_check_sees_a_folder_of_one_machine() -> None:
    assert HOME_OF_A_MACHINE.search("cd /wo" + "rk/main")
    assert not HOME_OF_A_MACHINE.search("see ../work/main, $HOME/work/x and https://example.net/opt/x")
