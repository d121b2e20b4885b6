"""Other libraries beside ours. The stand-in for a peer is our own library in a second process."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.peers import compare
from benchmarks.peers.compare import OURS, check_losses, task
from benchmarks.peers.environments import (
    PEERS,
    REQUIREMENTS,
    STAMP,
    available,
    is_installed,
    python_of,
)
from benchmarks.peers.serve import SGD, read_job, write_job
from benchmarks.processes import ROOT, Side
from benchmarks.settings import Settings
from benchmarks.summary import lines, tables

# A peer that trains our network wrongly, in one of these ways.
WRONG = """
import sys
sys.path.insert(0, {root!r})
from benchmarks.peers import ours
from benchmarks.peers.serve import serve

def build(job, lr):
    return ours.build(job._replace({change}), {lr})

serve(build, "numpy")
"""


def settings(name: str, peers: dict) -> Settings:
    return Settings((name,), (4,), (1,), repeats=2, quick=True, peers=peers)


def wrong_peer(folder: Path, change: str = "", lr: str = "lr") -> list[str]:
    script = folder / "wrong.py"
    script.write_text(WRONG.format(root=str(ROOT), change=change, lr=lr))
    return [sys.executable, str(script)]


def test_a_peer_that_trains_the_same_gets_a_row():
    (job,) = compare.jobs(settings("cnn", {"numpy": OURS}))
    (row,) = job.run()
    assert job.label == "cnn, batch 4, numpy"
    assert row["ratio_low"] <= row["ratio"] <= row["ratio_high"]
    assert row["ours_ms"] > 0
    assert row["peer_ms"] > 0
    assert row["versions"] == {"numpy": np.__version__}
    assert row["cores_busy"] > 0
    (line,) = lines([{"peers": [{**row, "others_share": None}]}])
    assert (line.label, line.goal) == ("cnn, batch 4", 1.0)
    assert f"| cnn, batch 4 | numpy {np.__version__} |" in tables([line], markdown=True)


@pytest.mark.parametrize(
    "how",
    [
        {"change": "weights=[w * 1.01 for w in job.weights]"},
        {"change": "labels=job.labels[::-1]"},
        {"lr": "lr * 1.01"},  # the first loss is the same
    ],
    ids=["weights", "labels", "rate"],
)
def test_a_peer_that_trains_something_else_is_not_timed(how, tmp_path):
    (job,) = compare.jobs(settings("mlp", {"wrong": wrong_peer(tmp_path, **how)}))
    with pytest.raises(RuntimeError, match="mlp, batch 4: wrong does not train what we train"):
        job.run()


def test_losses_are_those_of_the_recipe_at_its_own_learning_rate(tmp_path):
    """They fall, so that a wrong gradient would show."""
    write_job(str(tmp_path / "job.npz"), task("mlp", 4))
    with Side(*OURS, tmp_path / "job.npz", environment={"OMP_NUM_THREADS": "1"}) as side:
        losses = side.ask("losses", 0.03, 4)
        check_losses(side, side, "itself", 0.03)
        side.ask("time", 1)
        assert side.ask("about")["threads"] == 1
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.99 * losses[0]


def test_a_peer_that_ends_is_an_error(tmp_path):
    (tmp_path / "wrong.py").write_text("raise SystemExit(1)")
    command = [sys.executable, str(tmp_path / "wrong.py")]
    (job,) = compare.jobs(settings("mlp", {"ended": command}))
    with pytest.raises(RuntimeError, match=r"ended at .*wrong\.py"):
        job.run()


def test_a_job_is_read_as_it_was_written(tmp_path):
    written = task("cnn", 3)
    write_job(str(tmp_path / "job.npz"), written)
    read = read_job(str(tmp_path / "job.npz"))
    assert (read.model, read.momentum, read.weight_decay) == ("cnn", 0.9, 5e-4)
    for a, b in zip(written.weights, read.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(written.images, read.images)
    np.testing.assert_array_equal(written.labels, read.labels)
    assert {a.dtype for a in (read.images, *read.weights)} == {np.dtype("float32")}


def test_the_rule_for_libraries_without_an_optimizer():
    w = np.array([1.0])
    rule = SGD([w], task("mlp", 2)._replace(momentum=0.5, weight_decay=0.1), lr=0.1)
    rule.step([np.array([2.0])])  # v = 2 + 0.1 · 1
    assert w == pytest.approx(0.79)
    rule.step([np.array([0.0])])  # v = 0.5 · 2.1 + 0.1 · 0.79
    assert w == pytest.approx(0.79 - 0.1 * (1.05 + 0.079))


# ------------------------------------------------------------------------------ environments


def made(peer: str, folder: Path, requirements: str) -> None:
    (folder / peer).mkdir(parents=True)
    (folder / peer / STAMP).write_text(requirements)


def test_missing_and_outdated_peers_are_skipped_with_a_word_on_how_to_install_them(
    tmp_path, capsys
):
    made("jax", tmp_path, (REQUIREMENTS / "jax.txt").read_text())
    made("mygrad", tmp_path, "mygrad==2.0\n")
    found = available(("autograd", "jax", "mygrad"), tmp_path)
    assert found == {"jax": [str(python_of("jax", tmp_path)), "-m", "benchmarks.peers.jax"]}
    said = capsys.readouterr().err
    for peer in ("autograd", "mygrad"):
        assert f"{peer} is skipped" in said
        assert f"peers --install --only {peer} --peers-dir {tmp_path}" in said
    assert not is_installed("mygrad", tmp_path)


def test_nothing_is_measured_where_nothing_is_installed(tmp_path, capsys):
    file = tmp_path / "run.json"
    assert main(["peers", "--peers-dir", str(tmp_path / "none"), "--json", str(file)]) == 1
    assert capsys.readouterr().err.count("is skipped") == len(PEERS)
    assert not file.exists()


@pytest.mark.parametrize("peer", PEERS)
def test_each_peer_has_a_program_and_exact_versions(peer):
    assert (ROOT / "benchmarks/peers" / f"{peer}.py").exists()
    pins = (REQUIREMENTS / f"{peer}.txt").read_text().splitlines()
    assert all(pin.count("==") == 1 for pin in pins)
    assert peer in [pin.partition("==")[0] for pin in pins]


def test_a_file_of_peers_is_summed_up_beside_the_others():
    """They are measured by a command of their own, into files of their own."""
    times = {"ratio": 0.5, "ratio_low": 0.4, "ratio_high": 0.6, "ratio_of_fastest": 0.5}
    common = {"model": "mlp", "batch_size": 64, "threads": 2, "others_share": 0.0, **times}
    steps = [{**common, "ours_ms": 1.0, "torch_ms": 2.0, "torch_channels_last_ms": None}]
    beside = [{**common, "ours_ms": 1.0, "peer_ms": 2.0, "peer": "jax", "cores_busy": 1.55,
               "versions": {"jax": "0.1"}}]  # fmt: skip
    found = lines([{"training_step": steps}, {"peers": beside}])
    assert [(line.section, line.theirs, line.peer) for line in found] == [
        ("training_step", 2.0, None), ("peers", 2.0, "jax 0.1"),
    ]  # fmt: skip
