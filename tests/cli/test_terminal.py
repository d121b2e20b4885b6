"""A terminal shows what we print, whatever its encoding, and obeys nobody else's text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny_runs
from PIL import Image
from safetensors.numpy import save_file
from saved_runs import saved_run

from tinygrad_fm.checking.check import Failure, GradcheckReport
from tinygrad_fm.checking.table import Row, line, summary
from tinygrad_fm.cli import main, one_line, plainly
from tinygrad_fm.cli.predict import bars
from tinygrad_fm.formatting import printable
from tinygrad_fm.report import format_table
from tinygrad_fm.runs import begin, go_on
from tinygrad_fm.runs.folder import OWN_SUM, SUMS, WITHOUT_SUMS

# Clear the screen, name the window, another beginning of such orders (C1), back to the line's
# beginning, a new line, right to left, and what is no text at all.
EVIL = "\x1b[2J\x1b]0;owned\x07\x9b31m\rok\nok\u202etxt.exe\u2028\udc9b\x7f"
ROOT = Path(tiny_runs.__file__).parents[1]
SETTINGS = {"dataset": "garments", "epochs": 1, "batch_size": 500, "hidden": 8}


def tame(text: str) -> bool:
    """Whether a terminal would show all of it, and do nothing else."""
    return all(line.isprintable() for line in text.split("\n"))


# ---------------------------------------------------------------------------- text of others


def test_what_a_terminal_would_obey_is_written_out():
    assert printable("T-shirt/top Größe 42 \N{GRINNING FACE}") == "T-shirt/top Größe 42 😀"
    assert printable("\x1b[2J\r\n\x9b\u202e\udcff") == r"\x1b[2J\r\n\x9b\u202e\udcff"
    assert printable(Path("a\tb")) == r"a\tb"
    assert printable(EVIL).isprintable()


def test_tables_show_names_and_headers_as_they_are():
    for markdown in (False, True):
        table = format_table([{"name": EVIL, EVIL: 1}, {"name": "cnn"}], markdown=markdown)
        assert tame(table)
        assert len(table.splitlines()) >= 4
        assert "owned" in table


def test_a_message_is_one_line_of_bounded_length():
    assert one_line(f"{EVIL} a") == one_line(f"{EVIL} a").splitlines()[0]
    assert tame(one_line(EVIL))
    assert len(one_line("x" * 10**6)) < 1100


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    """A complete run with evil text wherever a string may stand."""
    folder = tmp_path_factory.mktemp("runs") / printable(EVIL).replace("\\", "\x1b")
    saved = begin("mlp-1hidden", SETTINGS, out=folder)
    go_on(saved, progress=False)
    config = saved.config | {
        "format": WITHOUT_SUMS,  # or the checksums would notice
        "classes": [f"{i}\x1b[2J\n<b>$^" for i in range(10)],
        "command": EVIL,
        "commit": EVIL,
        "versions": {"numpy": EVIL, "python": EVIL},
        EVIL: EVIL,
    }
    (folder / "config.json").write_text(json.dumps(config))
    metrics = json.loads((folder / "metrics.json").read_text())
    kept = {name: value for name, value in metrics.items() if name not in (SUMS, OWN_SUM)}
    (folder / "metrics.json").write_text(json.dumps(kept))
    (folder / "lock").write_text(EVIL[:5])
    return folder


def printed(capsys, *arguments: object) -> str:
    """What a command writes anywhere."""
    status = main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    assert status in (0, 1)
    assert "unexpected" not in err
    assert tame(out)
    assert tame(err)
    return out + err


def test_no_command_repeats_orders_to_the_terminal(evil, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    picture = tmp_path / f"\x1b[2J{'picture'}.png"
    image = Image.new("RGB", (60, 60), "white")
    image.paste((20, 20, 20), (15, 15, 45, 45))
    image.save(picture)
    broken = picture.with_name("\x1b[31mbroken.png")
    broken.write_bytes(b"")
    assert r"\x1b[2J" in printed(capsys, "evaluate", evil)
    assert "test" in printed(capsys, "compare", evil)
    assert r"\x1b[2J" in printed(capsys, "predict", evil, picture, broken)
    assert "can be opened" in printed(capsys, "report", evil)
    assert "bytes" in printed(capsys, "export", evil, "--to", "safetensors")
    assert "is complete" in printed(capsys, "train", "--resume", evil)
    (evil / "metrics.json").rename(tmp_path / "metrics.json")
    assert "was \\x1b" in printed(capsys, "train", "--resume", evil)  # a warning, of versions
    page = (evil / "report.html").read_text(encoding="utf-8")
    assert "&lt;b&gt;$^" in page
    assert "<b>$" not in page


def test_names_of_weights_are_text_as_well(tmp_path, capsys):
    save_file({EVIL[:-2]: np.zeros(1, np.float32)}, tmp_path / "weights")
    assert r"\x1b[2J" in printed(capsys, "import", tmp_path / "weights", "mlp", "--out", tmp_path)
    run = saved_run(tmp_path, "mlp")
    config = run.config | {"format": WITHOUT_SUMS}
    (run.path / "config.json").write_text(json.dumps(config))
    save_file({EVIL[:-2]: np.zeros(1, np.float32)}, run.path / "model.safetensors")
    assert "do not fit" in printed(capsys, "export", run.path, "--to", "safetensors")


# ---------------------------------------------------------------------------- encodings

ENCODINGS = ("ascii", "cp1252")
OWN_PRINTS = """
import tinygrad_fm as tg, numpy as np
from tinygrad_fm import nn, optim, data
x = tg.arange(64.0).reshape(8, 8)
model = nn.Sequential(nn.Linear(8, 4), nn.Sequential(nn.ReLU(), nn.Linear(4, 2)))
print(x, tg.zeros(0, 3), tg.arange(20), tg.tensor(float("nan")), x.sum())
print(model, list(model.parameters()), nn.Conv2d(1, 2, 3))
print(optim.SGD(model.parameters(), 0.1), data.Garments(size=10))
with tg.profile() as costs:
    model(x).sum().backward()
