"""An environment for each peer, so that one's versions bind no other: DIR/jax, DIR/mygrad …"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).with_name("requirements")  # exact versions, a file for each peer
PEERS = tuple(sorted(path.stem for path in REQUIREMENTS.glob("*.txt")))
STAMP = "installed.txt"  # in an environment: the requirements that it has


def default_folder() -> Path:
    """A folder of the user's cache."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache, "tinygrad_fm", "peers")


def python_of(peer: str, folder: Path) -> Path:
    windows = os.name == "nt"
    return folder / peer / ("Scripts/python.exe" if windows else "bin/python")


def is_installed(peer: str, folder: Path) -> bool:
    """Whether the environment is there, finished, and has the versions of today's file."""
    stamp = folder / peer / STAMP
    wanted = REQUIREMENTS / f"{peer}.txt"
    return stamp.exists() and stamp.read_text() == wanted.read_text()


def install(peer: str, folder: Path) -> None:
    """Make its environment anew.

    Raises:
        subprocess.CalledProcessError: pip failed; its own message went to standard error.
    """
    wanted = REQUIREMENTS / f"{peer}.txt"
    subprocess.run([sys.executable, "-m", "venv", "--clear", folder / peer], check=True)
    pip: list[str | Path] = [
        python_of(peer, folder),
        "-m",
        "pip",
        "install",
        "--quiet",
        "-r",
        wanted,
    ]
    subprocess.run(pip, check=True)
    (folder / peer / STAMP).write_text(wanted.read_text())


def available(peers: tuple[str, ...], folder: Path) -> dict[str, list[str]]:
    """The command that starts each peer that is installed; of the others a message says how."""
    found = {}
    for peer in peers:
        if is_installed(peer, folder):
            found[peer] = [str(python_of(peer, folder)), "-m", f"benchmarks.peers.{peer}"]
        else:
            print(
                f"{peer} is skipped: {folder / peer} does not have the versions of {peer}.txt; "
                f"install them by\n    python -m benchmarks peers --install --only {peer} "
                f"--peers-dir {folder}",
                file=sys.stderr,
            )
    return found
