"""What MkDocs does on the way: include files of the repository, and write formulas as MathML.

An include stands on a line of its own, in the notation of pymdownx.snippets:

    --8<-- "ARCHITECTURE.md"
    --8<-- "README.md:speed"

The second takes what stands between the lines `<!-- --8<-- [start:speed] -->` and
`<!-- --8<-- [end:speed] -->` of that file. Snippets would leave the links as they are; here they
are mended, because a file of the repository links to its neighbours and not to pages of the site.
"""

from __future__ import annotations

import html
import posixpath
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from mkdocs.structure.files import File

INCLUDE = re.compile(r'^--8<-- "(?P<file>[^":]+)(:(?P<section>[\w-]+))?"$', re.MULTILINE)
LINK = re.compile(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)")
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
FUNCTION_NAME = re.compile(r"(<mi>(?:ln|cos|max)</mi>)(?=<m(?!o))")  # ln x, but ln(x)
SOURCE = '<details class="mkdocstrings-source"'
# Files of the repository that a page of the site shows.
PAGES = {
    "README.md": "index.md",
    "ARCHITECTURE.md": "architecture.md",
    "RESULTS.md": "results.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/NOTES.md": "benchmarks.md",
}


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Put included files in the place of their lines, one level down below a page's own title."""
    root = Path(config.config_file_path).parent
    folder = posixpath.dirname(page.file.src_uri)

    def include(match: re.Match[str]) -> str:
        text = section((root / match["file"]).read_text(encoding="utf-8"), match["section"])
        if markdown.startswith("# "):
            text = one_level_down(text)
        source = posixpath.dirname(match["file"])
        return LINK.sub(lambda link: mended(link, source, folder, on_site), text)

    def on_site(path: str) -> str | None:
        """Where the site has a file of the repository; pictures are taken along."""
        if not (root / path).exists():
            raise FileNotFoundError(f"{page.file.src_uri} includes a link to {path}: there is none")
        if path.startswith("docs/"):
            return path.removeprefix("docs/")
        if not path.endswith(".png"):
            return PAGES.get(path)
        place = f"pictures/{path.replace('/', '-')}"
        if files.get_file_from_path(place) is None:
            files.append(File.generated(config, place, abs_src_path=str(root / path)))
        return place

    return INCLUDE.sub(include, markdown)


def on_page_content(html_text: str, **_: Any) -> str:
    """Formulas as MathML, which browsers draw themselves; source code is not to be searched."""

    def mathml(match: re.Match[str]) -> str:
        display = "block" if match[1] == "div" else "inline"
        formula = convert(html.unescape(match[2]), display=display)
        return FUNCTION_NAME.sub(r'\1<mspace width="0.17em"/>', formula)

    html_text = html_text.replace(SOURCE, f"{SOURCE} data-search-exclude")
    return FORMULA.sub(mathml, html_text)


def section(text: str, name: str | None) -> str:
    """The text between a section's two markers, or all of it."""
    if name is None:
        return text
    parts = re.split(rf"^<!-- --8<-- \[(?:start|end):{name}\] -->$", text, flags=re.MULTILINE)
    if len(parts) != 3:
        raise ValueError(f"expected one start and one end of section {name!r}")
    return parts[1]


def one_level_down(text: str) -> str:
    """`# Title` becomes `## Title`, but not in blocks of code."""
    pieces = re.split(r"(^```.*?^```$)", text, flags=re.MULTILINE | re.DOTALL)
    pieces[::2] = [re.sub(r"^#", "##", piece, flags=re.MULTILINE) for piece in pieces[::2]]
    return "".join(pieces)


def mended(
    link: re.Match[str], source: str, folder: str, on_site: Callable[[str], str | None]
) -> str:
    """A link of a file in `source`, for a page in `folder`; what the site lacks loses its link."""
    mark, text, target = link.groups()
    if re.match(r"https?:|mailto:|#", target):
        return link[0]
    file, _, anchor = target.partition("#")
    path = posixpath.normpath(posixpath.join(source, file))
    place = on_site(path)
    if place is not None:
        address = posixpath.relpath(place, folder or ".")
        return f"{mark}[{text}]({address}{'#' * bool(anchor)}{anchor})"
    plain = text.strip("`")
    return f"`{plain}`" if file.startswith(plain) else f"{text} (`{path}`)"
