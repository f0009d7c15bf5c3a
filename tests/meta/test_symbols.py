# SPDX-License-Identifier: MIT
"""The binary exports one name, and code for one instruction set cannot leak into the rest of the program.

A weak symbol in an object compiled for AVX-512 may be the copy that the linker keeps for everybody: the
program would then die of SIGILL on an older CPU, far from the kernel that brought it. So there may be none.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ISA_FLAGS = {
    "avx2": ["-march=x86-64-v3"],
    "avx512vnni": ["-march=x86-64-v4", "-mavx512vnni", "-mprefer-vector-width=512"],
}
COMMON_FLAGS = [
    "-std=c++17",
    "-O3",
    "-DNDEBUG",
    "-fPIC",
    "-fvisibility=hidden",
    "-fvisibility-inlines-hidden",
]
FLAGS_OF_ALL_FILES = ["-ffp-contract=off", "-fno-math-errno"]


def symbols(path: Path, *options: str) -> list[tuple[str, str]]:
    """Returns (kind, name) of each symbol that nm lists, without the addresses."""
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed (Debian: binutils)")
    listing = subprocess.run(["nm", *options, str(path)], capture_output=True, text=True, check=True).stdout
    words = [line.split(maxsplit=2) for line in listing.splitlines() if line.strip()]
    return [(parts[1], parts[2]) for parts in words if len(parts) == 3]


def release_builds(repository: Path) -> list[Path]:
    """Build folders with optimised objects and no sanitizer, newest first."""
    named = os.environ.get("FASTFORMERS_BUILD_DIR")
    caches = (
        [Path(named) / "CMakeCache.txt"] if named else list((repository / "build").glob("*/CMakeCache.txt"))
    )
    texts = {cache: cache.read_text(encoding="utf-8") for cache in caches if cache.is_file()}
    usable = [
        cache
        for cache, text in texts.items()
        if "CMAKE_BUILD_TYPE:STRING=Release" in text and "FASTFORMERS_SANITIZE:STRING=\n" in text
    ]
    return [cache.parent for cache in sorted(usable, key=lambda cache: cache.stat().st_mtime, reverse=True)]


def built_objects(repository: Path, isa: str) -> list[Path] | None:
    """Returns the objects of a folder's files from a build newer than what they are made of, if there is one."""
    csrc = repository / "csrc"
    headers = [*(csrc / "base").glob("*.h"), *(csrc / "kernels").glob("*.h")]
    sources = [*(csrc / "kernels" / isa).glob("*.*"), *headers, repository / "CMakeLists.txt"]
    newest = max(path.stat().st_mtime for path in sources)
    names = sorted(path.name for path in (csrc / "kernels" / isa).glob("*.cc"))
    for build in release_builds(repository):
        objects = sorted(build.glob(f"**/csrc/kernels/{isa}/*.cc.o"))
        found = [path.name.removesuffix(".o") for path in objects]
        if objects and found == names and min(path.stat().st_mtime for path in objects) > newest:
            return objects
    return None


def compile_objects(repository: Path, isa: str, folder: Path) -> list[Path]:
    compiler = os.environ.get("CXX") or shutil.which("g++") or shutil.which("clang++")
    if compiler is None:
        pytest.skip("no build folder that is up to date, and no C++ compiler")
    objects = []
    for source in sorted((repository / "csrc" / "kernels" / isa).glob("*.cc")):
        objects.append(folder / f"{source.name}.o")
        flags = [*COMMON_FLAGS, *FLAGS_OF_ALL_FILES, *ISA_FLAGS[isa], f"-I{repository / 'csrc'}"]
        subprocess.run([compiler, *flags, "-c", str(source), "-o", str(objects[-1])], check=True)
    return objects


@pytest.fixture(scope="module", params=sorted(ISA_FLAGS))
def objects(
    request: pytest.FixtureRequest, repository: Path, tmp_path_factory: pytest.TempPathFactory
) -> list[Path]:
    isa: str = request.param
    found = built_objects(repository, isa)
    return found or compile_objects(repository, isa, tmp_path_factory.mktemp(isa))


def test_extension_exports_only_its_entry_point() -> None:
    from fastformers import _core

    exported = {
        name for kind, name in symbols(Path(_core.__file__), "-D", "--defined-only") if kind not in "wv"
    }
    assert exported == {"PyInit__core"}


def test_the_operators_library_exports_only_its_entry_point() -> None:
    from fastformers import _core

    library = Path(_core.__file__).with_name("libfastformers_ort.so")
    if not library.is_file():
        pytest.skip("built without ONNX Runtime's headers")
    exported = {name for kind, name in symbols(library, "-D", "--defined-only") if kind not in "wv"}
    assert exported == {"RegisterCustomOps"}


def test_kernel_objects_hold_no_weak_symbol(objects: list[Path]) -> None:
    weak = [
        f"{path.name}: {name}"
        for path in objects
        for kind, name in symbols(path, "-C", "--defined-only")
        if kind in "WVu"
    ]
    assert objects
    assert not weak, "\n".join(weak)


def test_kernel_objects_run_nothing_at_load_time(objects: list[Path]) -> None:
    assert not [name for path in objects for _, name in symbols(path) if "_GLOBAL__sub_I" in name]


def test_flags_are_those_of_the_build(repository: Path) -> None:
    script = (repository / "CMakeLists.txt").read_text(encoding="utf-8").replace(";", " ")
    flags = {flag for isa_flags in ISA_FLAGS.values() for flag in isa_flags} | set(FLAGS_OF_ALL_FILES)
    assert {flag for flag in flags if flag not in script} == set()
