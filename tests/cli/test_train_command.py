"""`train`: what it prints, what it refuses, and how it ends when something goes wrong."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import tiny_runs
from full_disk import no_room_for
from safetensors import safe_open

from tinygrad_fm.cli import main
from tinygrad_fm.recipes import RECIPES
from tinygrad_fm.recipes.weights import save_weights
from tinygrad_fm.runs import begin, go_on, open_run
from tinygrad_fm.runs.interrupt import like_ctrl_c, signals_wait
from tinygrad_fm.runs.lock import locked

PROGRAM = Path(tiny_runs.__file__)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(PROGRAM.parents[1]), "OMP_NUM_THREADS": "1"}
SETTINGS = {"dataset": "garments", "epochs": 2}


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    for name, recipe in tiny_runs.TINY.items():
        monkeypatch.setitem(RECIPES, name, recipe)


@pytest.fixture
def begun(tmp_path):
    """The folder of a run that has not trained yet."""
    return begin("mlp-1hidden", SETTINGS, out=tmp_path / "run").path


def train(*arguments: object) -> int:
    return main(["train", *map(str, arguments)])


def resume_hint(path: Path) -> str:
    return f"What was saved is whole. Go on with:\n  tinygrad-fm train --resume {path}\n"


# ---------------------------------------------------------------------------- as it should


def test_trains_with_the_settings_that_are_given(tmp_path, capsys):
    out = tmp_path / "run"
    options = "--dataset garments --epochs 1 --batch-size 500 --lr 0.01 --optimizer adam --seed 7"
    assert train("mlp-1hidden", *options.split(), "--augment", "--out", out) == 0
    printed = capsys.readouterr()
    assert f"The run is in {out}/" in printed.out
    assert printed.err == ""  # quiet where there is no terminal
    saved = open_run(out)
    assert saved.config["settings"] == {
        "dataset": "garments",
        "epochs": 1,
        "batch_size": 500,
        "lr": 0.01,
        "optimizer": "adam",
        "augment": True,
    }
    assert saved.seed == 7
    assert saved.metrics()["batch_size"] == 500
    assert {"threads", "command", "commit", "test_accuracy"} <= saved.metrics().keys()
    assert train("--resume", out) == 0
    assert "is complete: test accuracy" in capsys.readouterr().out


def test_options_win_over_the_file_of_settings(tmp_path):
    file, out = tmp_path / "settings.json", tmp_path / "run"
    settings = SETTINGS | {"optimizer": "sgd", "lr": 0.1, "schedule": "cosine", "hidden": 5}
    file.write_text(json.dumps(settings))
    options = ["--epochs", 50, "--optimizer", "adam", "--schedule", "constant", "--patience", 1]
    assert train("mlp-1hidden", "--settings", file, *options, "--out", out) == 0
    saved = open_run(out)
    assert saved.config["settings"] == {
        "dataset": "garments",
        "epochs": 50,
        "optimizer": "adam",  # with its usual rate: the file's is one for SGD
        "schedule": "constant",
        "patience": 1,
        "hidden": 5,
    }
    assert saved.recipe.lr == 1e-3
    assert len(saved.history()) < 50  # it did not get better twice
    assert saved.model().state_dict()["1.weight"].shape == (5, 784)


def test_a_file_that_holds_no_settings(tmp_path, capsys):
    file = tmp_path / "settings.json"
    assert "settings.json cannot be read: No such file" in failure(
        capsys, "mlp", "--settings", file
    )
    file.write_text("[1]")
    assert "holds a JSON list, wanted an object" in failure(capsys, "mlp", "--settings", file)
    file.write_text('{"channels": [3, 4]}')
    with pytest.raises(SystemExit) as ended:
        train("mlp", "--settings", file)
    assert ended.value.code == 2
    assert "unknown setting 'channels'" in capsys.readouterr().err


def test_a_model_on_features_brings_its_extractor(tmp_path, capsys):
    out = tmp_path / "run"
    assert train("features-mlp", "--dataset", "garments", "--epochs", 1, "--out", out) == 0
    assert open_run(out / "extractor").complete
    again = open_run(out)
    accuracy = (again.predictions().predicted == again.test_set().labels).mean()
    assert accuracy == pytest.approx(again.metrics()["test_accuracy"])
    # A second one takes the first one's extractor.
    weights = out / "extractor" / "model.safetensors"
    other = tmp_path / "other"
    options = ("--dataset", "garments", "--epochs", 1, "--extractor", weights, "--out", other)
    assert train("features-mlp", *options) == 0
    assert open_run(other).metrics()["per_class"] == again.metrics()["per_class"]
    assert not (other / "extractor").exists()
    assert train("features-mlp", *options[:4], "--extractor", weights, "--seed", 1) == 1
    assert "has seed 0, wanted 1" in capsys.readouterr().err


def test_an_imported_model_is_trained_from_its_weights(begun):
    start = RECIPES["mlp-1hidden"].build()
    save_weights(start, begun / "initial.safetensors", {})
    result = go_on(open_run(begun), progress=False)
    moved = result.model.state_dict()
    # Two epochs move the weights, but not far from where they began.
    for name, array in start.state_dict().items():
        if name.endswith("weight"):
            assert 0 < abs(moved[name] - array).mean() < 0.5 * abs(array).mean() + 0.05


# ---------------------------------------------------------------------------- bad usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give a RECIPE"),
        (["unknown"], "invalid choice: 'unknown'"),
        (["mlp", "--epochs", "0"], "argument --epochs: wanted a whole number from 1, got '0'"),
        (["mlp", "--epochs", "ten"], "argument --epochs: wanted a whole number from 1, got 'ten'"),
        (["mlp", "--lr", "nan"], "argument --lr: wanted a number above 0, got 'nan'"),
        (["mlp", "--seed", "-1"], "argument --seed: wanted a whole number from 0, got '-1'"),
        (["mlp", "--colour"], "unrecognized arguments: --colour"),
        (["features-mlp", "--augment"], "trained on features, which cannot be augmented"),
        (["mlp", "--resume", "here", "--lr", "1"], "run's own settings: leave out --lr"),
        (["mlp", "--resume", "here", "--settings", "x"], "own settings: leave out --settings"),
        (["mlp", "--accept-other-machine"], "--accept-other-machine belongs to --resume RUN"),
    ],
)
def test_bad_usage_exits_with_2(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        train(*arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


# ---------------------------------------------------------------------------- failures


def failure(capsys, *arguments: object) -> str:
    """The error of a command that fails: short, and no traceback."""
    assert train(*arguments) == 1
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("tinygrad-fm: ")
    assert "Traceback" not in printed.err
    return printed.err.removeprefix("tinygrad-fm: ")


def test_no_run_folder(tmp_path, capsys):
    error = failure(capsys, "--resume", tmp_path / "nothing")
    assert error == f"there is no run folder {tmp_path / 'nothing'}\n"


def test_another_recipe_than_the_runs(begun, capsys):
    error = failure(capsys, "cnn", "--resume", begun)
    assert error == f"{begun} is of the recipe mlp-1hidden, not cnn\n"


def test_a_checkpoint_of_another_recipe(tmp_path, begun, capsys):
    other = begin("mlp-deep", SETTINGS, out=tmp_path / "other")
    go_on(other, progress=False)
    shutil.copytree(other.path / "checkpoint", begun / "checkpoint")
    error = failure(capsys, "--resume", begun)
    assert 'is of another training: recipe "mlp-deep", wanted "mlp-1hidden"' in error
    assert f"to train from the beginning, delete {begun / 'checkpoint'}" in error


@pytest.mark.filterwarnings("default::tinygrad_fm.runs.checkpoint.CheckpointWarning")
def test_a_torn_checkpoint_is_named_and_the_one_before_it_used(begun, capsys):
    go_on(open_run(begun), progress=False)
    (begun / "metrics.json").unlink()
    last = sorted((begun / "checkpoint").glob("*.safetensors"))[-1]
    last.write_bytes(last.read_bytes()[:1000])
    assert train("--resume", begun) == 0
    errors = capsys.readouterr().err
    assert errors.startswith(f"tinygrad-fm: {last} is torn")
    assert errors.endswith("; the checkpoint before it is used\n")
    assert len(errors.splitlines()) == 1


def test_a_folder_in_use(begun, capsys):
    with locked(begun):
        assert failure(capsys, "--resume", begun) == f"{begun} is in use by process {os.getpid()}\n"
    assert train("--resume", begun) == 0


def test_a_full_disk(begun, capsys, monkeypatch):
    """It has no room for the second epoch's checkpoint."""
    place = begun / "checkpoint" / "0002.safetensors"
    with monkeypatch.context() as full:
        no_room_for(full, place)
        error = failure(capsys, "--resume", begun)
    assert error == f"the disk is full, could not write: {place}\n" + resume_hint(begun)
    assert len(open_run(begun).history()) == 1
    assert train("--resume", begun) == 0
    assert len(open_run(begun).history()) == 2


