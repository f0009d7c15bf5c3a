# SPDX-License-Identifier: MIT
"""Damaged artefacts by the thousand: each is refused with FormatError or loads and runs; none crashes, hangs or bloats.

A case changes one to three things: a value, key or token of a JSON file, an entry of a safetensors header, its size
field, bits, bytes, the length of a file, a link in place of a file. In most cases the manifest is then made to agree
with the changed files, so that the checks behind the digests have to find the change. ``make fuzz-artefacts`` runs many
more: FASTFORMERS_FUZZ_ARTEFACTS cases from FASTFORMERS_FUZZ_SEED on. Case ``n`` of a seed is always the same.
"""

from __future__ import annotations

import copy
import json
import os
import random
import resource
import shutil
import struct
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastformers.encoder_plan import EncoderPlan
from fastformers.errors import FormatError
from fastformers.files.digests import checksum_of, sha256_of
from fastformers.runtime.artefact import pack_artefact
from fastformers.runtime.artefact_folder import read_artefact
from fastformers.runtime.tokenizer_files import open_tokenizer

CASES = int(os.environ.get("FASTFORMERS_FUZZ_ARTEFACTS", "3000"))
SEED = int(os.environ.get("FASTFORMERS_FUZZ_SEED", "1"))
MOST_SECONDS = 1.0
MOST_EXTRA_BYTES = (
    64 << 20
)  # a 4 MB JSON file of nothing but brackets takes 20 times its size while it is parsed

MANIFEST, TENSORS = "fastformers.json", "model.safetensors"
JSON_FILES = (MANIFEST, MANIFEST, MANIFEST, "config.json", "report.json", "tokenizer.json")
BINARY_FILES = (TENSORS, TENSORS, "golden.safetensors")

NUMBERS = [0, 1, -1, 2, 3, 7, 1.5, -0.0, 127, 128, 255, 65_537, 1 << 24, (1 << 24) + 1, 1 << 31, 1 << 32]
NUMBERS += [(1 << 53) + 1, (1 << 63) - 1, 1 << 63, 1 << 64, -(1 << 63), 10**30, 1e-320, 1e308, -1e308]
TEXTS = [
    "",
    "x",
    "../x",
    "../../../../etc/passwd",
    "/etc/passwd",
    "/dev/zero",
    ".",
    "..",
    "a/b",
    "a\0b",
    "\ud800",
]
TEXTS += [
    "config.json",
    "fastformers.json",
    "model.safetensors",
    "F32",
    "I8",
    "I64",
    "float32",
    "int8",
    "all",
    "0" * 64,
]
TEXTS += ["é" * 300, "nan", "None", "%s%n", "outputs.logits", "auto", "A" * 100_000]
PLAIN: list[Any] = [None, True, False, [], {}, [[]], {"a": {}}, [0] * 1_000, *NUMBERS, *TEXTS]
RAW = [
    b"NaN",
    b"Infinity",
    b"1e999",
    b"-1e999",
    b"9" * 5_000,
    b"[" * 2_000,
    b"]",
    b"{",
    b'"',
    b"\xff",
    b"\x00",
    b",",
]
RAW += [b'{"a":1,"a":2}', b"\xef\xbb\xbf", b"\\u0000", b"[" * 14 + b"]" * 14, b"0x10", b"'", b"01", b"1_0"]


class Case:
    """One damaged artefact in the making: the files that differ from the good ones."""

    def __init__(self, good: dict[str, bytes], seed: int) -> None:
        self.random = random.Random(seed)
        self.good = good
        self.changed: dict[str, bytes | None] = {}
        self.links: dict[str, str] = {}
        self.done: list[str] = []
        for _ in range(self.random.choice((1, 1, 1, 2, 3))):
            change = self.random.choice(CHANGES)
            self.done.append(change.__name__)
            change(self)
        if self.random.random() < 0.8:
            self.seal()

    def content(self, name: str) -> bytes:
        now = self.changed.get(name, self.good[name])
        return b"" if now is None else now

    def seal(self) -> None:
        """Notes sizes and digests of the changed files in the manifest, if that still is one."""
        try:
            manifest = json.loads(self.content(MANIFEST))
            for name, entry in manifest["files"].items():
                content = self.changed.get(name)
                if content is not None:
                    entry.update(bytes=len(content), sha256=sha256_of(content), checksum=checksum_of(content))
            self.changed[MANIFEST] = json.dumps(manifest).encode()
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return

    def write(self, folder: Path) -> None:
        for name, content in self.changed.items():
            (folder / name).unlink()
            if content is not None:
                (folder / name).write_bytes(content)
        for name, target in self.links.items():
            (folder / name).unlink(missing_ok=True)
            (folder / name).symlink_to(target)


