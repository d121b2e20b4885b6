"""A plan as a table and as a picture."""

import pytest

import tinygrad_fm as tg
from tinygrad_fm import nn
from tinygrad_fm.cli import main
from tinygrad_fm.plan.compiled import plan_of
from tinygrad_fm.report.plan import plot_memory


@pytest.mark.parametrize("arguments", [["mlp"], ["cnn-bn"], ["cnn", "--inference"]])
def test_the_table_names_every_call_with_its_time_and_place(arguments, capsys):
    assert main(["profile", *arguments, "--plan", "--batch-size", "2"]) == 0
    head, _, *rows, total = capsys.readouterr().out.strip().splitlines()
    assert head.split() == ["call", "shape", "us", "KB"]
    assert max(map(len, (head, *rows))) <= 80
    calls = [row.split("(")[0].strip() for row in rows]
    assert ("Linear backward" in calls) == ("--inference" not in arguments)
    times = [float(row.split(")")[1].split()[0].replace(",", "")) for row in rows]
    assert all(0 < time < 1e6 for time in times)
    assert total.startswith(f"{len(rows)} calls, ")


def test_the_picture(tmp_path):
    model = tg.compile(nn.Sequential(nn.Linear(4, 400), nn.ReLU(), nn.Linear(400, 2)))
    figure = plot_memory(model, tg.randn(100, 4), "small", tmp_path / "plan.png")
    assert (tmp_path / "plan.png").stat().st_size > 10_000
    places, total = figure.axes
    assert len(places.patches) == 2  # the layer, and its gradient
    assert len(total.lines[0].get_ydata()) == 6  # calls


def test_what_has_no_plan():
    with pytest.raises(ValueError, match="is not compiled"):
        plan_of(nn.Linear(1, 1), tg.ones(1, 1))

    class Reading(nn.Linear):
        def forward(self, x):
            return super().forward(x) * x.sum().item()

    model = tg.compile(Reading(1, 1))
    with (
        pytest.warns(UserWarning, match="not planned"),
        pytest.raises(ValueError, match=r"cannot be planned: .*reads"),
    ):
        plan_of(model, tg.ones(1, 1))