@pytest.fixture
def open_folder():
    """A folder that everybody may enter, unlike pytest's own."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.fixture
def no_privileges():
    """Root may write anywhere: be nobody for a while."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    yield
    os.seteuid(0)


def test_a_place_that_may_not_be_written_to(open_folder, no_privileges, capsys):
    out = open_folder / "run"
    if os.geteuid() == open_folder.stat().st_uid:
        open_folder.chmod(0o555)
    error = failure(capsys, "mlp-1hidden", "--dataset", "garments", "--out", out)
    assert error == f"no permission: {out}\n"


def test_a_loss_that_is_no_number_names_the_operation(tmp_path, capsys):
    options = ("--dataset", "garments", "--lr", "1e30", "--out", tmp_path / "run")
    error = failure(capsys, "mlp-1hidden", *options)
    assert "the training loss is nan in epoch 1" in error
    assert "forward of " in error
    assert "try a lower learning rate" in error


def test_too_little_memory(tmp_path):
    """In a process that may have half a gigabyte more than it has at the start."""
    code = f"""
import resource, sys
sys.path[:0] = [{str(PROGRAM.parent)!r}]
from tinygrad_fm.cli import main
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 2**29
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
sys.exit(main(["train", "cnn", "--dataset", "garments", "--batch-size", "9000", "--threads", "1",
               "--out", {str(tmp_path / "run")!r}]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 1, done.stderr
    assert done.stderr.startswith("tinygrad-fm: not enough memory, try a smaller --batch-size")
    assert "Traceback" not in done.stderr


def test_debug_shows_the_traceback(tmp_path):
    with pytest.raises(RuntimeError, match="there is no run folder"):
        train("--resume", tmp_path / "nothing", "--debug")
    with pytest.raises(RuntimeError, match="there is no run folder"):
        main(["--debug", "train", "--resume", str(tmp_path / "nothing")])


# ---------------------------------------------------------------------------- ended from outside


@pytest.fixture
def ctrl_c():
    """Ctrl-C as usual, also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ctrl_c", "all_garments")
