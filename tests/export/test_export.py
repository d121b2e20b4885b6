"""What is exported computes elsewhere what it computes here."""

from __future__ import annotations

import json
import os
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from full_disk import no_room_for
from safetensors import safe_open
from safetensors.torch import load_file
from saved_runs import saved_run

from tinygrad_fm import no_grad
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.data.catalog import CLOTHES
from tinygrad_fm.export import FORMATS, ExportError, export
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.reference.models import BUILDERS
from tinygrad_fm.runs import RunError, classify

IMAGES = np.random.default_rng(1).integers(0, 256, (5, 28, 28), dtype=np.uint8)


def twin_outputs(run, state: dict[str, torch.Tensor]) -> tuple[np.ndarray, np.ndarray]:
    """The PyTorch twin's outputs and ours, for the same inputs."""
    twin = BUILDERS[run.recipe.name]()
    twin.load_state_dict(state)
    model = run.model()
    inputs = np.random.default_rng(2).normal(size=(5, 1, 28, 28)).astype(np.float32)
    if run.recipe.extractor is not None:  # the twin takes features
        with no_grad():
            inputs = model[0](Tensor(inputs)).data
        model = model[1]
    with torch.no_grad(), no_grad():
        theirs = twin.eval()(torch.tensor(np.ascontiguousarray(inputs))).numpy()
        return theirs, model(Tensor(inputs)).data


@pytest.mark.parametrize("name", RECIPES)
def test_onnxruntime_gives_the_probabilities_that_the_run_gives(tmp_path, name):
    run = saved_run(tmp_path, name)
    session = onnxruntime.InferenceSession(export(run, "onnx"))
    for images in (IMAGES, IMAGES[:1]):  # the batch's size is free
        (got,) = session.run(["probabilities"], {"images": images[:, np.newaxis]})
        np.testing.assert_allclose(got, classify(run, images), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(got.sum(axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_the_twin_loads_the_safetensors_file_and_gives_the_same_outputs(tmp_path, name):
    run = saved_run(tmp_path, name)
    theirs, ours = twin_outputs(run, load_file(export(run, "safetensors")))
    np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["mlp-deep", "resnet"])
def test_the_twin_loads_the_torch_file_without_pickled_code(tmp_path, name):
    run = saved_run(tmp_path, name)
    theirs, ours = twin_outputs(run, torch.load(export(run, "torch"), weights_only=True))
    np.testing.assert_allclose(theirs, ours, rtol=1e-5, atol=1e-5)


def test_the_files_say_what_is_needed_to_use_them(tmp_path):
    run = saved_run(tmp_path, "cnn")
    facts = {p.key: p.value for p in onnx.load(export(run, "onnx")).metadata_props}
    assert facts["recipe"] == "cnn"
    assert tuple(json.loads(facts["classes"])) == CLOTHES
    with safe_open(export(run, "safetensors"), framework="numpy") as file:
        facts = file.metadata()
    assert (facts["mean"], facts["std"], facts["dataset"]) == ("0.28", "0.35", "garments")


def test_the_file_is_where_one_wants_it(tmp_path):
    run = saved_run(tmp_path, "mlp")
    assert export(run, "safetensors") == tmp_path / "mlp.safetensors"
    assert export(run, "safetensors", tmp_path / "other.bin") == tmp_path / "other.bin"


@pytest.mark.parametrize("to", FORMATS)
def test_a_full_disk_leaves_the_file_that_was_there(tmp_path, monkeypatch, to):
    run = saved_run(tmp_path, "mlp")
    path = tmp_path / "new" / "weights.bin"
    before = export(run, to, path).read_bytes()
    no_room_for(monkeypatch, path)
    with pytest.raises(OSError, match="No space left") as caught:
        export(run, to, path)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before


def test_what_is_no_file_is_not_replaced_by_one(tmp_path):
    (tmp_path / "nothing").symlink_to(os.devnull)
    export(saved_run(tmp_path, "mlp"), "safetensors", tmp_path / "nothing")
    assert (tmp_path / "nothing").is_symlink()


@pytest.mark.parametrize(("to", "package"), [("onnx", "onnx"), ("torch", "torch")])
def test_a_missing_package_is_named(tmp_path, monkeypatch, to, package):
    for name in [name for name in sys.modules if name.startswith("tinygrad_fm.reference")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)  # import finds it missing
    with pytest.raises(ExportError, match=r"not installed.* 'tinygrad-fm\[\w+\]'"):
        export(saved_run(tmp_path, "mlp"), to)


@pytest.mark.parametrize("to", FORMATS)
def test_a_run_without_weights_is_refused(tmp_path, to):
    run = saved_run(tmp_path, "mlp")
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(RunError, match=r"model\.safetensors is not there"):
        export(run, to)
