"""Weights from PyTorch become runs, or are refused for a reason."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from full_disk import no_room_for
from safetensors.torch import save_file
from saved_runs import saved_run, stirred

from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.recipes.features import training_facts
from tinygrad_fm.recipes.weights import save_weights
from tinygrad_fm.reference.models import BUILDERS, mlp_1hidden
from tinygrad_fm.runs import RunError, classify, go_on, import_weights, open_run
from tinygrad_fm.runs.folder import INITIAL, MODEL

GARMENTS = {"dataset": "garments"}


@pytest.fixture
def weights(tmp_path):
    """A file of the twin of mlp-1hidden, and its state dict."""
    torch.manual_seed(0)
    state = mlp_1hidden().state_dict()
    save_file(state, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors", state


def test_an_imported_run_computes_what_pytorch_does_and_can_be_opened(weights, tmp_path):
    file, state = weights
    made = import_weights(file, "mlp-1hidden", GARMENTS, out=tmp_path / "run")
    run = open_run(made.path)
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)
    inputs = (images / np.float32(255) - run.normalise.mean) / run.normalise.std
    twin = BUILDERS["mlp-1hidden"]()
    twin.load_state_dict(state)
    with torch.no_grad():
        wanted = twin(torch.tensor(inputs, dtype=torch.float32)).softmax(dim=1).numpy()
    np.testing.assert_allclose(classify(run, images), wanted, rtol=1e-4)
    assert (run.path / INITIAL).exists()  # where training begins


def test_weights_of_other_widths_are_imported_with_their_settings(tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file(mlp_1hidden(hidden=5).state_dict(), file)
    with pytest.raises(RunError, match=r"has the shape \(5, 784\), wanted \(128, 784\)"):
        import_weights(file, "mlp-1hidden", GARMENTS, out=tmp_path / "run")
    made = import_weights(file, "mlp-1hidden", GARMENTS | {"hidden": 5}, out=tmp_path / "run")
    assert open_run(made.path).model().state_dict()["1.weight"].shape == (5, 784)


@pytest.mark.parametrize("name", [INITIAL, MODEL])
def test_an_import_that_ends_half_way_leaves_no_run(weights, tmp_path, monkeypatch, name):
    """It would train without the weights."""
    file, _ = weights
    run = tmp_path / "run"
    no_room_for(monkeypatch, run / name)
    with pytest.raises(OSError, match="No space left"):
        import_weights(file, "mlp-1hidden", GARMENTS, out=run)
    with pytest.raises(RunError, match=r"is no run folder: it has no config\.json"):
        open_run(run)


def test_it_is_trained_further_from_its_own_weights(weights, tmp_path):
    file, _ = weights
    settings = GARMENTS | {"epochs": 1, "lr": 1e-9}
    made = import_weights(file, "mlp-1hidden", settings, out=tmp_path / "run")
    before = made.model().state_dict()
    go_on(made, progress=False)
    for name, array in made.model().state_dict().items():
        np.testing.assert_allclose(array, before[name], atol=1e-5)


def test_without_its_weights_it_is_not_trained_from_others_in_silence(weights, tmp_path):
    made = import_weights(weights[0], "mlp-1hidden", GARMENTS, out=tmp_path / "run")
    (made.path / INITIAL).unlink()
    with pytest.raises(RunError, match=r"initial\.safetensors is not there, which training begins"):
        go_on(open_run(made.path), progress=False)


def test_half_and_double_precision_become_single(weights, tmp_path):
    _, state = weights
    for dtype in (torch.float16, torch.float64):
        save_file({name: t.to(dtype) for name, t in state.items()}, tmp_path / "other")
        made = import_weights(
            tmp_path / "other", "mlp-1hidden", GARMENTS, out=tmp_path / str(dtype)
        )
        assert made.model()[1].weight.dtype == np.float32


def test_a_type_that_numpy_does_not_know_is_named(weights, tmp_path):
    _, state = weights
    save_file({name: t.bfloat16() for name, t in state.items()}, tmp_path / "other")
    with pytest.raises(RunError, match="has numbers of the type 'BF16', which NumPy does not"):
        import_weights(tmp_path / "other", "mlp-1hidden", GARMENTS, out=tmp_path / "run")


def test_a_model_on_features_needs_its_extractor(tmp_path):
    saved_run(tmp_path, "features-mlp")
    with pytest.raises(RunError, match="needs the weights of its extractor"):
        import_weights(tmp_path / MODEL, "features-mlp", GARMENTS, out=tmp_path / "run")
    recipe = RECIPES["cnn-5conv"].changed(dataset="garments")
    save_weights(stirred(recipe.build()), tmp_path / "five", training_facts(recipe, 0))
    made = import_weights(
        tmp_path / MODEL,
        "features-mlp",
        GARMENTS,
        extractor=tmp_path / "five",
        out=tmp_path / "run",
    )
    assert classify(made, np.zeros((1, 28, 28), np.uint8)).shape == (1, 10)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("1.bias"), r"1\.bias \(128,\) is missing"),
        (lambda s: s.update(extra=torch.zeros(2)), "extra is unknown"),
        (lambda s: s.update({"3.bias": torch.zeros(11)}), r"3.bias has the shape \(11,\), wanted"),
        (lambda s: s.update({"3.bias": torch.zeros(10, dtype=torch.int64)}), "has the type int64"),
        (lambda s: s.update({"3.bias": torch.full((10,), torch.nan)}), "not finite"),
        (
            lambda s: s.update({"3.bias": torch.full((10,), 1e99, dtype=torch.float64)}),
            "not finite",
        ),
        (lambda s: s.update({str(i): torch.zeros(1) for i in range(90)}), "and 87 more"),
    ],
)
def test_weights_that_do_not_fit_are_refused_and_leave_no_folder(
    weights, tmp_path, change, message
):
    file, state = weights
    change(state)
    save_file(state, file)
    with pytest.raises(RunError, match=message):
        import_weights(file, "mlp-1hidden", GARMENTS, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"no weights at all", b"\xff" * 8, b"PK\x03\x04" * 9])
def test_other_files_are_refused(tmp_path, content):
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(RunError, match="no safetensors file"):
        import_weights(tmp_path / "file", "mlp", GARMENTS, out=tmp_path / "run")
