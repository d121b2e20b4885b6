"""What the figures were measured on: processor, libraries, threads, and its measured limits."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_info

from benchmarks.sides import threads
from benchmarks.timing import seconds_per_call
from tinygrad_fm.ops.fast.parallel import parallel_for

LIBRARIES = ("numpy", "scipy", "threadpoolctl", "torch", "torchvision")
SIDE = 1024  # of the matrices whose product is measured
COPIED = 1 << 26  # bytes, far more than a cache holds
TRIES = 7


def describe(thread_counts: tuple[int, ...]) -> dict[str, Any]:
    """Everything a reader needs to judge the figures, ready for JSON."""
    return {
        "cpu": _cpu(),
        "cores": _cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in LIBRARIES},
        "numpy_blas": _blas(),
        "torch_cpu_capability": torch.backends.cpu.get_cpu_capability(),
        "environment": _environment(),
        "peaks": [{"threads": count, **peaks(count)} for count in thread_counts],
        "spinning_ms": spinning(max(thread_counts)),
    }


@lru_cache
def peaks(count: int) -> dict[str, float]:
    """What the machine can do at best, on our threads: sgemm GFLOP/s, and GB/s read and written."""
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, SIDE, SIDE), np.float32)
    products = np.empty((count, SIDE, SIDE), np.float32)
    source = np.ones((count, COPIED // count), np.uint8)
    target = np.zeros_like(source)
    with threads(count):
        multiply = best(lambda: parallel_for(lambda i: np.matmul(a, b, out=products[i]), count))
        copy = best(lambda: parallel_for(lambda i: np.copyto(target[i], source[i]), count))
    return {
        "sgemm_gflops": round(2 * count * SIDE**3 / multiply / 1e9, 1),
        "copy_gbytes_per_s": round(2 * source.nbytes / copy / 1e9, 1),
    }


def best(call: Callable[[], object]) -> float:
    """Seconds of the fastest of a few tries: a limit is what is reached without disturbance."""
    return min(seconds_per_call(call, 1) for _ in range(TRIES))


def spinning(count: int) -> dict[str, float]:
    """Processor time that idle threads burn after a parallel operation, in ms.

    The process sleeps, so what it uses is used by threads that wait for more work.
    """
    x = torch.ones(1 << 20)
    chunks = np.ones((8, 1 << 17), np.float32)
    with threads(count):
        return {
            "torch": _burnt(lambda: x.mul_(1)),
            "ours": _burnt(lambda: parallel_for(lambda i: chunks[i].sum(), len(chunks))),
        }


class Others:
    """How much of the machine other processes use: `share` since this was made.

    None where the system does not tell (it does on Linux).
    """

    def __init__(self) -> None:
        self.started, self.before = time.perf_counter(), _others_seconds()

    def share(self) -> float | None:
        """0 on a quiet machine, 1 if others keep all of its cores busy."""
        after = _others_seconds()
        if self.before is None or after is None:
            return None
        whole = (time.perf_counter() - self.started) * (os.cpu_count() or 1)
        return round(min(max((after - self.before) / whole, 0.0), 1.0), 3)


def _others_seconds() -> float | None:
    """Processor time used since the machine started, by everybody but us."""
    stat = Path("/proc/stat")
    if not stat.exists():
        return None
    user, nice, system, _, _, *rest = map(int, stat.read_text().splitlines()[0].split()[1:9])
    everybody = (user + nice + system + sum(rest)) / os.sysconf("SC_CLK_TCK")
    return everybody - sum(os.times()[:4])  # our own and that of finished children


def _burnt(call: Callable[[], object]) -> float:
    burnt = []
    for _ in range(TRIES):
        call()
        before = time.process_time()
        time.sleep(0.05)
        burnt.append(time.process_time() - before)
    return round(float(np.median(burnt)) * 1e3, 2)


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _blas() -> list[dict[str, Any]]:
    """BLAS as it is at run time: its core type decides between AVX2 and AVX-512 kernels."""
    keys = ("internal_api", "version", "architecture", "threading_layer")
    libraries = [info for info in threadpool_info() if info["user_api"] == "blas"]
    numpys = [info for info in libraries if "numpy" in info["filepath"]] or libraries
    return [{key: info.get(key) for key in keys} for info in numpys]


def _environment() -> dict[str, str]:
    prefixes = ("OPENBLAS_", "OMP_", "GOMP_", "KMP_", "MKL_", "ONEDNN_")
    return {name: v for name, v in sorted(os.environ.items()) if name.startswith(prefixes)}
