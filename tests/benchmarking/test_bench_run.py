# SPDX-License-Identifier: MIT
"""``make bench``: one file of all parts, whatever fails or is absent; and the tables that are made of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def bench(bench_module: Callable[[str], Any]) -> Any:
    """The modules of a whole run, by short names."""
    names = {
        "run": "run",
        "report": "report",
        "parts": "whole.parts",
        "needs": "whole.needs",
        "process": "whole.part_process",
        "results": "whole.results_file",
        "regions": "whole.regions",
        "tables": "whole.tables",
    }
    return SimpleNamespace(**{short: bench_module(name) for short, name in names.items()})


@pytest.fixture
def part(bench: Any, tmp_path: Path) -> Any:
    """Makes parts that run a little program; it counts how often it was started."""

    def make(name: str, program: str = "", **others: Any) -> Any:
        script = tmp_path / f"{name}.py"
        script.write_text(
            "import pathlib, sys, json\n"
            f"count = pathlib.Path({str(tmp_path / name)!r} + '.count')\n"
            "count.write_text(str(int(count.read_text()) + 1 if count.exists() else 1))\n"
            "out = pathlib.Path(sys.argv[1])\n"
            f"(out / 'result.json').write_text(json.dumps({{'part': {name!r}, 'value': 1 / 3}}))\n{program}\n",
            encoding="utf-8",
        )
        given = {"command": f"{script} {{out}}", "quick": f"{script} {{out}}", **others}
        return bench.parts.Part(
            **{
                "name": name,
                "about": "a part",
                "minutes": 1.0,
                "quick_minutes": 1.0,
                "needs": (),
                "collect": lambda folder: json.loads((folder / "result.json").read_text(encoding="utf-8")),
                **given,
            }
        )

    return make


@pytest.fixture
def run(bench: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs parts into one file; returns the exit status and the document."""
    monkeypatch.setattr(bench.run, "REPOSITORY", tmp_path)
    path = tmp_path / "results.json"

    def run_them(parts: list[Any], *options: str) -> tuple[int, dict[str, Any]]:
        status = bench.run.main(["--output", str(path), *options], parts)
        return status, json.loads(path.read_text(encoding="utf-8"))

    return run_them


def starts(tmp_path: Path, name: str) -> int:
    path = tmp_path / f"{name}.count"
    return int(path.read_text(encoding="utf-8")) if path.exists() else 0


def states(document: dict[str, Any]) -> dict[str, str]:
    return {name: each["state"] for name, each in document["parts"].items()}


def test_the_file_holds_machine_commit_date_and_every_parts_own_result(part: Any, run: Any) -> None:
    status, document = run([part("one"), part("two")])
    assert status == 0
    assert document["schema"] == "fastformers-bench/1"
    assert document["machine"]["packages"]["numpy"]
    assert document["quick"] is False
    assert {"date", "commit"} <= document.keys()
    assert states(document) == {"one": "measured", "two": "measured"}
    assert document["parts"]["one"]["result"] == {"part": "one", "value": 0.333333}  # six digits are kept
    assert document["parts"]["one"]["seconds"] > 0


