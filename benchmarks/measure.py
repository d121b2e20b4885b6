"""All measurements, one after the other."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import Any

from tqdm import tqdm

from benchmarks import epoch, inference, machine, memory, networks, operations, overhead, training
from benchmarks.peers import compare
from benchmarks.settings import Job, Row, Settings

SECTIONS: dict[str, Callable[[Settings], Iterator[Job]]] = {
    "training_step": training.jobs,
    "inference": inference.jobs,
    "networks": networks.planned_jobs,
    "networks_eager": networks.eager_jobs,
    "operation": operations.jobs,
    "overhead": overhead.jobs,
    "memory": memory.jobs,
    "epoch": epoch.jobs,
    "peers": compare.jobs,
}


def measure(settings: Settings, sections: tuple[str, ...]) -> dict[str, Any]:
    """Measure these sections; returns what goes into the JSON file.

    Every row tells how busy others kept the machine meanwhile (`others_share`).
    """
    jobs = [(section, job) for section in sections for job in SECTIONS[section](settings)]
    results: dict[str, list[Row]] = {section: [] for section in sections}
    about = machine.describe(settings.threads)
    with tqdm(jobs, file=sys.stderr, dynamic_ncols=True, unit="job", disable=None) as bar:
        for section, job in bar:
            bar.set_description(f"{section}: {job.label}")
            others = machine.Others()
            rows = job.run()
            share = others.share()
            results[section] += [{**row, "others_share": share} for row in rows]
    return {"machine": about, "repeats": settings.repeats, **results}
