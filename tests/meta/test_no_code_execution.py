# SPDX-License-Identifier: MIT
"""No way to run code that came with a file: the package neither unpickles nor evaluates, and asks nobody else to."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

FORBIDDEN_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "cloudpickle",
    "dill",
    "joblib",
    "marshal",
    "shelve",
    "runpy",
}
FORBIDDEN_CALLS = {
    "eval",
    "exec",
    "compile",
    "__import__",
    "torch.load",
    "torch.jit.load",
}
FORBIDDEN_ARGUMENTS = {("trust_remote_code", True), ("allow_pickle", True), ("weights_only", False)}


def forbidden_in(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        else:
            names = []
        yield from (name for name in names if name.split(".")[0] in FORBIDDEN_MODULES)
        if isinstance(node, ast.Call):
            if ast.unparse(node.func) in FORBIDDEN_CALLS:
                yield ast.unparse(node.func)
            for keyword in node.keywords:
                value = keyword.value.value if isinstance(keyword.value, ast.Constant) else None
                if any(keyword.arg == name and value is bad for name, bad in FORBIDDEN_ARGUMENTS):
                    yield ast.unparse(keyword)


def test_the_package_runs_no_code_from_files(repository: Path) -> None:
    sources = sorted((repository / "python" / "fastformers").rglob("*.py"))
    assert sources
    assert {path.name: found for path in sources if (found := [*forbidden_in(path.read_text("utf-8"))])} == {}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("import pickle", ["pickle"]),
        ("from pickle import loads", ["pickle"]),
        ("def f():\n    import dill.source", ["dill.source"]),
        ("torch.load(path)", ["torch.load"]),
        ("eval('1')", ["eval"]),
        ("np.load(path)", []),  # unpickles only when asked to
        ("np.load(path, allow_pickle=True)", ["allow_pickle=True"]),
        ("re.compile('x')", []),
        ("model.eval()", []),
        ("AutoModel.from_pretrained(x, trust_remote_code=True)", ["trust_remote_code=True"]),
        ("AutoModel.from_pretrained(x, trust_remote_code=False)", []),
    ],
)
def test_the_check_sees_code_that_is_run(source: str, found: list[str]) -> None:
    assert list(forbidden_in(source)) == found