def json_value(case: Case, value: Any) -> Any:
    """Another value: of another type, hostile, or near the one that was there."""
    draw = case.random
    if isinstance(value, int | float) and draw.random() < 0.5:
        return draw.choice((value + 1, value - 1, -value, value * 2, value / 2, float(value), str(value)))
    if isinstance(value, str) and value and draw.random() < 0.3:
        place = draw.randrange(len(value))
        return value[:place] + draw.choice(("", "x", "/", "\0", value)) + value[place + 1 :]
    return copy.deepcopy(draw.choice(PLAIN))


def edit_tree(case: Case, tree: Any) -> None:
    """Changes one place of a tree of JSON values."""
    draw = case.random
    place = tree
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = draw.choice(keys)
        if isinstance(place[key], dict | list) and draw.random() < 0.85:
            place = place[key]
            continue
        break
    kind = draw.randrange(6)
    if not keys or kind == 0:
        new = json_value(case, None)
        if isinstance(place, dict):
            place[draw.choice(("x", "auto_map", "format", "sha256", "__metadata__", *TEXTS[:4]))] = new
        else:
            place.append(new)
    elif kind == 1:
        del place[key]
    elif kind == 2 and isinstance(place, dict):
        place[draw.choice(TEXTS)] = place.pop(key)
    elif kind == 3:
        other = draw.choice(keys)
        place[key], place[other] = place[other], place[key]
    elif kind == 4 and isinstance(place, list):
        place *= draw.choice((2, 3, 2_000))
    else:
        place[key] = json_value(case, place[key])


def dump(tree: Any) -> bytes:
    return json.dumps(tree).encode("utf-8", "surrogatepass")


def change_json_value(case: Case) -> None:
    name = case.random.choice(JSON_FILES)
    try:
        tree = json.loads(case.content(name))
        edit_tree(case, tree)
        case.changed[name] = dump(tree)
    except (ValueError, TypeError, RecursionError):
        change_bytes(case)


def change_json_text(case: Case) -> None:
    name = case.random.choice(JSON_FILES)
    raw = case.content(name)
    place = case.random.randrange(len(raw) + 1)
    end = place + case.random.choice((0, 1, 4))
    case.changed[name] = raw[:place] + case.random.choice(RAW) + raw[end:]


def change_header(case: Case) -> None:
    name = case.random.choice(BINARY_FILES)
    raw = case.content(name)
    try:
        (size,) = struct.unpack("<Q", raw[:8])
        header = json.loads(raw[8 : 8 + size])
        edit_tree(case, header)
        text = dump(header)
    except (ValueError, TypeError, struct.error, RecursionError):
        change_bytes(case)
        return
    text += b" " * (-len(text) % case.random.choice((1, 8, 8, 8)))
    case.changed[name] = struct.pack("<Q", len(text)) + text + raw[8 + size :]


def change_header_text(case: Case) -> None:
    name = case.random.choice(BINARY_FILES)
    raw = case.content(name)
    size = min(int.from_bytes(raw[:8], "little"), len(raw))
    place = 8 + case.random.randrange(size + 1)
    new = case.random.choice(RAW)
    case.changed[name] = struct.pack("<Q", size + len(new)) + raw[8:place] + new + raw[place:]


def change_header_size(case: Case) -> None:
    name = case.random.choice(BINARY_FILES)
    raw = case.content(name)
    size = int.from_bytes(raw[:8], "little")
    new = case.random.choice((0, 1, size - 1, size + 1, size + 8, len(raw), 1 << 20, 1 << 40, (1 << 64) - 1))
    case.changed[name] = struct.pack("<Q", max(0, new)) + raw[8:]


def change_bytes(case: Case) -> None:
    name = case.random.choice((*BINARY_FILES, *sorted(case.good)))
    raw = bytearray(case.content(name))
    for _ in range(case.random.choice((1, 1, 3, 20))):
        if raw:
            raw[case.random.randrange(len(raw))] ^= case.random.choice((1, 4, 64, 128, 255))
    case.changed[name] = bytes(raw)


def change_length(case: Case) -> None:
    name = case.random.choice((*BINARY_FILES, *sorted(case.good)))
    raw = case.content(name)
    place = case.random.randrange(len(raw) + 1)
    tail = bytes(case.random.choice((1, 8, 4_096)))
    case.changed[name] = case.random.choice(
        (raw[:place], raw + tail, b"", raw[:place] + raw[place + 1 :], raw[place:])
    )


