# SPDX-License-Identifier: MIT
"""An artefact gives back what was saved, on every instruction set, and a damaged one is refused with the reason."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastformers import errors, kernels
from fastformers.encoder_plan import EncoderPlan
from fastformers.errors import FormatError
from fastformers.kernels import NativeEncoder
from fastformers.runtime.artefact import load_artefact
from fastformers.runtime.artefact_folder import read_artefact, save_artefact

Arrays = dict[str, np.ndarray[Any, Any]]
Seal = Callable[[Path], None]

FILES = [
    "config.json",
    "fastformers.json",
    "golden.safetensors",
    "model.safetensors",
    "report.json",
    "tokenizer.json",
]


def change_json(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def change_header(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    raw = file.read_bytes()
    (size,) = struct.unpack("<Q", raw[:8])
    header = json.loads(raw[8 : 8 + size])
    change(header)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    file.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + size :])


def forward(native: NativeEncoder) -> list[Any]:
    ids = np.array([1, 2, 3, 4, 5, 6, 7], dtype=np.int32)
    types = np.array([0, 0, 1, 0, 0, 1, 1], dtype=np.int32)
    return native.forward(ids, types, np.array([0, 3, 7], dtype=np.int64), ["logits", "last_hidden_state"])


def same(one: list[Any], other: list[Any]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


def test_gives_back_what_was_saved(saved: Path, plan: EncoderPlan, make_tensors: Any, config: Any) -> None:
    artefact = read_artefact(saved, verify="full")
    expected = make_tensors(plan)
    assert artefact.plan == plan
    assert artefact.tensors.keys() == expected.keys()
    for name, array in expected.items():
        assert artefact.tensors[name].dtype == array.dtype
        assert np.array_equal(artefact.tensors[name], array)
    assert artefact.config == config
    assert artefact.report == {"layers": 2}
    assert artefact.manifest.labels == ("negative", "neutral", "positive")
    assert artefact.manifest.attention == "auto"


@pytest.mark.parametrize("int8", [True, False])
def test_loaded_encoder_gives_the_same_bits(
    tmp_path: Path, plan: EncoderPlan, make_tensors: Any, int8: bool
) -> None:
    tensors = make_tensors(plan, int8=int8)
    before = NativeEncoder(plan.to_dict(), tensors)
    save_artefact(tmp_path / "x", plan, tensors, config={}, native=before)
    loaded = load_artefact(tmp_path / "x")
    assert same(forward(loaded.native), forward(before))
    assert loaded.tokenizer_json is None
    assert loaded.tokenization is None
    assert loaded.labels is None


def test_one_folder_serves_every_instruction_set(saved: Path) -> None:
    answers = []
    for isa in kernels.available_isas():
        with kernels.use_isa(isa):
            loaded = load_artefact(saved)
            assert loaded.native.isa == isa
            answers.append(forward(loaded.native))
    assert all(same(answer, answers[0]) for answer in answers)


def test_what_is_on_disk(saved: Path) -> None:
    assert sorted(os.listdir(saved)) == FILES
    manifest = json.loads((saved / "fastformers.json").read_text())
    assert (manifest["format"], manifest["format_version"]) == ("fastformers-encoder", 1)
    assert sorted(manifest["files"]) == [name for name in FILES if name != "fastformers.json"]
    assert manifest["files"]["model.safetensors"]["bytes"] == (saved / "model.safetensors").stat().st_size


def test_safetensors_package_reads_the_tensors(saved: Path) -> None:
    from safetensors.numpy import load_file

    assert load_file(saved / "model.safetensors").keys() == read_artefact(saved).tensors.keys()


def test_tensors_are_views_of_the_file(saved: Path) -> None:
    array = read_artefact(saved).tensors["layers.0.qkv.weight"]
    assert not array.flags.owndata
    assert not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        array[0, 0] = 1


def test_an_artefact_in_use_can_be_replaced(damaged: Path, plan: EncoderPlan, make_tensors: Any) -> None:
    old = read_artefact(damaged)
    before = {name: array.copy() for name, array in old.tensors.items()}
    save_artefact(damaged, plan, make_tensors(plan, seed=1), config={}, overwrite=True)
    assert all(np.array_equal(old.tensors[name], array) for name, array in before.items())
    assert not np.array_equal(read_artefact(damaged).tensors["embeddings.type"], before["embeddings.type"])


def test_loading_imports_no_torch_and_no_pickle_and_runs_no_code(saved: Path) -> None:
    script = (
        "import sys\n"
        "from fastformers.runtime.artefact import load_artefact\n"
        "seen = []\n"
        "def watch(event, arguments):\n"
        "    if event in ('pickle.find_class', 'exec', 'compile', 'subprocess.Popen', 'os.system', 'socket.connect'):\n"
        "        seen.append((event, str(arguments)))\n"
        "sys.addaudithook(watch)\n"
        "load_artefact(sys.argv[1])\n"
        "seen += [name for name in ('torch', 'transformers') if name in sys.modules]\n"
        "sys.exit(repr(seen) if seen else 0)\n"
    )
    answer = subprocess.run([sys.executable, "-c", script, str(saved)], capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr


def test_file_descriptors_and_mappings_are_given_back(saved: Path) -> None:
    def open_now() -> tuple[int, int]:
        maps = Path("/proc/self/maps").read_text()
        return len(os.listdir("/proc/self/fd")), maps.count("model.safetensors")

    load_artefact(saved)
    before = open_now()
    for _ in range(20):
        load_artefact(saved)
    assert open_now() == before


@pytest.mark.parametrize("name", [name for name in FILES if name != "fastformers.json"])
def test_a_changed_bit_in_any_file_is_found(damaged: Path, name: str) -> None:
    raw = bytearray((damaged / name).read_bytes())
    raw[len(raw) // 2] ^= 4
    (damaged / name).write_bytes(raw)
    with pytest.raises(FormatError, match=rf"{name} is damaged: its checksum"):
        read_artefact(damaged)


@pytest.mark.parametrize("name", FILES)
def test_a_file_cut_short_missing_or_empty_is_refused(damaged: Path, name: str) -> None:
    raw = (damaged / name).read_bytes()
    for content in (raw[:-2], b""):
        (damaged / name).write_bytes(content)
        with pytest.raises(FormatError, match=name):
            read_artefact(damaged)
    (damaged / name).unlink()
    with pytest.raises(FormatError, match=f"{name} is missing"):
        read_artefact(damaged)


def test_deliberate_change_is_found_by_full_verification(damaged: Path, seal: Seal) -> None:
    old = json.loads((damaged / "fastformers.json").read_text())["files"]["config.json"]["sha256"]
    (damaged / "config.json").write_text('{"model_type": "other"}')
    seal(damaged)
    manifest = damaged / "fastformers.json"
    change_json(manifest, lambda content: content["files"]["config.json"].update(sha256=old))
    assert read_artefact(damaged, verify="fast").config["model_type"] == "other"
    with pytest.raises(FormatError, match=r"config.json was changed: its SHA-256"):
        read_artefact(damaged, verify="full")


def test_links_and_special_files_are_refused(damaged: Path, tmp_path: Path) -> None:
    file = damaged / "config.json"
    kept = Path(shutil.move(file, tmp_path / "elsewhere.json"))
    file.symlink_to(kept)
    with pytest.raises(FormatError, match=r"config.json is a symbolic link.*copy it.*cp -rL"):
        read_artefact(damaged)
    file.unlink()
    os.link(kept, file)
    with pytest.raises(FormatError, match=r"config.json is a hard link"):
        read_artefact(damaged)
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(FormatError, match="not a plain file"):
        read_artefact(damaged)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path / "absent", Path("\0")):
        with pytest.raises(FormatError, match="is not a folder"):
            read_artefact(path)
    with pytest.raises(FormatError, match=r"fastformers.json is missing"):
        read_artefact(tmp_path)


LAYER = ("plan", "layers", 0)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("format",), "other", "not of a compiled encoder: format is 'other'"),
        (("format",), "fastformers", "load it with fastformers.load_pretrained_torch"),
        (("format_version",), 2, "format version 2, this package reads 1: upgrade"),
        (("format_version",), 0, "the first one was 1"),
        (("format_version",), True, "format_version is True"),
        (("plan",), [], "plan is"),
        (("plan", "hidden"), 1 << 40, "EncoderPlan.hidden is"),
        (("plan", "hidden"), 25, "has shape"),
        (("plan", "vocab"), 51, "embeddings.word has shape"),
        (("plan", "activation"), "tanh", "EncoderPlan.activation"),
        (("plan", "extra"), 1, "missing or unknown fields: extra"),
        (("plan", "max_tokens"), 41, "EncoderPlan.max_tokens"),
        ((*LAYER, "heads"), 3, "layers.0.qkv.weight has shape"),
        ((*LAYER, "head_size"), "12", "LayerPlan.head_size"),
        ((*LAYER, "rope_base"), -1.0, "LayerPlan.rope_base"),
        (("plan", "layers"), [{}] * 2, "LayerPlan has missing"),
        (("plan", "outputs", 0, "steps", 0, "features"), 23, "has shape"),
        (("plan", "outputs", 0, "name"), "../x", "OutputPlan.name"),
        (("plan", "outputs", 0, "name"), [], r"OutputPlan.name is \[\]"),
        (("plan", "outputs", 0, "name"), "last_hidden_state", "outputs with different names"),
        (("plan", "outputs", 0, "name"), "x", "has no place in the plan"),
        (("attention",), "bf16", "attention is 'bf16'; known: auto, float32, int8"),
        (("labels",), "abc", "labels is 'abc'"),
        (("labels",), [1], "must be at most"),
        (("labels",), ["a", "b"], "labels are 2, logits 3: one for each"),
        (("result",), "a.b", "result is 'a.b', must be the name of a class"),
        (("notes",), None, "notes is None"),
        (("source",), {"a": 1}, "source is"),
        (("tokenization", "max_length"), 0, "max_length is 0"),
        (("tokenization", "max_length"), 41, "max_length is 41, must be from 1 to 40"),
        (("tokenization", "truncation_side"), "up", "truncation_side is 'up'"),
        (("tokenization", "token_types"), 1, "token_types is 1"),
        (("golden_tokens",), 100_000, "golden_tokens is 100000"),
        (("golden_sequences",), 4, "offsets has shape"),
        (("files", "../../x"), {}, "'../../x' is not a bare file name"),
        (("files", "/etc/passwd"), {}, "not a bare file name"),
        (("files", ".x"), {}, "not a bare file name"),
        (("files", "fastformers.json"), {}, "files.fastformers.json"),
        (("files", "x"), 1, "files.x is 1"),
        (("files", "config.json", "bytes"), -1, "bytes is -1"),
        (("files", "config.json", "sha256"), "0", "sha256 of config.json is '0'"),
        (("files", "config.json", "checksum"), None, "checksum is None"),
        (("written_by",), None, "written_by is None"),
    ],
)
def test_what_is_wrong_in_the_manifest_is_said(
    damaged: Path, path: tuple[Any, ...], value: Any, words: str
) -> None:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    change_json(damaged / "fastformers.json", change)
    with pytest.raises(FormatError, match=words):
        read_artefact(damaged)


def test_a_plan_that_costs_memory_without_tensors_is_refused(damaged: Path) -> None:
    def many_layers(content: dict[str, Any]) -> None:
        content["plan"]["layers"] *= 1_000

    def many_angles(content: dict[str, Any]) -> None:
        content["plan"].update(positions=0, max_tokens=1 << 24)
        content["plan"]["layers"][0]["rope_base"] = 10_000.0

    for change, words in ((many_layers, "2000 layers, at most 1024"), (many_angles, "rotary angles")):
        kept = (damaged / "fastformers.json").read_text()
        change_json(damaged / "fastformers.json", change)
        with pytest.raises(FormatError, match=words):
            read_artefact(damaged)
        (damaged / "fastformers.json").write_text(kept)


QKV = "layers.0.qkv.weight"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda h: h.pop(QKV), "begins at|end at|missing"),
        (lambda h: h[QKV].update(dtype="F16"), "unknown dtype 'F16'"),
        (lambda h: h[QKV].update(dtype=["I8"]), "unknown dtype"),
        (lambda h: h[QKV].update(shape=[-1, 24]), "impossible shape"),
        (lambda h: h[QKV].update(shape=[1 << 62, 1 << 62]), "impossible shape"),
        (lambda h: h[QKV].update(shape=[1] * 9), "impossible shape"),
        (lambda h: h[QKV].update(shape=[24, 72]), "has shape"),
        (lambda h: h[QKV].update(shape=[72, 23]), "does not fit int8"),
        (lambda h: h[QKV].update(shape="72"), "impossible shape"),
        (lambda h: h[QKV].update(shape=[True, 1728]), "impossible shape"),
        (lambda h: h[QKV].update(data_offsets=[0, 1 << 62]), "impossible place"),
        (lambda h: h[QKV].update(data_offsets=[0, 1728]), "begins at"),
        (lambda h: h[QKV].update(data_offsets=[5, 4]), "does not fit"),
        (lambda h: h[QKV].update(extra=1), "odd fields"),
        (lambda h: h.update({QKV: 5}), "odd fields"),
        (lambda h: h.update(other=h.pop(QKV)), "'other' has no place in the plan"),
    ],
)
def test_what_is_wrong_in_the_header_is_said(
    damaged: Path, seal: Seal, change: Callable[[dict[str, Any]], object], words: str
) -> None:
    change_header(damaged / "model.safetensors", change)
    seal(damaged)
    with pytest.raises(FormatError, match=words):
        read_artefact(damaged)


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"\x01", "shorter than its header"),
        (struct.pack("<Q", 100) + b"{}", "shorter than its header"),
        (struct.pack("<Q", 1 << 63), "shorter than its header"),
        (struct.pack("<Q", 2) + b"{}" + bytes(8), "its tensors end at 10, the file at 18"),
        (struct.pack("<Q", 2) + b"{}", "embeddings.word is missing"),
        (struct.pack("<Q", 5 << 20) + b" " * (5 << 20), "larger than 4194304 bytes"),
        (struct.pack("<Q", 14) + b'{"a":1,"a":1} ', "a key occurs twice"),
        (struct.pack("<Q", 2) + b"[]", "holds a list"),
    ],
)
def test_a_tensor_file_that_is_none_is_refused(damaged: Path, seal: Seal, raw: bytes, words: str) -> None:
    (damaged / "model.safetensors").write_bytes(raw)
    seal(damaged)
    with pytest.raises(FormatError, match=words):
        read_artefact(damaged)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("layers.0.qkv.bias", np.nan, "layers.0.qkv.bias holds NaN"),
        ("embeddings.position", np.inf, "holds NaN or infinity"),
        ("embeddings.word.scale", -1.0, "scales are 0 or positive"),
        ("layers.1.up.scale", np.nan, "holds NaN"),
        ("layers.1.up.factors", 0.0, "factors are positive"),
        ("layers.1.down.weight", -128, "holds -128"),
    ],
)
def test_a_wrong_number_is_refused(damaged: Path, seal: Seal, name: str, value: float, words: str) -> None:
    from safetensors.numpy import load_file, save_file

    tensors = load_file(damaged / "model.safetensors")
    tensors[name].flat[3] = value
    save_file(tensors, damaged / "model.safetensors")
    seal(damaged)
    with pytest.raises(FormatError, match=words):
        read_artefact(damaged)


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_files_that_ask_for_code_are_refused(damaged: Path, seal: Seal, name: str) -> None:
    (damaged / name).write_text('{"auto_map": {"AutoTokenizer": "code.MyTokenizer"}}')
    change_json(
        damaged / "fastformers.json",
        lambda content: content["files"].update({name: content["files"]["config.json"]}),
    )
    seal(damaged)
    with pytest.raises(FormatError, match=f"{name} asks for code"):
        read_artefact(damaged)


def test_golden_ids_out_of_range_are_refused(damaged: Path, seal: Seal) -> None:
    from safetensors.numpy import load_file, save_file

    golden = load_file(damaged / "golden.safetensors")
    for name, place, value in (("ids", 0, 50), ("types", 1, -1), ("offsets", 0, 1), ("offsets", 1, 0)):
        changed = {key: array.copy() for key, array in golden.items()}
        changed[name][place] = value
        save_file(changed, damaged / "golden.safetensors")
        seal(damaged)
        with pytest.raises(FormatError, match=r"golden.safetensors is refused: " + name):
            read_artefact(damaged)


@pytest.mark.parametrize("arguments", [{"attention": "bf16"}, {"threads": -1}, {"verify": "slow"}])
def test_wrong_arguments_are_refused(saved: Path, arguments: dict[str, Any]) -> None:
    with pytest.raises(errors.ConfigError, match=next(iter(arguments))):
        load_artefact(saved, **arguments)


def test_an_encoder_that_could_not_be_loaded_is_not_saved(
    tmp_path: Path, plan: EncoderPlan, make_tensors: Callable[..., Arrays]
) -> None:
    good = make_tensors(plan)
    name = "layers.0.output.bias"
    cases: list[tuple[Arrays, type[Exception]]] = [
        ({key: array for key, array in good.items() if key != "layers.0.qkv.scale"}, errors.ConfigError),
        ({**good, "other": good[name]}, errors.ConfigError),
        ({**good, name: good[name].astype(np.float64)}, errors.DtypeError),
        ({**good, name: good[name][1:]}, errors.ShapeError),
        ({**good, name: np.full_like(good[name], np.nan)}, errors.NonFiniteError),
    ]
    for tensors, kind in cases:
        with pytest.raises(kind):
            save_artefact(tmp_path / "x", plan, tensors, config={})
        assert not any(tmp_path.iterdir())
    with pytest.raises(errors.ConfigError, match="attention"):
        save_artefact(tmp_path / "x", plan, good, config={}, attention="bf16")


def test_an_engine_serves_it(saved: Path, damaged: Path, seal: Seal) -> None:
    from fastformers.runtime.engine import Engine

    loaded = load_artefact(saved)
    ids = np.array(loaded.tokenizer().encode("the cat sat").ids, dtype=np.int32)
    (expected,) = loaded.native.forward(ids, None, np.array([0, 3], dtype=np.int64), ["logits"])
    with Engine.from_pretrained(saved, instances=1, threads=1, pin=False) as engine:
        assert np.array_equal(engine.logits(["the cat sat"]), expected)
        assert engine.labels == ("negative", "neutral", "positive")
        assert engine.max_length == 40
    (damaged / "tokenizer.json").write_bytes(b"{}")
    seal(damaged)
    with pytest.raises(FormatError, match=r"tokenizer.json is refused"):
        Engine.from_pretrained(damaged)