def test_a_failing_part_is_kept_with_its_last_lines_and_the_others_run(
    part: Any, run: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = [part("bad", "print('words before the end'); sys.exit(7)"), part("good")]
    status, document = run(parts)
    assert status == 1
    assert states(document) == {"bad": "failed", "good": "measured"}
    assert document["parts"]["bad"]["reason"] == "exit status 7"
    assert document["parts"]["bad"]["last_lines"] == ["words before the end"]
    assert "failed: bad" in capsys.readouterr().err


def test_a_part_without_a_result_has_failed_whatever_its_exit_status(part: Any, run: Any) -> None:
    status, document = run([part("empty", "(out / 'result.json').unlink()")])
    assert status == 1
    assert document["parts"]["empty"]["reason"].startswith("its result cannot be read: FileNotFoundError")


def test_a_missed_figure_is_measured_and_said(part: Any, run: Any) -> None:
    status, document = run([part("missed", "sys.exit(3)", done=(0, 3))])
    assert status == 0
    assert states(document) == {"missed": "measured"}
    assert document["parts"]["missed"]["reason"] == "a figure is missed"


def test_a_missing_input_is_in_the_file_with_its_reason(
    bench: Any, part: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bench.needs.NEEDS, "moon", lambda: "no moon: wait for the night")
    status, document = run([part("dark", needs=("moon",)), part("light")])
    assert status == 0
    assert document["parts"]["dark"] == {"state": "not measured", "reason": "no moon: wait for the night"}
    assert starts(tmp_path, "dark") == 0


def test_resuming_repeats_what_is_not_measured_and_nothing_else(
    bench: Any, part: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(bench.needs.NEEDS, "moon", lambda: "no moon")
    heals = "sys.exit(0 if count.read_text() == '2' else 1)"
    parts = [part("whole"), part("heals", heals), part("dark", needs=("moon",))]
    assert run(parts)[0] == 1
    monkeypatch.setitem(bench.needs.NEEDS, "moon", lambda: "")
    status, document = run(parts, "--resume")
    assert status == 0
    assert set(states(document).values()) == {"measured"}
    assert [starts(tmp_path, name) for name in ("whole", "heals", "dark")] == [1, 2, 1]


def test_an_existing_file_is_not_written_over(part: Any, run: Any) -> None:
    run([part("one")])
    with pytest.raises(SystemExit, match="add --resume"):
        run([part("one")])


@pytest.mark.parametrize(("key", "value"), [("machine", {}), ("quick", True), ("schema", "other/1")])
def test_runs_of_another_kind_are_not_mixed(
    part: Any, run: Any, tmp_path: Path, key: str, value: object
) -> None:
    _, document = run([part("one")])
    (tmp_path / "results.json").write_text(json.dumps({**document, key: value}), encoding="utf-8")
    with pytest.raises(SystemExit, match=rf"has other {key} than this run \({key}"):
        run([part("one")], "--resume")


def test_inputs_that_came_since_do_not_make_it_another_machine(
    part: Any, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run([part("one")])
    monkeypatch.setenv("FASTFORMERS_DATA", "somewhere")
    assert run([part("one")], "--resume")[0] == 0
    monkeypatch.setenv("FASTFORMERS_NUM_THREADS", "1")
    with pytest.raises(SystemExit, match=r"has other machine than this run .*FASTFORMERS_NUM_THREADS"):
        run([part("one")], "--resume")


def test_parts_that_nobody_asked_for_are_in_the_file_and_can_follow(
    part: Any, run: Any, tmp_path: Path
) -> None:
    parts = [part("one"), part("two"), part("three")]
    _, document = run(parts, "--only", "one", "two", "--skip", "two")
    assert states(document) == {"one": "measured", "two": "not measured", "three": "not measured"}
    _, document = run(parts, "--resume", "--only", "three")
    assert states(document) == {"one": "measured", "two": "not measured", "three": "measured"}
    assert starts(tmp_path, "one") == 1


def test_the_file_has_the_order_of_the_parts_however_they_came(part: Any, run: Any) -> None:
    run([part("second")])
    _, document = run([part("first"), part("second")], "--resume")
    assert list(document["parts"]) == ["first", "second"]


def test_a_part_that_takes_too_long_is_stopped_with_all_it_started(
    bench: Any, part: Any, run: Any, tmp_path: Path
) -> None:
    child = tmp_path / "child.pid"
    program = (
        "import subprocess, time\n"
        "started = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(60)'])\n"
        f"pathlib.Path({str(child)!r}).write_text(str(started.pid))\n"
        "time.sleep(60)\n"
    )
    status, document = run([part("slow", program, minutes=2 / 60), part("next")])
    assert status == 0
    assert states(document) == {"slow": "stopped", "next": "measured"}
    assert document["parts"]["slow"]["result"]["part"] == "slow"  # what was there by then
    assert "what it had by then is kept" in document["parts"]["slow"]["reason"]
    end = time.monotonic() + 5
    while alive(int(child.read_text(encoding="utf-8"))) and time.monotonic() < end:
        time.sleep(0.02)
    assert not alive(int(child.read_text(encoding="utf-8")))


def test_a_part_stopped_before_it_had_a_result_has_failed(part: Any, run: Any) -> None:
    program = "import time; (out / 'result.json').unlink(); print('begun', flush=True); time.sleep(60)"
    status, document = run([part("slow", program, minutes=2 / 60)])
    assert status == 1
    assert document["parts"]["slow"]["state"] == "failed"
    assert document["parts"]["slow"]["reason"].startswith("not done after")
    assert document["parts"]["slow"]["last_lines"] == ["begun"]


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and waits to be looked at does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_what_another_run_left_behind_is_not_taken_for_this_one(part: Any, run: Any, tmp_path: Path) -> None:
    run([part("one")])
    (tmp_path / "results.json").unlink()
    time.sleep(1.1)  # a run is known by the second it began in
    vanishes = part("one", "sys.exit(9)")
    script = tmp_path / "one.py"
    script.write_text("import sys; sys.exit(9)", encoding="utf-8")
    _, document = run([vanishes])
    assert document["parts"]["one"]["result"] is None


def test_an_interrupted_run_says_how_to_go_on(repository: Path, tmp_path: Path, bench: Any) -> None:
    program = (
        # A shell that starts the tests in the background has SIGINT ignored, and children inherit that.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from bench import run; from bench.whole.parts import Part\n"
        "from pathlib import Path; run.REPOSITORY = Path(sys.argv[2])\n"
        "Path(sys.argv[2], 'wait.py').write_text('print(1, flush=True); import time; time.sleep(60)')\n"
        "part = Part(name='wait', about='', minutes=1, command=sys.argv[2] + '/wait.py', quick_minutes=1,\n"
        "            quick='', needs=(), collect=lambda folder: None)\n"
        "sys.exit(run.main(['--output', sys.argv[2] + '/results.json'], [part]))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(repository), str(tmp_path)],
        cwd=repository,
        env=os.environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    log = tmp_path / "build" / "bench" / "results" / "wait" / "log.txt"
    end = time.monotonic() + 60
    while not (log.is_file() and log.read_text(encoding="utf-8")) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "interrupted; go on with: python -m bench.run --resume" in errors
    assert json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))["parts"] == {}


def test_folders_of_this_machine_are_not_in_the_file(
    bench: Any, part: Any, run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FASTFORMERS_MPNET", str(tmp_path / "mpnet"))
    program = (
        "print(out); (out / 'result.json').write_text(json.dumps({'said': sys.executable})); sys.exit(1)"
    )
    _, document = run([part("one", program)])
    text = json.dumps(document)
    assert str(tmp_path) not in text
    assert sys.prefix not in text
    assert document["machine"]["environment"]["FASTFORMERS_MPNET"] == "$FASTFORMERS_MPNET"


def test_all_parts_together_may_take_forty_minutes(bench: Any) -> None:
    without_gpu = [each.minutes for each in bench.parts.PARTS if "cuda" not in each.needs]
    assert sum(without_gpu) <= bench.parts.MOST_MINUTES
    assert sum(each.quick_minutes for each in bench.parts.PARTS) <= bench.parts.QUICK_MINUTES


def test_every_benchmark_of_the_folder_is_a_part(bench: Any, repository: Path) -> None:
    commands = " ".join(each.command for each in bench.parts.PARTS)
    modules = [
        ".".join(path.relative_to(repository).with_suffix("").parts)
        for path in (repository / "bench").rglob("run.py")
        if path.parent != repository / "bench"
    ]
    assert modules
    assert [module for module in modules if f"-m {module}" not in commands] == []
    assert "-m bench.onnx.ranges" in commands


def test_every_need_of_a_part_is_known(bench: Any) -> None:
    assert {need for each in bench.parts.PARTS for need in each.needs} <= bench.needs.NEEDS.keys()


def test_every_part_with_a_table_has_its_region(bench: Any, repository: Path) -> None:
    known = {each.name for each in bench.parts.PARTS}
    assert set(bench.tables.TABLES) <= known
    for name in (*bench.tables.TABLES, bench.report.SUMMARY):
        text = (repository / bench.report.ELSEWHERE.get(name, bench.report.BENCH_README)).read_text("utf-8")
        assert text.count(bench.regions.begin_line(name)) == 1, name
        assert text.count(bench.regions.end_line(name)) == 1, name


def test_a_region_is_replaced_and_nothing_else(bench: Any, tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    begin, end = bench.regions.begin_line, bench.regions.end_line
    path.write_text(
        f"before\n{begin('a')}\nold a\n{end('a')}\nbetween\n{begin('b')}\nold b\n{end('b')}\nafter\n"
    )
    bench.regions.replace_region(path, "a", "new a\n")
    expected = (
        f"before\n{begin('a')}\n\nnew a\n\n{end('a')}\nbetween\n{begin('b')}\nold b\n{end('b')}\nafter\n"
    )
    assert path.read_text(encoding="utf-8") == expected
    bench.regions.replace_region(path, "a", "new a\n")
    assert path.read_text(encoding="utf-8") == expected


@pytest.mark.parametrize("text", ["{end}\n{begin}", "{begin}", "{begin}{end}{begin}{end}", ""])
def test_a_file_without_the_two_lines_is_left_as_it_is(bench: Any, tmp_path: Path, text: str) -> None:
    path = tmp_path / "README.md"
    written = text.format(begin=bench.regions.begin_line("a"), end=bench.regions.end_line("a"))
    path.write_text(written, encoding="utf-8")
    with pytest.raises(SystemExit, match="each once and in this order"):
        bench.regions.replace_region(path, "a", "new")
    assert path.read_text(encoding="utf-8") == written


SOAK = {
    "requests": 1000,
    "requests_per_second": 5000.0,
    "wrong_answers": 0,
    "bytes_at_5_percent": 50_000_000,
    "bytes_at_end": 51_000_000,
    "cycles": 10,
    "bytes_after_some_cycles": 52_000_000,
    "bytes_after_cycles": 53_000_000,
    "idle_cpu": 0.001,
}


@pytest.fixture
def copy(bench: Any, repository: Path, tmp_path: Path) -> Path:
    """The files that hold regions."""
    root = tmp_path / "copy"
    (root / "bench").mkdir(parents=True)
    (root / "docs").mkdir()
    for name in ("README.md", "bench/README.md"):
        (root / name).write_bytes((repository / name).read_bytes())
    return root


def saved(path: Path, parts: dict[str, Any], quick: bool = False) -> Path:
    document = {
        "schema": "fastformers-bench/1",
        "date": "2026-01-01T00:00:00+00:00",
        "commit": "0123456789abcdef",
        "quick": quick,
        "machine": {"cpu": {"model": "a CPU", "physical_cores": 2}},
        "parts": parts,
    }
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def measured(result: Any, **others: Any) -> dict[str, Any]:
    return {"state": "measured", "reason": "", "seconds": 60.0, "result": result, **others}


def test_tables_are_written_from_the_file_and_others_are_kept(
    bench: Any, copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (copy / "bench" / "README.md").read_text(encoding="utf-8")
    parts = {"soak": measured(SOAK), "memory": {"state": "not measured", "reason": "no model"}}
    file = saved(tmp_path / "2026-01-01-a-cpu.json", parts)
    assert bench.report.main([str(file), "--write", "--root", str(copy)]) == 0
    after = (copy / "bench" / "README.md").read_text(encoding="utf-8")
    assert "1,000 requests at 5,000 a second" in after
    assert "| memory | not measured: no model |" in after
    assert "| soak | measured | 60 |" in after
    kernels = bench.regions.begin_line("kernels")
    assert (
        after.split(kernels)[1].split(bench.regions.end_line("kernels"))[0]
        == (before.split(kernels)[1].split(bench.regions.end_line("kernels"))[0])
    )
    assert "memory keeps its table: not measured: no model" in capsys.readouterr().err


def test_a_stopped_part_says_so_above_its_table(bench: Any, copy: Path, tmp_path: Path) -> None:
    parts = {"soak": measured(SOAK, state="stopped", reason="not done after 1 minutes")}
    file = saved(tmp_path / "file.json", parts)
    bench.report.main([str(file), "--write", "--root", str(copy)])
    assert "**Not whole**: not done after 1 minutes." in (copy / "bench" / "README.md").read_text("utf-8")


def test_quick_numbers_do_not_reach_the_repository(bench: Any, tmp_path: Path) -> None:
    file = saved(tmp_path / "file.json", {"soak": measured(SOAK)}, quick=True)
    with pytest.raises(SystemExit, match="a quick run's numbers mean nothing"):
        bench.report.main([str(file), "--write"])
    with pytest.raises(SystemExit) as stopped:
        bench.run.main(["--quick", "--write"])
    assert stopped.value.code == 2


def test_a_file_of_something_else_is_refused(bench: Any, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text('{"schema": "fastformers-demo/3"}', encoding="utf-8")
    with pytest.raises(SystemExit, match="must be 'fastformers-bench/1'"):
        bench.report.main([str(path)])


def test_a_file_is_named_by_day_and_processor(bench: Any) -> None:
    machine = {"cpu": {"model": "Intel(R) Xeon(R) Gold 6248 CPU @ 2.50GHz"}}
    assert bench.results.slug(machine) == "intel-xeon-gold-6248-cpu-2-50ghz"
    path = bench.results.default_path("2026-01-01", machine, quick=False)
    assert path.parent.name == "results"
    assert path.name == "2026-01-01-intel-xeon-gold-6248-cpu-2-50ghz.json"
    assert "build" in bench.results.default_path("2026-01-01", machine, quick=True).parts
