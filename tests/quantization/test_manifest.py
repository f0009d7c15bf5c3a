# SPDX-License-Identifier: MIT
"""A manifest is read with suspicion: whatever is changed in it, it is refused in words or means the same as before."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastformers.errors import FormatError
from fastformers.files.strict_json import read_json
from fastformers.modules.layer_shapes import LayerShape
from fastformers.quantization.manifest import LayerEntry, Manifest

GOOD = Manifest(
    architecture="BertModel",
    attention="sdpa",
    shapes=(LayerShape(heads=3, head_size=16, intermediate=40),),
    layers={"encoder.layer.0.dense": LayerEntry(96, 48, True, True, "gelu", False, {"decision": "int8"})},
    same_layers={"other": "encoder.layer.0.dense"},
    identities=("encoder.layer.0.act",),
    attributes={"": {"use_nested_tensor": False}, "layers.0": {"activation_relu_or_gelu": 0}},
    tied={"decoder.weight": "embeddings.weight"},
    files={"model.safetensors": {"bytes": 10, "sha256": "0" * 64}},
    written_by="fastformers 0.1.0",
).to_dict()


def changed(*path: Any, to: Any) -> dict[str, Any]:
    content = copy.deepcopy(GOOD)
    place: Any = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return content


def test_goes_through_json_unchanged() -> None:
    assert Manifest.parse(json.loads(json.dumps(GOOD))).to_dict() == GOOD


LAYER = ("layers", "encoder.layer.0.dense")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "not one of ours"),
        (changed("format", to="other"), "format is 'other'"),
        (changed("format_version", to=4), "format version 4, this package reads 1, 2, 3: upgrade"),
        (changed("format_version", to="1"), "format_version is '1', must be of type int"),
        (changed("format_version", to=True), "format_version is True"),
        (changed("architecture", to="../BertModel"), "'../BertModel' is not the name"),
        (changed("architecture", to=3), "3 is not the name"),
        (changed("layers", to=[]), "layers is"),
        (changed("layers", "a/b", to={}), "'a/b' is not the name"),
        (changed("layers", "x", to={"kind": "other"}), "layer 'x'.*packed_linear"),
        (changed(*LAYER, "in_features", to=65_537), r"has shape \[96, 65537\]"),
        (changed(*LAYER, "in_features", to=0), "has shape"),
        (changed(*LAYER, "out_features", to=-1), "has shape"),
        (changed(*LAYER, "out_features", to=1.5), "out_features is 1.5"),
        (changed(*LAYER, "bias", to=1), "bias is 1"),
        (changed(*LAYER, "activation", to="tanh"), "unknown activation 'tanh'"),
        (changed(*LAYER, "activation", to=["gelu"]), "unknown activation"),
        (changed(*LAYER, "decision", to=None), "decision is None"),
        (changed("shapes", to={}), "shapes is {}, must be a list or null"),
        (changed("shapes", 0, to=[3, 16, 40]), r"shapes of layer 0 is \[3, 16, 40\]"),
        (changed("shapes", 0, "width", to=3), "must be an object with heads, head_size, intermediate"),
        (changed("shapes", 0, "heads", to=0), "heads of layer 0 is 0, must be from 1 to 65536"),
        (changed("shapes", 0, "heads", to=1 << 40), "heads of layer 0 is 1099511627776"),
        (changed("shapes", 0, "head_size", to=True), "head_size is True"),
        (changed("same_layers", "x", to="nowhere"), "'nowhere', which is not among"),
        (changed("identities", to="abc"), "identities is 'abc'"),
        (changed("identities", to=["a b"]), "'a b'"),
        (changed("attributes", "x", to={"y": "text"}), "attributes holds"),
        (changed("tied", "x", to=None), "None is not the name"),
        (changed("files", "../../etc/passwd", to={}), "'../../etc/passwd' is not a bare file name"),
        (changed("files", "/etc/passwd", to={}), "not a bare file name"),
        (changed("files", ".hidden", to={}), "not a bare file name"),
        (changed("files", "x", to={"bytes": 1, "sha256": "zz"}), "sha256 of x"),
        (changed("files", "x", to=3), "files.x is 3"),
        (changed("written_by", to=None), "written_by is None"),
    ],
)
def test_what_is_wrong_is_said(content: dict[str, Any], words: str) -> None:
    with pytest.raises(FormatError, match=words):
        Manifest.parse(content)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_other_value_anywhere_is_refused_or_harmless(data: st.DataObject) -> None:
    content = copy.deepcopy(GOOD)
    place: Any = content
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    place[key] = data.draw(VALUES)
    try:
        parsed = Manifest.parse(content)
    except FormatError:
        return
    assert Manifest.parse(parsed.to_dict()) == parsed


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("[]", "holds a list"),
        ('{"a": 1, "a": 2}', "a key occurs twice"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": Infinity}', "Infinity is not JSON"),
        ('{"a": ' + "[" * 20 + "]" * 20 + "}", "deeper than 16"),
        ("[" * 100_000, "damaged"),
        ('{"a": "\xff"}', "damaged"),
    ],
)
def test_json_is_read_strictly(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "fastformers.json"
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(FormatError, match=words):
        read_json(file)


def test_large_missing_and_special_files_are_refused(tmp_path: Path) -> None:
    large = tmp_path / "large.json"
    with large.open("wb") as file:
        file.truncate((16 << 20) + 1)
    with pytest.raises(FormatError, match="larger than"):
        read_json(large)
    for path in (tmp_path / "absent.json", tmp_path):
        with pytest.raises(FormatError, match="missing or not a plain file"):
            read_json(path)
