"""Our own training step, planned, as a process like the peers'."""

from __future__ import annotations

import os

import tinygrad_fm
from benchmarks.peers.serve import Job, Step, serve
from benchmarks.steps import our_step
from tinygrad_fm.recipes import RECIPES


def build(job: Job, lr: float) -> Step:
    model = tinygrad_fm.compile(RECIPES[job.model].build())
    model.load_state_dict(dict(zip(model.state_dict(), job.weights, strict=True)))
    return our_step(job.model, model, job.images, job.labels, lr)


if __name__ == "__main__":
    tinygrad_fm.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    serve(build, "numpy", threads=tinygrad_fm.get_num_threads())