def test_ctrl_c_in_the_last_validation_is_not_forgotten(tmp_path, capsys, monkeypatch):
    recipe, validations = RECIPES["mlp-1hidden"], 0

    def loss(outputs, labels):
        nonlocal validations
        if not outputs.requires_grad:
            validations += 1
            if validations == 3:  # 2,000 images in four batches of 500
                signal.raise_signal(signal.SIGINT)
        return recipe.loss(outputs, labels)

    run = begin("mlp-1hidden", SETTINGS | {"epochs": 1}, out=tmp_path / "run").path
    monkeypatch.setitem(RECIPES, "mlp-1hidden", recipe.changed(loss=loss))
    assert train("--resume", run) == 130
    assert capsys.readouterr().err == f"tinygrad-fm: interrupted\n{resume_hint(run)}"
    assert len(open_run(run).history()) == 1
    assert train("--resume", run) == 0


def state_of(checkpoint: Path) -> dict:
    with safe_open(checkpoint, framework="numpy") as file:
        return json.loads(file.metadata()["state"])


def started(*command: object, **environment: str) -> subprocess.Popen:
    """The command line in a process of its own, with checkpoints at the end of epochs alone."""

    def as_in_a_terminal() -> None:
        """Also where the tests run in the background, which ignores Ctrl-C, or under nohup."""
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGHUP, signal.SIG_DFL)

    return subprocess.Popen(
        [sys.executable, PROGRAM, *map(str, command)],
        env={**ENVIRONMENT, "CHECKPOINT_EVERY": "1e9", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=as_in_a_terminal,
    )


def wait_for_a_checkpoint(process: subprocess.Popen, run: Path) -> None:
    """One more than there are."""
    wanted = max((int(p.stem) for p in run.glob("checkpoint/*.json")), default=0) + 1
    while not (run / f"checkpoint/{wanted:04}.json").exists() and process.poll() is None:
        time.sleep(0.005)


LONG = ["train", "mlp-1hidden", "--dataset", "garments", "--epochs", "1000", "--out"]


@pytest.mark.parametrize(
    ("number", "told"),
    [
        (signal.SIGINT, "interrupted"),
        (signal.SIGTERM, "interrupted by SIGTERM"),
        (signal.SIGHUP, "interrupted by SIGHUP"),
    ],
    ids=["INT", "TERM", "HUP"],
)
def test_signals_save_say_how_to_go_on_and_exit_with_128_and_their_number(tmp_path, number, told):
    run = tmp_path / "run"
    command = [*LONG, run]
    for _ in range(2):
        process = started(*command)
        wait_for_a_checkpoint(process, run)
        process.send_signal(number)
        output, errors = process.communicate()
        assert process.returncode == 128 + number, errors
        assert output == ""
        assert errors == f"tinygrad-fm: {told}\n{resume_hint(run)}"
        state = state_of(sorted(run.glob("checkpoint/*.safetensors"))[-1])
        assert state["train_loader"]["batches"] > 0  # in the middle of an epoch
        command = ["train", "--resume", run]


def test_a_run_whose_folder_is_removed_does_not_claim_that_it_was_saved(tmp_path):
    run = tmp_path / "run"
    process = started(*LONG, run)
    wait_for_a_checkpoint(process, run)
    run.rename(tmp_path / "elsewhere")
    _, errors = process.communicate()
    assert process.returncode == 1
    first, second = errors.splitlines()
    assert first.startswith(f"tinygrad-fm: no such file or directory: {run}")
    assert second == f"There is nothing to go on with: {run / 'config.json'} is not there."


def test_another_kernel_of_blas_is_asked_about(tmp_path):
    """As on another processor: the last bits of its matrix products are others."""
    run = tmp_path / "run"
    process = started(*LONG[:4], "--epochs", 3, "--out", run)
    wait_for_a_checkpoint(process, run)
    process.kill()
    process.communicate()
    own = open_run(run).config["versions"]["blas kernels"]
    other = {"OPENBLAS_CORETYPE": "SANDYBRIDGE" if own != "Sandybridge" else "NEHALEM"}
    code = "from tinygrad_fm.runs.folder import blas_kernels; print(blas_kernels())"
    asked = [sys.executable, "-c", code]
    found = subprocess.check_output(asked, env={**ENVIRONMENT, **other}, text=True).strip()
    if found == own:
        pytest.skip(f"this BLAS has the kernels for {own} alone")
    process = started("train", "--resume", run, **other)
    _, errors = process.communicate()
    assert process.returncode == 1
    assert f"would go on with blas kernels {found} (was {own}), as on another machine" in errors
    assert "give --accept-other-machine" in errors
    process = started("train", "--resume", run, "--accept-other-machine", **other)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
    assert f"goes on with blas kernels {found} (was {own}): the last bits may differ" in errors


def test_a_complete_run_without_its_weights_gets_them_again(begun, capsys):
    go_on(open_run(begun), progress=False)
    weights = begun / "model.safetensors"
    before = weights.read_bytes()
    weights.unlink()
    assert main(["evaluate", str(begun)]) == 1
    assert f"go on with `tinygrad-fm train --resume {begun}`" in capsys.readouterr().err
    assert train("--resume", begun) == 0
    assert weights.read_bytes() == before
    capsys.readouterr()
    assert main(["evaluate", str(begun)]) == 0
    assert "test accuracy" in capsys.readouterr().out


# ---------------------------------------------------------------------------- signals in a program


def test_a_second_ctrl_c_ends_the_program_at_once(ctrl_c):
    with signals_wait() as interrupt:
        assert interrupt() is None
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # a service manager may send two
        assert str(interrupt()) == "SIGTERM"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_what_is_ignored_stays_ignored_and_what_was_set_comes_back(ctrl_c):
    """nohup ignores SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    others = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        with like_ctrl_c(), signals_wait() as interrupt:
            signal.raise_signal(signal.SIGHUP)
            assert interrupt() is None
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
        assert {number: signal.getsignal(number) for number in others} == others
    finally:
        signal.signal(signal.SIGHUP, before)


def test_sigterm_outside_training_ends_a_command_too():
    with pytest.raises(KeyboardInterrupt, match="SIGTERM"), like_ctrl_c():
        signal.raise_signal(signal.SIGTERM)
