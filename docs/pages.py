"""Run the code of documentation pages as they show it, and keep the pictures that it draws.

    python docs/pages.py docs/tutorials/mlp.md

runs all ```python blocks of the page, on the real data. Pictures go to docs/pictures/, named after
the page; what the code prints, which the page quotes, goes to the terminal.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from PIL import Image

PICTURES = Path(__file__).resolve().parent / "pictures"
WIDTH = 1400  # pixels: twice what the site shows, for dense screens
COLOURS = 128


def code(page: Path) -> str:
    """The code of all blocks, on the lines where the page has it: a traceback leads to the page."""
    lines, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("```"):
            inside = line == "```python"
            line = ""
        lines.append(line if inside else "")
    return "\n".join(lines)


def main(pages: list[str]) -> None:
    """Run each page in an empty folder, and take its pictures from there."""
    home = Path.cwd()
    for page in map(Path, pages):
        program = compile(code(page), str(page), "exec")
        with tempfile.TemporaryDirectory() as folder:
            os.chdir(folder)
            exec(program, {"__name__": "__main__"})
            os.chdir(home)
            for picture in sorted(Path(folder).glob("*.png")):
                shrink(picture, PICTURES / f"{page.stem}-{picture.name}")


def shrink(source: Path, target: Path) -> None:
    """A smaller picture of few colours, none of them off by more than the eye can see."""
    with Image.open(source) as full:
        picture = full.convert("RGB")
    size = (WIDTH, round(picture.height * WIDTH / picture.width))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    picture = picture.quantize(COLOURS, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    picture.save(target, optimize=True)
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(sys.argv[1:])