print(costs)
print(tg.gradcheck(model, x))
"""


COMMANDS = """
import sys
from tiny_runs import TINY
from tinygrad_fm.cli import main
from tinygrad_fm.recipes import RECIPES
RECIPES.update(TINY)
train = ["train", "mlp-1hidden", "--dataset", "garments", "--epochs", "1", "--out", sys.argv[1]]
print([main(["list"]), main(train), main(train)])
"""


def program(encoding: str, *arguments: object) -> tuple[str, str]:
    """What a Python prints whose streams have this encoding: an old terminal, a pipe on Windows."""
    done = subprocess.run(
        [sys.executable, "-c", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}", "PYTHONIOENCODING": encoding},
        capture_output=True,
        encoding=encoding,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_what_we_print_of_our_own_fits_any_encoding(encoding):
    out, err = program(encoding, OWN_PRINTS)
    assert out.isascii()
    assert err == ""
    assert "Tensor(8x8, float32, in [0, 63], mean=31.5" in out
    assert "|- 0: Linear(8, 4)" in out


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_commands_run_in_any_encoding(encoding, tmp_path):
    folder = tmp_path / "größer → run"
    out, err = program(encoding, COMMANDS, folder)
    assert out.endswith("[0, 0, 1]\n")
    assert "cnn-bn" in out  # of the list
    assert "? run/" in out  # of what was trained
    assert err.startswith("tinygrad-fm: ")
    assert "\\u2192 run is not empty" in err


def test_the_table_of_gradcheck_is_ascii():
    row = Row("conv2d", failures=["conv2d: wrong"])
    failure = Failure("input 0", (1, 2), None, 1.0, 2.0, 0.5, "complex step")
    report = GradcheckReport([failure] * 7, methods={"complex step"})
    for text in (line(row), summary([row]), str(failure), str(report)):
        assert text.isascii()


def test_signs_that_an_encoding_lacks_have_a_stand_in():
    """Bars are drawn with blocks, and stay bars."""
    text = bars(np.array([0.52, 0.48]), ("Bag", "Coat")) + "… 3 × 3 – é"
    with pytest.raises(UnicodeEncodeError) as caught:
        text.encode("ascii")
    assert plainly(caught.value)[0] == "#" * 21
    assert "█" in text