def change_values(case: Case) -> None:
    """Puts a hostile number among the values of the tensors."""
    name = case.random.choice(BINARY_FILES)
    raw = bytearray(case.content(name))
    first = 8 + min(int.from_bytes(raw[:8], "little"), len(raw))
    if len(raw) <= first + 8:
        return
    place = first + case.random.randrange((len(raw) - first - 8) // 4 + 1) * 4
    patterns = (
        struct.pack("<f", float("nan")),
        struct.pack("<f", float("inf")),
        struct.pack("<f", 3.4e38),
        struct.pack("<f", -1.0),
        struct.pack("<f", 1e-44),
        b"\x80\x80\x80\x80",
        struct.pack("<i", -1),
        struct.pack("<q", 1 << 62),
        struct.pack("<q", -(1 << 63)),
    )
    new = case.random.choice(patterns)
    raw[place : place + len(new)] = new
    case.changed[name] = bytes(raw)


def exchange_files(case: Case) -> None:
    one, other = case.random.sample(sorted(case.good), 2)
    case.changed[one] = case.content(other)


def remove_file(case: Case) -> None:
    case.changed[case.random.choice(sorted(case.good))] = None


def link_file(case: Case) -> None:
    target = case.random.choice(("/etc/passwd", "/dev/zero", "/dev/null", "nowhere", "/proc/self/mem", "."))
    case.links[case.random.choice(sorted(case.good))] = target


def nest_json(case: Case) -> None:
    name = case.random.choice((*JSON_FILES, *BINARY_FILES))
    levels = case.random.choice((15, 16, 17, 400, 900, 1_100, 50_000))
    opening, closing = case.random.choice(((b"[", b"]"), (b'{"a":', b"}")))
    text = b'{"a":' + opening * levels + b"0" + closing * levels + b"}"
    case.changed[name] = struct.pack("<Q", len(text)) + text if name in BINARY_FILES else text


CHANGES: tuple[Callable[[Case], None], ...] = (
    *(change_json_value,) * 6,
    *(change_header,) * 6,
    *(change_values,) * 2,
    *(change_bytes,) * 2,
    *(change_length,) * 2,
    *(change_json_text,) * 2,
    *(change_header_text,) * 2,
    change_header_size,
    exchange_files,
    remove_file,
    link_file,
    nest_json,
)


def outcome(folder: Path) -> str:
    """Reads the folder and, when it is accepted, packs and runs it and its tokenizer."""
    try:
        artefact = read_artefact(folder, verify="full")
        native = pack_artefact(artefact)
    except FormatError:
        return "refused"
    golden = artefact.golden
    golden.run(native, range(len(golden.lengths)))
    try:
        if artefact.tokenizer_json is not None and artefact.manifest.tokenization is not None:
            open_tokenizer(artefact.tokenizer_json, artefact.manifest.tokenization).encode("the cat", "sat")
    except FormatError:
        return "tokenizer refused"
    return "accepted"


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in memory where there is one."""
    memory = Path("/dev/shm")
    if memory.is_dir() and os.access(memory, os.W_OK):
        folder = memory / f"fastformers-fuzz-{os.getpid()}"
        folder.mkdir()
        return folder
    return tmp_path_factory.mktemp("fuzz")


def test_the_good_artefact_is_accepted(saved: Path) -> None:
    assert outcome(saved) == "accepted"


def test_any_damage_is_refused_or_harmless(
    saved: Path, workplace: Path, plan: EncoderPlan, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {file.name: file.read_bytes() for file in saved.iterdir()}
    counts: Counter[str] = Counter()
    slowest, peak, start = 0.0, 0, time.perf_counter()
    try:
        for number in range(CASES):
            case = Case(good, SEED * 1_000_000_007 + number)
            folder = workplace / "x"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(saved, folder)
            case.write(folder)
            before, cpu = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.thread_time()
            try:
                counts[outcome(folder)] += 1
            except BaseException as error:
                pytest.fail(f"seed {SEED}, case {number} ({', '.join(case.done)}): {error!r}")
            slowest = max(slowest, time.thread_time() - cpu)
            peak = max(peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
    seconds = time.perf_counter() - start
    with capsys.disabled():
        if "FASTFORMERS_FUZZ_ARTEFACTS" in os.environ:
            print(
                f"\n{CASES:,} artefacts, seed {SEED}: {dict(counts)}, nothing else came out; slowest "
                f"{slowest * 1e3:.0f} ms, memory grew by at most {peak / 1024:.1f} MB in a case; {seconds:.0f} s"
            )
    assert slowest <= MOST_SECONDS
    assert peak * 1024 <= MOST_EXTRA_BYTES
    assert counts["refused"] > CASES / 2
    assert counts["accepted"] > 0, (
        "no change is harmless: the cases are too coarse to reach the checks behind"
    )
