# SPDX-License-Identifier: MIT
"""The command as a whole: light help, one clean message and a telling exit status for every error."""

from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
from command_line import exit_status

import fastformers
from fastformers import errors
from fastformers.cli import app as app_module
from fastformers.cli.exit_codes import ExitCode, exit_code_of
from fastformers.errors import FastformersError
from fastformers.tokenization import TruncationWarning

ERRORS = [getattr(errors, name) for name in errors.__all__]


def test_help_imports_nothing_heavy() -> None:
    script = (
        "import sys\n"
        "from fastformers.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    heavy = {'torch', 'transformers', 'numpy'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)))\n"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert answer.stderr.strip() == ""
    assert "doctor" in answer.stdout
    assert "quantize" in answer.stdout
    assert "demo" in answer.stdout


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_status("--version") == ExitCode.OK
    assert capsys.readouterr().out.strip() == fastformers.__version__


@pytest.mark.parametrize(
    "arguments",
    [
        ("no-such-verb",),
        ("doctor", "--no-such-option"),
        ("quantize",),
        ("quantize", "no-such-folder", "-o", "x"),
    ],
)
def test_wrong_usage_exits_2(arguments: tuple[str, ...]) -> None:
    assert exit_status(*arguments) == ExitCode.USAGE


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_an_error_becomes_one_message_and_its_exit_status(
    kind: type[FastformersError], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise kind("the reason")

    monkeypatch.setattr(app_module, "app", fail)
    assert exit_status("doctor") == exit_code_of(kind("the reason"))
    assert capsys.readouterr().err == "fastformers: the reason\n"


def test_statuses_that_scripts_rely_on() -> None:
    assert exit_code_of(errors.GateError("")) == 3
    assert exit_code_of(errors.FormatError("")) == 4
    assert exit_code_of(errors.MissingExtraError("")) == 5
    assert exit_code_of(errors.ConfigError("")) == 2
    assert exit_code_of(errors.ShapeError("")) == 1


def test_a_place_that_cannot_be_written_to_becomes_one_message(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(**_: object) -> None:
        raise PermissionError(13, "Permission denied", "/out/ladder.json")

    monkeypatch.setattr(app_module, "app", fail)
    assert exit_status("doctor") == ExitCode.FAILED
    assert capsys.readouterr().err == "fastformers: /out/ladder.json: Permission denied\n"


def test_an_unexpected_error_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(app_module, "app", fail)
    with pytest.raises(ZeroDivisionError):
        app_module.main(["doctor"])


def test_demo_refuses_a_place_for_its_results_before_it_trains(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--json", "--picture"):
        assert exit_status("demo", option, "absent/file") == ExitCode.USAGE
        assert "absent is not a folder: make it first" in capsys.readouterr().err


def test_demo_passes_its_options_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from pathlib import Path

    from fastformers.benchmarking import demo

    passed: dict[str, object] = {}
    monkeypatch.setattr(demo, "run_demo", lambda **options: passed.update(options))
    assert exit_status("demo", "--quick", "--json", "a.json", "--picture", "b.png") == ExitCode.OK
    assert passed == {
        "folder": Path("fastformers-demo"),
        "json_path": Path("a.json"),
        "picture_path": Path("b.png"),
        "quick": True,
    }


def test_our_warnings_are_one_line_and_others_stay_python_s(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def warn(**_: object) -> None:
        warnings.simplefilter("always")
        warnings.warn("a text was cut", TruncationWarning, stacklevel=1)
        warnings.warn("of another package", UserWarning, stacklevel=1)
        sys.exit(0)

    before = warnings.showwarning
    monkeypatch.setattr(app_module, "app", warn)
    with pytest.warns(UserWarning, match="of another package") as shown_as_python_does:
        assert exit_status("doctor") == ExitCode.OK
    assert len(shown_as_python_does) == 1
    assert capsys.readouterr().err == "fastformers: a text was cut\n"
    assert warnings.showwarning is before
