"""The benchmark: its statistics on known numbers, and small runs of everything it measures."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

import tinygrad_fm
from benchmarks import epoch, machine, memory, operations, training
from benchmarks.__main__ import main
from benchmarks.chart import plot_ratios
from benchmarks.processes import ROOT
from benchmarks.publish import MARKS, PICTURE, publish
from benchmarks.settings import Settings
from benchmarks.sides import layouts, our_model, threads, torch_model, torch_optimizer
from benchmarks.summary import lines, tables, warning
from benchmarks.timing import compared, interleaved, paired_ratio

QUICK = Settings(("mlp",), (4,), (1,), repeats=2, quick=True)
RATIO = {"ratio", "ratio_low", "ratio_high", "ratio_of_fastest"}
TIMES = {"ours_ms", "torch_ms", "torch_channels_last_ms"}

# ------------------------------------------------------------------------------ statistics


def test_what_slows_both_down_cancels():
    rng = np.random.default_rng(0)
    load = rng.uniform(1, 10, 50)
    ratio = paired_ratio(0.5 * load, load)
    assert ratio == pytest.approx((0.5, 0.5, 0.5))


def test_the_interval_holds_the_truth_as_often_as_it_says():
    rng = np.random.default_rng(1)
    hits = 0
    for _ in range(200):
        a, b = rng.lognormal(math.log(0.8), 0.2, 30), rng.lognormal(0, 0.2, 30)
        ratio = paired_ratio(a, b)
        assert ratio.low <= ratio.median <= ratio.high
        hits += ratio.low <= 0.8 <= ratio.high
    assert 0.88 <= hits / 200 <= 0.99


def test_the_interval_is_the_same_every_time():
    a, b = np.random.default_rng(2).random((2, 20))
    assert paired_ratio(a, b) == paired_ratio(a, b)


def test_the_better_layout_counts():
    ours = np.array([1.0, 2.0, 3.0])
    figures = compared({"ours": ours, "torch": 4 * ours, "torch_channels_last": 2 * ours})
    assert figures["ratio"] == figures["ratio_of_fastest"] == 0.5
    assert (figures["ours_ms"], figures["torch_channels_last_ms"]) == (2000, 4000)
    assert compared({"ours": ours, "torch": ours})["torch_channels_last_ms"] is None


def test_contenders_take_turns():
    calls: list[str] = []
    contenders = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = interleaved(contenders, repeats=3, turn=0, pause=0)
    assert "".join(calls[-12:]) == "aabbaabbaabb"  # one call that is not counted, one that is
    assert {name: len(t) for name, t in times.items()} == {"a": 3, "b": 3}


# ------------------------------------------------------------------------------ fairness


def test_both_sides_compute_the_same():
    for name in ("mlp", "cnn"):
        steps = training.contenders(False, name, 4)
        assert len(steps) == (3 if name == "cnn" else 2)
        model = our_model(name)
        x = np.random.default_rng(0).standard_normal((2, 1, 28, 28)).astype(np.float32)
        for channels_last in layouts(model).values():
            theirs = torch_model(name, model, channels_last)(torch.tensor(x))
            np.testing.assert_allclose(
                model(tinygrad_fm.Tensor(x)).detach(), theirs.detach(), atol=1e-5
            )


def test_torch_gets_its_best_configuration():
    model = torch_model("cnn-bn", our_model("cnn-bn"), channels_last=True)
    assert model[5].weight.is_contiguous(memory_format=torch.channels_last)
    assert {type(m) for m in model if "Dropout" in type(m).__name__} == {torch.nn.Dropout}
    assert torch_optimizer("cnn-bn", model).param_groups[0]["fused"]


def test_thread_counts_are_left_as_found():
    before = tinygrad_fm.get_num_threads(), torch.get_num_threads()
    with threads(before[0] + 2):
        assert tinygrad_fm.get_num_threads() == torch.get_num_threads() == before[0] + 2
    assert (tinygrad_fm.get_num_threads(), torch.get_num_threads()) == before


# ------------------------------------------------------------------------------ small runs


def check(row: dict, *names: str) -> None:
    """These columns are there, and their numbers make sense."""
    assert set(names) <= set(row)
    numbers = [v for k, v in row.items() if isinstance(v, float) and k != "others_share"]
    assert all(math.isfinite(v) and v > 0 for v in numbers), row
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    folder = tmp_path_factory.mktemp("benchmarks")
    sections = ["training_step", "inference", "overhead"]
    options = ["--quick", "--models", "mlp", "cnn", "--batch-sizes", "4", "--threads", "1"]
    files = ["--json", str(folder / "run.json"), "--chart", str(folder / "chart.png")]
    assert main([*options, "--repeats", "2", "--only", *sections, *files]) == 0
    return folder


def test_the_json_file(results):
    run = json.loads((results / "run.json").read_text())
    assert [row["model"] for row in run["training_step"]] == ["mlp", "cnn"]
    for row in run["training_step"] + run["inference"]:
        check(row, "model", "batch_size", "threads", "others_share", *TIMES, *RATIO)
        assert (row["torch_channels_last_ms"] is None) == (row["model"] == "mlp")
    assert sorted({row["batch_size"] for row in run["inference"]}) == [1, 8]
    assert [row["chain"] for row in run["overhead"]] == ["add", "mul"]
    for row in run["overhead"]:
        check(row, "ours_us", "torch_us", *RATIO)
        assert row["operations"] == 1000
    about = run["machine"]
    assert about["versions"]["numpy"] == np.__version__
    assert about["peaks"][0]["threads"] == 1
    assert about["numpy_blas"][0].keys() >= {"version", "architecture"}
    assert {"cpu", "cores", "environment", "spinning_ms", "torch_cpu_capability"} <= set(about)


def test_the_chart(results):
    assert (results / "chart.png").read_bytes().startswith(b"\x89PNG")


def test_the_summary_of_several_runs(results, capsys):
    file = str(results / "run.json")
    assert main(["summary", file, file]) == 0
    printed = capsys.readouterr().out
    assert "**Training step, 1 thread**" in printed
    assert "| mlp, batch 4 |" in printed


@pytest.mark.parametrize("index", [1, 16])
def test_operations(index):
    forward, backward = operations.measure(QUICK, operations.CASES[index], 2, 1)
    for row in (forward, backward):
        check(row, "operation", *TIMES, *RATIO, "gflops", "gbytes_per_s", "share_of_sgemm_peak")
    assert (forward["direction"], backward["direction"]) == ("forward", "backward")


def test_every_case_of_operations_is_the_same_in_both_libraries():
    rng = np.random.default_rng(0)
    for case in operations.CASES:
        if case.name == "dropout":
            continue
        x = rng.standard_normal((2, *case.shape)).astype(np.float32)
        module = case.build(tinygrad_fm.nn)
        ours = operations.our_side(case, module, x).forward()
        theirs = operations.torch_side(case, module, x, False).forward()
        np.testing.assert_allclose(
            ours.detach(), theirs.detach(), atol=1e-4, rtol=1e-4, err_msg=case.name
        )


def test_memory_of_two_processes():
    (row,) = memory.measure(QUICK, "cnn-bn", 1)
    check(row, "ours_mb", "torch_mb", "torch_channels_last_mb", *RATIO)
    assert row["ours_mb"] < row["torch_mb"]  # or else ours has imported torch


def test_an_epoch():
    (row,) = epoch.measure(QUICK, 1)
    check(row, "dataset", "torch_workers", "torch_layout", "ours_s", "torch_s", *RATIO)
    assert "built-in" in row["note"]


def test_profile_command(capsys):
    assert main(["profile", "mlp", "--batch-size", "4", "--inference"]) == 0
    assert "LogSoftmax" in capsys.readouterr().out


# ------------------------------------------------------------------------------ summaries


def row(ratio: float, others: float) -> dict:
    times = {"ours_ms": ratio, "torch_ms": 1.0, "torch_channels_last_ms": None}
    ratios = dict.fromkeys(RATIO, ratio) | {"ratio_low": ratio - 0.1, "ratio_high": ratio + 0.1}
    labels = {"model": "mlp", "batch_size": 64, "threads": 2, "others_share": others}
    return labels | times | ratios


def test_runs_are_merged_by_median_and_widest_interval():
    runs = [{"training_step": [row(ratio, 0.0)]} for ratio in (0.45, 0.65, 0.5)]
    (line,) = lines(runs)
    assert (line.ratio, line.low, line.high) == pytest.approx((0.5, 0.35, 0.75))
    assert "≤ 0.6 ✓" in tables([line])
    assert warning([line]) == ""


def test_a_missed_goal_and_a_busy_machine_are_said():
    (line,) = lines([{"training_step": [row(0.81, 0.4)]}])
    assert "≤ 0.6 ✗" in tables([line])
    assert warning([line]).startswith("Other processes used 40% of this machine")


def test_a_section_is_compared_over_the_runs_that_measured_it():
    runs = [{"training_step": [row(0.5, 0.0)]}, {"inference": [row(0.7, 0.0)]}]
    assert [line.ratio for line in lines(runs)] == [0.5, 0.7]


def texts(*ratios: float) -> list[str]:
    """What a chart says inside of its first panel."""
    rows = [row(ratio, 0.0) | {"model": f"model {i}"} for i, ratio in enumerate(ratios)]
    figure = plot_ratios(lines([{"training_step": rows}]))
    return [text.get_text().strip() for text in figure.subfigs[0].axes[0].texts]


def test_a_chart_tells_the_ratios_that_lie_beyond_its_scale():
    assert texts(0.3, 1.0, 3.9) == []
    assert sorted(texts(0.2, 1.0, 4.24)) == ["0.2", "4.2"]


def test_a_chart_has_each_section_once_and_each_network_in_a_row_of_its_own():
    steps = [row(0.5, 0.0) | {"batch_size": size} for size in (64, 256)]
    other = [row(0.5, 0.0) | {"model": "cnn"}]
    figure = plot_ratios(lines([{"training_step": steps + other, "inference": other}]))
    panels = [panel for area in figure.subfigs for panel in area.axes if panel.get_title("left")]
    assert [panel.get_title("left") for panel in panels] == ["Training step", "Inference"]
    assert [len(panel.get_yticks()) for panel in panels] == [2, 1]
    keys = [text.get_text() for text in panels[0].get_legend().get_texts()]
    assert keys == ["batch 64", "batch 256", "goal"]


# ------------------------------------------------------------------------------ pages


def blank(folder: Path) -> None:
    begin, end = MARKS
    for page in ("README.md", "RESULTS.md"):
        (folder / page).write_text(f"before\n{begin}\nold\n{end}\nafter\n")


def machine_of_a_run() -> dict:
    blas = [{"internal_api": "openblas", "version": "0", "architecture": "Zen"}]
    peaks = [{"threads": 2, "sgemm_gflops": 1.0, "copy_gbytes_per_s": 1.0}]
    return {"cpu": "Abacus", "cores": 2, "versions": {"numpy": "2", "torch": "2"}, "peaks": peaks,
            "numpy_blas": blas, "torch_cpu_capability": "AVX2", "environment": {}}  # fmt: skip


def test_pages_say_what_the_runs_say(tmp_path):
    blank(tmp_path)
    for number, ratio in enumerate((0.45, 0.65, 0.5)):
        steps = [row(ratio, 0.0), row(2 * ratio, 0.0) | {"batch_size": 256}]
        run = {"machine": machine_of_a_run(), "training_step": steps}
        (tmp_path / f"planned-run-{number}.json").write_text(json.dumps(run))
    publish(tmp_path, tmp_path)
    readme, results = ((tmp_path / f"{page}.md").read_text() for page in ("README", "RESULTS"))
    assert "**Training step**: 0.50–1.00 times PyTorch's, geometric mean 0.71; 1 of 2" in readme
    assert "From 3 runs on 2 cores of an Abacus." in readme
    assert "| mlp, batch 64 | 0.500 | 1.00 | 0.50 (0.35–0.75) |" in results
    assert readme.startswith("before\n")
    assert readme.endswith("\nafter\n")
    assert (tmp_path / PICTURE).exists()


def test_pages_without_runs_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="nothing to publish"):
        publish(tmp_path, tmp_path)


def test_the_committed_pages_say_what_the_committed_runs_say(tmp_path):
    for page in ("README.md", "RESULTS.md"):
        (tmp_path / page).write_bytes((ROOT / page).read_bytes())
    publish(tmp_path)
    for page in ("README.md", "RESULTS.md"):
        assert (tmp_path / page).read_bytes() == (ROOT / page).read_bytes()


def test_others_share_is_a_share():
    share = machine.Others().share()
    assert share is None or 0 <= share <= 1
