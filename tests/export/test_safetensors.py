import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from recctl import export_model, verify_export
from recctl.errors import ArtifactError
from recctl.export.safetensors import load
from tests.export.toys import VARIANTS, fitted, users_of


@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("variant", VARIANTS)
def test_loaded_model_equals_the_exported_one(tmp_path: Path, variant: str, text: bool) -> None:
    model = fitted(variant, text)
    export_model(model, "safetensors", tmp_path / "out")
    verify_export(tmp_path / "out")
    for path in (tmp_path / "out", tmp_path / "out" / "model.safetensors"):
        back = load(path)
        assert back.hyperparameters() == model.hyperparameters()
        np.testing.assert_array_equal(back.score_users(users_of(model)), model.score_users(users_of(model)))
    assert back.save(tmp_path / "a.pkl") == model.save(tmp_path / "b.pkl")


def test_safetensors_library_reads_the_file(tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file as load_torch

    model = fitted("als", text=True)
    export_model(model, "safetensors", tmp_path / "out")
    tensors = load_torch(tmp_path / "out" / "model.safetensors")
    scores = tensors["user_factors"] @ tensors["item_factors"].T
    torch.testing.assert_close(scores.numpy(), model.score_users(users_of(model)), rtol=1e-5, atol=1e-5)
    ends = tensors["item_vocabulary.ends"].tolist()
    letters = bytes(tensors["item_vocabulary.letters"].numpy())
    assert letters[: ends[0]].decode() == model.item_vocabulary.ids[0]


@pytest.mark.parametrize("variant", ["lightgcn", "mult-vae", "ncf", "sasrec"])
def test_tensors_of_a_network_are_its_weights_by_name(tmp_path: Path, variant: str) -> None:
    from safetensors.torch import load_file as load_torch

    model = fitted(variant)
    export_model(model, "safetensors", tmp_path / "out")
    tensors = load_torch(tmp_path / "out" / "model.safetensors")
    layers = {name.removeprefix("weights."): tensor for name, tensor in tensors.items() if name.startswith("weights")}
    # A new network takes them as its state, without missing or unexpected names, and with equal shapes.
    network = model._new_network()
    network.load_state_dict(layers)
    for name, weight in model.model.state_dict().items():
        assert (network.state_dict()[name] == weight).all()


@pytest.mark.parametrize("variant", ["mult-vae", "sasrec"])
def test_file_of_version_1_with_flat_weights_is_loaded(tmp_path: Path, variant: str) -> None:
    model = fitted(variant)
    file = export_model(model, "safetensors", tmp_path / "out").path / "model.safetensors"
    with safe_open(file, framework="numpy") as opened:
        header = json.loads(opened.metadata()["recctl"])
    del header["layers"]
    tensors = {name: array for name, array in load_file(file).items() if not name.startswith("weights.")}
    save_file(tensors | {"weights": model.weights}, file, {"recctl": json.dumps(header | {"format_version": 1})})
    np.testing.assert_array_equal(load(file).score_users(users_of(model)), model.score_users(users_of(model)))


@pytest.mark.parametrize(
    ("header", "tensors", "message"),
    [
        ({}, {"weights.mean": np.zeros((4, 8), np.float32)}, "layers of another network or in another order: mean"),
        ({}, {"weights.mean": None}, "damaged"),
        ({"layers": ["mean", "item_in"]}, {}, "not a valid|weights"),
        ({"layers": 3}, {}, "damaged"),
    ],
)
def test_layers_of_another_network_are_refused(tmp_path: Path, header: Any, tensors: Any, message: str) -> None:
    file = export_model(fitted("mult-vae"), "safetensors", tmp_path / "out").path / "model.safetensors"
    with pytest.raises(ArtifactError, match=message):
        load(edited(file, header, **tensors))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    export_model(fitted("ease", text=True), "safetensors", tmp_path / "out")
    return tmp_path / "out" / "model.safetensors"


def edited(file: Path, message: Any = None, **tensors: Any) -> Path:
    with safe_open(file, framework="numpy") as opened:
        before = json.loads(opened.metadata()["recctl"])
    there = {name: array for name, array in {**load_file(file), **tensors}.items() if array is not None}
    header = message if isinstance(message, str) else json.dumps(before | (message or {}))
    save_file(there, file, {"recctl": header})
    return file


@pytest.mark.parametrize(
    ("metadata", "tensors", "message"),
    [
        ("{", {}, "damaged"),
        ("[]", {}, "damaged"),
        ("{}", {}, "damaged"),
        ({"format_version": 3}, {}, "format version 3; upgrade recctl"),
        ({"format_version": "x"}, {}, "damaged"),
        ({"model": "eas"}, {}, "holds a model 'eas', which is not installed here"),
        ({"model": "../ease"}, {}, "which is not installed here"),
        ({"model": ["ease"]}, {}, "which is not installed here"),
        ({"hyperparameters": {"l2_rge": 1.0}}, {}, "unknown parameter; did you mean l2_reg"),
        ({"hyperparameters": 3}, {}, "a model without hyperparameters"),
        ({"numbers": []}, {}, "damaged"),
        ({}, {"weights": None}, "weights missing"),
        ({}, {"weights": np.zeros((3, 3), np.float32)}, "weights has shape"),
        ({}, {"weights": np.zeros((20, 20), np.float64)}, "weights has another type"),
        ({}, {"seen.columns": np.full(1, 99, np.int32)}, "sparse matrix"),
        ({}, {"item_vocabulary.ends": np.arange(20, dtype=np.int64)}, "do not match their letters"),
        ({}, {"item_vocabulary.ends": np.arange(20, dtype=np.int32)}, "uint8 letters and int64 ends"),
        ({}, {"item_vocabulary.letters": None}, "item_vocabulary"),
    ],
)
def test_incomplete_model_is_refused(file: Path, metadata: Any, tensors: Any, message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        load(edited(file, metadata, **tensors))


def test_tensors_of_another_program_are_refused(file: Path) -> None:
    save_file({"weights": np.zeros(3)}, file)
    with pytest.raises(ArtifactError, match="written by another program"):
        load(file)


def test_invalid_utf8_ids_are_refused(file: Path) -> None:
    letters = load_file(file)["item_vocabulary.letters"]
    letters[0] = 0xFF
    with pytest.raises(ArtifactError, match="damaged"):
        load(edited(file, **{"item_vocabulary.letters": letters}))


def test_invalid_files_are_refused(tmp_path: Path, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = file.read_bytes()
    for content in (b"", b"\x80\x04.", whole[:-1], whole[:100], json.dumps({}).encode(), b"\xff" * 64):
        file.write_bytes(content)
        with pytest.raises(ArtifactError, match="damaged"):
            load(file)
    with pytest.raises(ArtifactError, match="No such file"):
        load(tmp_path / "none")
    file.write_bytes(whole)
    monkeypatch.setenv("RECCTL_MEMORY", "1000")
    with pytest.raises(ArtifactError, match=r"to load, 1\.0 kB are available"):
        load(file)
