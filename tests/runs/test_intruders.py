"""A run folder, pictures and weights of somebody who wishes us ill.

Nothing outside of the folder is touched, nothing waits for ever, and what a file only declares is
not built. (`tests/cli/test_terminal.py` has what they may do to a terminal.)
"""

from __future__ import annotations

import json
import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tiny_runs
from PIL import Image
from saved_runs import saved_run
from special_files import SPECIAL, within_seconds

from tinygrad_fm.cli import main
from tinygrad_fm.data import locate, read_idx, read_picture
from tinygrad_fm.data.sources import STEMS, DataUnavailable
from tinygrad_fm.recipes import RECIPES, ExtractorError
from tinygrad_fm.recipes.features import load_extractor, training_facts
from tinygrad_fm.recipes.weights import save_weights
from tinygrad_fm.runs import RunError, begin, go_on, import_weights, open_run
from tinygrad_fm.runs.checkpoint import Checkpoints
from tinygrad_fm.runs.files import read_json, write_json
from tinygrad_fm.runs.lock import locked

PRECIOUS = b"precious"
SETTINGS = {"dataset": "garments", "epochs": 1}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    for name, recipe in tiny_runs.TINY.items():
        monkeypatch.setitem(RECIPES, name, recipe)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A complete run; tests take a copy."""
    with pytest.MonkeyPatch.context() as patch:
        for name, recipe in tiny_runs.TINY.items():
            patch.setitem(RECIPES, name, recipe)
        saved = begin("mlp-1hidden", SETTINGS, out=tmp_path_factory.mktemp("runs") / "run")
        go_on(saved, progress=False)
    return saved.path


@pytest.fixture
def run(trained, tmp_path):
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def begun(run):
    """A run of which nothing but the beginning is there."""
    for path in run.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "config.json":
            path.unlink()
    return run


@pytest.fixture
def victim(tmp_path):
    """A file outside of the run."""
    path = tmp_path / "home" / "victim"
    path.parent.mkdir()
    path.write_bytes(PRECIOUS)
    return path


def call(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def picture(path: Path) -> Path:
    image = Image.new("RGB", (60, 60), "white")
    image.paste((20, 20, 20), (15, 15, 45, 45))
    image.save(path)
    return path


# ---------------------------------------------------------------------------- links


def check_links(victim: Path, places: list[Path], command: Callable[[], int]) -> None:
    """Links at all these places, to a file and to a name where there is none, lead nowhere."""
    nothing = victim.with_name("nothing")
    for target in (victim, nothing):
        for place in places:
            place.unlink(missing_ok=True)
            place.symlink_to(target)
        assert command() == 0
        assert victim.read_bytes() == PRECIOUS
        assert os.listdir(victim.parent) == [victim.name]


@pytest.mark.parametrize("name", ["report.html", "report.partial.html"])
def test_a_report_is_written_into_the_run_alone(run, victim, name):
    check_links(victim, [run / name], lambda: call("report", run))
    assert b"<html" in (run / "report.html").read_bytes()
    assert not (run / "report.html").is_symlink()


@pytest.mark.parametrize("ending", ["onnx", "safetensors", "pt"])
def test_an_export_is_written_into_the_run_alone(run, victim, ending):
    places = [run / f"mlp-1hidden{middle}.{ending}" for middle in ("", ".partial")]
    to = "torch" if ending == "pt" else ending
    check_links(victim, places, lambda: call("export", run, "--to", to))
    assert places[0].is_file()
    assert not places[0].is_symlink()


def test_predictions_are_drawn_over_no_other_file(run, victim, tmp_path):
    shirt = picture(tmp_path / "shirt.png")
    place = tmp_path / "shirt-prediction.png"
    check_links(victim, [place], lambda: call("predict", run, shirt))
    assert not place.is_symlink()


def test_pictures_and_graphs_replace_a_link(run, victim, tmp_path):
    places = [tmp_path / "comparison.png", tmp_path / "graph.dot"]

    def command() -> int:
        return call("compare", run, "--out", places[0]) + call("graph", "mlp", "-o", places[1])

    check_links(victim, places, command)
    assert not any(place.is_symlink() for place in places)


def test_training_writes_into_the_run_alone(begun, victim):
    """Not metrics.json: whatever is there says that the run is complete."""
    names = ["history.csv", "model.safetensors", "curves.png", "confusion.png", "predictions.png"]
    names += ["history.partial.csv", "checkpoint/0001.partial.json"]
    places = [begun / name for name in names]
    (begun / "checkpoint").mkdir()
    for target in (victim, victim.with_name("nothing")):
        for place in places:
            place.unlink(missing_ok=True)
            place.symlink_to(target)
        (begun / "metrics.json").unlink(missing_ok=True)
        (begun / "metrics.json").symlink_to(victim.with_name("nothing"))
        assert call("train", "--resume", begun) == 0
        assert victim.read_bytes() == PRECIOUS
        assert os.listdir(victim.parent) == [victim.name]
    assert open_run(begun).metrics()["epochs"] == 1


@pytest.mark.parametrize("target", ["victim", "nothing"])
def test_a_lock_that_is_a_link_is_refused(begun, victim, capsys, target):
    (begun / "lock").symlink_to(victim.with_name(target))
    assert call("train", "--resume", begun) == 1
    assert f"{begun / 'lock'} is a link, wanted a file" in capsys.readouterr().err
    assert victim.read_bytes() == PRECIOUS
    assert os.listdir(victim.parent) == [victim.name]


def test_a_lock_that_is_another_name_of_a_file_is_refused(begun, victim):
    os.link(victim, begun / "lock")
    with pytest.raises(RunError, match="lock is no file of the folder's own"), locked(begun):
        pass
    assert victim.read_bytes() == PRECIOUS


def test_a_lock_that_is_a_pipe_is_refused(begun):
    os.mkfifo(begun / "lock")
    error = pytest.raises(RunError, match="no file of the folder's own")
    with within_seconds(20), error, locked(begun):
        pass


def test_checkpoints_are_not_written_or_removed_elsewhere(begun, victim, capsys):
    """0001.json there would be taken for an old checkpoint, and removed."""
    elsewhere = victim.parent
    for number in range(1, 5):
        (elsewhere / f"000{number}.json").write_bytes(PRECIOUS)
    before = sorted(os.listdir(elsewhere))
    (begun / "checkpoint").symlink_to(elsewhere)
    assert call("train", "--resume", begun) == 1
    assert "checkpoint is a link, wanted a folder of the run's own" in capsys.readouterr().err
    assert sorted(os.listdir(elsewhere)) == before
    with pytest.raises(RunError, match="is a link"):
        Checkpoints(begun / "checkpoint", {})


def test_an_extractor_is_not_trained_elsewhere(tmp_path, victim, capsys):
    saved = begin("features-mlp", SETTINGS, out=tmp_path / "run")
    (saved.path / "extractor").symlink_to(victim.parent)
    assert call("train", "--resume", saved.path) == 1
    assert "extractor is a link, wanted a folder of the run's own" in capsys.readouterr().err
    assert os.listdir(victim.parent) == [victim.name]


def test_a_search_writes_into_its_folder_alone(tmp_path, victim, capsys):
    pytest.importorskip("optuna")
    out = tmp_path / "search"
    search = ("tune", "mlp-1hidden", "--dataset", "garments", "--epochs", 1, "--trials", 1)
    out.mkdir()
    for name in ("trials.csv", "trials.png", "best.json"):
        (out / name).symlink_to(victim)
    assert call(*search, "--out", out) == 0
    assert victim.read_bytes() == PRECIOUS
    (out / "trials.db").unlink()
    (out / "trials.db").symlink_to(victim.with_name("nothing"))
    assert call(*search, "--out", out) == 1
    assert "trials.db is no file of the folder's own" in capsys.readouterr().err
    assert os.listdir(victim.parent) == [victim.name]


# ---------------------------------------------------------------------------- pipes and devices

EXTRACTOR = tiny_runs.TINY["cnn-5conv"].changed(dataset="garments")


def read_checkpoint(path: Path) -> object:
    write_json(path.with_suffix(".json"), {"format": "tinygrad_fm checkpoint 1", "sha256": ""})
    return Checkpoints(path.parent, {}).load()


READERS: dict[str, tuple[str, Callable[[Path], object], type[Exception]]] = {
    "picture": ("shirt.png", read_picture, OSError),
    "idx": ("images", read_idx, OSError),
    "config": ("config.json", lambda path: open_run(path.parent), RunError),
    "metrics": ("metrics.json", lambda path: open_run(path.parent).metrics(), RunError),
    "history": ("history.csv", lambda path: open_run(path.parent).history(), RunError),
    "model": ("model.safetensors", lambda path: open_run(path.parent).model(), RunError),
    "settings": ("best.json", read_json, RunError),
    "weights": (
        "other.safetensors",
        lambda path: import_weights(path, "mlp-1hidden", SETTINGS, out=path.parent / "imported"),
        RunError,
    ),
    "extractor": ("extractor", lambda path: load_extractor(EXTRACTOR, 0, path), ExtractorError),
    "manifest": ("0001.json", lambda path: Checkpoints(path.parent, {}).load(), RunError),
    "checkpoint": ("0001.safetensors", read_checkpoint, RunError),
}


@pytest.mark.parametrize("kind", SPECIAL)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_file_is_refused_at_once(run, reader, kind):
    name, read, error = READERS[reader]
    path = run / name
    path.unlink(missing_ok=True)
    SPECIAL[kind](path)
    if reader == "manifest" and kind == "loop":  # it leads nowhere: there is no manifest
        assert read(path) is None
        return
    with within_seconds(20), pytest.raises(error):
        read(path)


@pytest.mark.parametrize("kind", SPECIAL)
def test_a_data_set_of_no_files_is_refused_at_once(tmp_path, kind):
    for stem in STEMS:
        SPECIAL[kind](tmp_path / f"{stem}.gz")
    with within_seconds(20), pytest.raises(DataUnavailable, match="lacks train-images"):
        locate("mnist", tmp_path)


def test_predict_goes_on_behind_a_pipe(run, tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe.png")
    with within_seconds(60):
        assert call("predict", run, tmp_path / "pipe.png", picture(tmp_path / "shirt.png")) == 1
    printed = capsys.readouterr()
    assert printed.err.startswith("tinygrad-fm: Not a file but a pipe, socket or device: ")
    assert "drawn in" in printed.out


# ---------------------------------------------------------------------------- what is only declared

ROOM = 400 << 20  # bytes; the models that are declared below take more


@pytest.fixture
def little_memory():
    """What asks for more than ROOM fails."""
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + ROOM, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def declare(folder: Path, **settings: object) -> Path:
    """A run of `mlp` with the weights of its usual widths, and other widths declared."""
    run = saved_run(folder, "mlp")
    write_json(
        run.path / "config.json", run.config | {"settings": run.config["settings"] | settings}
    )
    return run.path


def test_a_model_that_is_only_declared_is_not_built(tmp_path, little_memory):
    """200 million parameters: 860 MB, and twice that while they are drawn."""
    path = declare(tmp_path, hidden=[20_000, 10_000])
    with pytest.raises(RunError, match=r"wanted \(20000, 784\)"):
        open_run(path).model()
    with pytest.raises(RunError, match=r"wanted \(20000, 784\)"):
        import_weights(path / "model.safetensors", "mlp", {"hidden": [20_000, 10_000]})


def test_an_extractor_that_is_only_declared_is_not_built(tmp_path, little_memory):
    wide = EXTRACTOR.changed(build=lambda: RECIPES["mlp"].build(hidden=(20_000, 10_000)))
    save_weights(RECIPES["mlp"].build(), tmp_path / "weights", training_facts(EXTRACTOR, 0))
    with pytest.raises(ExtractorError, match=r"wanted \(20000, 784\)"):
        load_extractor(wide, 0, tmp_path / "weights")


@pytest.mark.parametrize("name", ["mlp", "mlp-deep", "cnn", "cnn-bn", "cnn-5conv", "resnet"])
def test_a_model_beyond_all_bounds_is_refused_with_its_settings(tmp_path, name, little_memory):
    run = saved_run(tmp_path, name)
    recipe = RECIPES[name]
    usual = recipe.build.keywords if hasattr(recipe.build, "keywords") else {}
    argument = "channels" if name in ("resnet", "cnn", "cnn-bn", "cnn-5conv") else "hidden"
    count = {"mlp": 2, "mlp-deep": 3, "cnn": 2, "cnn-bn": 3, "cnn-5conv": 3, "resnet": 3}[name]
    count = len(usual.get(argument, range(count)))
    for width, message in ((300_000, "parameters, wanted at most"), (10**30, "cannot be")):
        settings = run.config["settings"] | {argument: [width] * count}
        write_json(run.path / "config.json", run.config | {"settings": settings})
        with pytest.raises(RunError, match=message):
            open_run(run.path)


def test_names_of_classes_have_a_bound(run):
    config = json.loads((run / "config.json").read_text())
    write_json(run / "config.json", config | {"classes": ["c" * 10**6] * 10})
    with pytest.raises(RunError, match="as 'classes'; it is damaged"):
        open_run(run)


def test_weights_come_into_a_hollow_model_as_into_any_other(tmp_path):
    saved = saved_run(tmp_path, "cnn-bn")
    wanted = saved.recipe.build()
    model = saved.own_model()
    for name, array in model.state_dict().items():
        assert array.flags.writeable
        assert array.flags.c_contiguous
        assert array.dtype == wanted.state_dict()[name].dtype
        assert np.ptp(array) > 0 or array.size == 1
    assert all(p.requires_grad for p in model.parameters())
