# SPDX-License-Identifier: MIT
"""What a killed save left behind goes with the next one; folders of living processes and of users stay."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fastformers.files import folder_lock, unfinished
from fastformers.files import replaced_folder as replaced_folder_module
from fastformers.files.replaced_folder import replaced_folder

MARKER = "marker.json"
WRITE_FOR_EVER = """
import sys, time
from pathlib import Path
from fastformers.files.replaced_folder import replaced_folder
with replaced_folder(Path(sys.argv[1]), overwrite=True, marker="marker.json") as folder:
    (folder / "weights").write_text("half of th")
    print(folder.name, flush=True)
    time.sleep(600)
"""


@contextmanager
def writing(target: Path) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """A process in the middle of a save, and the folder that it writes."""
    command = [sys.executable, "-c", WRITE_FOR_EVER, str(target)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, target.with_name(process.stdout.readline().strip())
        finally:
            process.kill()


def save(target: Path, content: str = "whole") -> None:
    with replaced_folder(target, overwrite=True, marker=MARKER) as folder:
        (folder / MARKER).write_text(content)


def test_the_next_save_removes_what_a_killed_one_left(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with writing(target) as (process, left):
        process.send_signal(signal.SIGKILL)
        assert process.wait(timeout=60) == -signal.SIGKILL
        assert (left / "weights").read_text() == "half of th"
        save(target)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_a_living_process_writes_is_left_alone(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with writing(target) as (_, written):
        save(target)
        save(target, "again")
        assert (written / "weights").read_text() == "half of th"
    assert (target / MARKER).read_text() == "again"


def test_two_saves_of_one_process_do_not_see_each_other_as_left_over(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with replaced_folder(target, overwrite=True, marker=MARKER) as outer:
        (outer / MARKER).write_text("outer")
        save(target, "inner")
        assert (outer / MARKER).is_file()
    assert (target / MARKER).read_text() == "outer"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize(
    "name",
    [".out", ".out-0123456789ab", ".out-notes.part", ".out-2-0123456789ab.part", "out-0123456789ab.part"],
)
def test_other_folders_are_never_removed(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "thesis.txt").write_text("all of it")
    save(tmp_path / "out")
    assert (tmp_path / name / "thesis.txt").read_text() == "all of it"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("all of it")
    (tmp_path / ".out-0123456789ab.part").symlink_to(mine)
    save(tmp_path / "out")
    assert (mine / "thesis.txt").read_text() == "all of it"


def test_without_locks_nothing_is_removed_and_saving_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = tmp_path / ".out-0123456789ab.part"
    left.mkdir()

    def unsupported(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(folder_lock.fcntl, "flock", unsupported)
    save(tmp_path / "out")
    assert left.is_dir()
    assert (tmp_path / "out" / MARKER).read_text() == "whole"


@pytest.mark.parametrize("moment", ["before it is opened", "before it is locked"])
def test_a_folder_taken_for_left_over_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    name = "open_folder" if moment == "before it is opened" else "lock"
    real, taken = getattr(unfinished, name), []

    def late(argument: object) -> object:
        if not taken:
            taken.extend(tmp_path.glob(".out-*"))
            for folder in taken:
                folder.rmdir()
        return real(argument)

    monkeypatch.setattr(unfinished, name, late)
    save(tmp_path / "out")
    assert len(taken) == 1
    assert (tmp_path / "out" / MARKER).read_text() == "whole"


def test_a_move_that_was_cut_short_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where two folders cannot be exchanged in one step, a kill between two renames leaves nothing in the place."""
    target = tmp_path / "out"
    save(target, "old")

    class Killed(BaseException): ...

    def cut_short(folder: Path, place: Path) -> None:
        place.rename(folder.with_name(f"{folder.name}-old"))
        shutil.copytree(
            folder, tmp_path / "kept"
        )  # what the kill would leave; the block's end removes it here
        raise Killed

    monkeypatch.setattr(replaced_folder_module, "_exchange", lambda one, other: False)
    with monkeypatch.context() as patch:
        patch.setattr(replaced_folder_module, "move_aside", cut_short)
        with pytest.raises(Killed):
            save(target, "new")
    (old,) = tmp_path.glob(".out-*-old")
    (tmp_path / "kept").rename(old.with_name(old.name.removesuffix("-old")))
    assert not target.exists()
    unfinished.remove_unfinished(target)
    assert (target / MARKER).read_text() == "new"
    save(target, "newer")
    assert (target / MARKER).read_text() == "newer"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
