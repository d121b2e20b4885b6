"""The commands predict, report, export and import, as a user calls them."""

from __future__ import annotations

import os

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from saved_runs import saved_run

from tinygrad_fm.cli import main
from tinygrad_fm.cli.predict import BAR, bar
from tinygrad_fm.reference.models import mlp_1hidden
from tinygrad_fm.train.history import COLUMNS


@pytest.fixture
def shirt(tmp_path):
    """A dark shirt on white."""
    picture = Image.new("RGB", (400, 500), "white")
    picture.paste((20, 30, 90), (130, 100, 270, 400))
    picture.paste((20, 30, 90), (50, 100, 350, 200))
    picture.save(tmp_path / "shirt.jpg")
    return tmp_path / "shirt.jpg"


@pytest.fixture
def run(tmp_path):
    (tmp_path / "run").mkdir()
    return saved_run(tmp_path / "run", "mlp").path


def test_predict_prints_three_classes_in_80_columns_and_draws(run, shirt, capsys):
    assert main(["predict", str(run), str(shirt)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == str(shirt)
    assert [line.count("%") for line in lines[1:4]] == [1, 1, 1]
    assert max(map(len, lines[1:4])) <= 80
    with Image.open(shirt.with_name("shirt-prediction.png")) as drawing:
        assert drawing.width > 1000


def test_one_bad_picture_does_not_stop_the_others(run, shirt, tmp_path, capsys):
    bad = tmp_path / "bad.png"
    bad.write_text("no picture")
    arguments = [bad, tmp_path / "none.png", shirt, "--out", tmp_path / "drawn"]
    assert main(["predict", str(run), *map(str, arguments)]) == 1
    captured = capsys.readouterr()
    assert f"tinygrad-fm: {bad} is no PNG or JPEG" in captured.err
    assert f"tinygrad-fm: No such file or directory: {tmp_path / 'none.png'}" in captured.err
    assert len(captured.err.splitlines()) == 2
    assert str(shirt) in captured.out
    assert [p.name for p in (tmp_path / "drawn").iterdir()] == ["shirt-prediction.png"]


def test_drawings_do_not_overwrite_each_other(run, shirt, capsys):
    assert main(["predict", str(run), str(shirt), str(shirt.with_suffix(".png"))]) == 1
    assert "rename one of them" in capsys.readouterr().err


def test_drawings_do_not_overwrite_an_image(run, shirt, capsys):
    """As `*.jpg *.png` would have it when it is called again."""
    photo = shirt.with_name("shirt-prediction.png")
    Image.open(shirt).save(photo)
    before = photo.read_bytes()
    assert main(["predict", str(run), str(shirt), str(photo)]) == 1
    assert "shirt-prediction.png would be drawn over; leave it out" in capsys.readouterr().err
    assert photo.read_bytes() == before


def test_what_cannot_be_drawn_is_told_all_the_same(run, shirt, capsys):
    """Photos may lie where nothing can be written."""
    shirt.with_name("shirt-prediction.png").mkdir()
    assert main(["predict", str(run), str(shirt)]) == 1
    printed = capsys.readouterr()
    assert printed.out.count("%") == 3
    assert "shirt-prediction.png" in printed.err


def test_bars_grow_by_eighths_of_a_character():
    assert bar(0) == ""
    assert bar(1) == "█" * BAR
    assert bar(1 / (8 * BAR)) == "▏"
    assert bar(0.5) == "█" * (BAR // 2)


def test_export_says_where_and_fails_in_one_line(run, capsys):
    assert main(["export", str(run), "--to", "safetensors"]) == 0
    assert "mlp.safetensors has 4" in capsys.readouterr().out
    (run / "model.safetensors").write_bytes(b"torn")
    assert main(["export", str(run), "--to", "safetensors"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_weights_of_another_model_are_refused_in_one_line(run, tmp_path, capsys):
    other = saved_run(tmp_path, "resnet").path / "model.safetensors"
    other.replace(run / "model.safetensors")
    assert main(["export", str(run), "--to", "safetensors"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "these weights do not fit Sequential: 0.weight is unknown; 1.bias has the shape" in line
    assert line.endswith("; and 129 more")


def test_import_then_evaluate_and_report(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.argv", ["tinygrad-fm", "import", os.fsdecode(b"\xff")])  # no text
    torch.manual_seed(0)
    save_file(mlp_1hidden().state_dict(), tmp_path / "file")
    arguments = ["import", str(tmp_path / "file"), "mlp-1hidden", "--dataset", "garments"]
    assert main([*arguments, "--out", str(tmp_path / "a new")]) == 0
    assert f"tinygrad-fm evaluate '{tmp_path / 'a new'}'" in capsys.readouterr().out
    assert main(["evaluate", str(tmp_path / "a new")]) == 0
    assert "test accuracy" in capsys.readouterr().out
    assert main(["report", str(tmp_path / "a new")]) == 0
    assert "report.html" in capsys.readouterr().out
    assert "mlp-1hidden on garments" in (tmp_path / "a new" / "report.html").read_text("utf-8")
    (tmp_path / "a new" / "history.csv").write_text(f"{','.join(COLUMNS)}\n1,1,1,1,1,1,1\n")
    assert main(["evaluate", str(tmp_path / "a new")]) == 1  # further training is under way
    assert "is not complete: 1 of" in capsys.readouterr().err
    assert main([*arguments, "--out", str(tmp_path / "a new")]) == 1
    assert "is not empty" in capsys.readouterr().err


def test_import_takes_the_widths_of_a_file_of_settings(tmp_path, capsys):
    save_file(mlp_1hidden(hidden=5).state_dict(), tmp_path / "file")
    arguments = ["import", str(tmp_path / "file"), "mlp-1hidden", "--dataset", "garments"]
    assert main([*arguments, "--out", str(tmp_path / "run")]) == 1
    assert "has the shape (5, 784), wanted (128, 784)" in capsys.readouterr().err
    (tmp_path / "best.json").write_text('{"dataset": "mnist", "hidden": 5}')
    settings = ["--settings", str(tmp_path / "best.json")]
    assert main([*arguments, *settings, "--out", str(tmp_path / "run")]) == 0
    assert main(["evaluate", str(tmp_path / "run")]) == 0
    assert "test accuracy" in capsys.readouterr().out
    (tmp_path / "best.json").write_text('{"hidden": "wide"}')
    with pytest.raises(SystemExit):
        main([*arguments, *settings])
    assert "hidden of mlp-1hidden cannot be 'wide'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["predict", "report", "export", "import"])
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as exit_:
        main([command, "--help"])
    assert exit_.value.code == 0
    assert f"tinygrad-fm {command} " in capsys.readouterr().out.split("example:")[1]
