"""Tables as plain text for the terminal, or as Markdown for a README."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

from tinygrad_fm.formatting import printable

if TYPE_CHECKING:
    from tinygrad_fm.train import ClassMetrics

WIDTH = 80
GAP = "  "
NARROWEST = 8  # no column of text is squeezed below this many characters
NUMBERS = re.compile(r"\d[\d .,:%±+×x/()–]*")  # "92.5 ± 0.1 %", "28 / 30", "0, 1, 2", "64x10"


def format_table(
    rows: Sequence[Mapping[str, Any]],
    formats: Mapping[str, str] | None = None,
    markdown: bool = False,
) -> str:
    """Lay out rows as an aligned table; its columns are the keys, in order of appearance.

    What a terminal would obey is written out, see `printable`; of our own everything is ASCII.

    Numbers stand right, and so does text in a column where every cell is made of numbers and the
    signs between them ("92.5 ± 0.1"). Plain text fits 80 columns: headers, then the widest texts,
    are wrapped until it does; only numbers that are too wide by themselves go beyond.

    Args:
        rows: cells by column name; None or a missing key becomes a dash.
        formats: format specs by column, such as {"accuracy": ".1%"}; integers are written with
            thousands separators and floats with four digits otherwise.
        markdown: write a Markdown table, as wide as it needs to be.

    Returns:
        The lines, without a line break at the end; "" if there is nothing to show.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if not columns:
        return ""
    formats = formats or {}
    missing = "–" if markdown else "-"
    cells = [[_text(row.get(name), formats.get(name), missing) for name in columns] for row in rows]
    right = [all(_is_numeric(row.get(name)) for row in rows) for name in columns]
    columns = list(map(printable, columns))
    return _markdown(columns, cells, right) if markdown else _plain(columns, cells, right)


def format_classes(report: Sequence[ClassMetrics], classes: Sequence[str]) -> str:
    """Precision, recall, F1 and support of each class, and below them their plain means.

    Args:
        report: what `train.classification_report` returns.
        classes: the names, in the same order.

    Raises:
        ValueError: another number of classes than the report's.
    """
    if len(report) != len(classes):
        raise ValueError(f"a report on {len(report)} classes needs as many names, got {classes}")
    rows = [{"class": c, **asdict(row)} for c, row in zip(classes, report, strict=True)]
    shares = ("precision", "recall", "f1")
    mean = {name: sum(getattr(row, name) for row in report) / len(report) for name in shares}
    rows.append({"class": "mean", **mean, "support": sum(row.support for row in report)})
    return format_table(rows, dict.fromkeys(shares, ".1%"))


def _text(value: Any, spec: str | None, missing: str) -> str:
    if value is None:
        return missing
    if isinstance(value, Real) and not isinstance(value, bool):
        return format(value, spec or ("," if isinstance(value, Integral) else ".4g"))
    return printable(value)


def _is_numeric(value: Any) -> bool:
    return value is None or isinstance(value, Real) or bool(NUMBERS.fullmatch(str(value)))


def _markdown(columns: list[str], cells: list[list[str]], right: list[bool]) -> str:
    rule = ["---:" if numeric else "---" for numeric in right]
    table = [columns, rule, *cells]
    return "\n".join("| " + " | ".join(t.replace("|", "\\|") for t in row) + " |" for row in table)


def _plain(columns: list[str], cells: list[list[str]], right: list[bool]) -> str:
    widths = _widths(columns, cells, right)
    lines = _wrap(columns, widths, right, bottom=True)
    lines.append("-" * (sum(widths) + len(GAP) * (len(widths) - 1)))
    for row in cells:
        lines += _wrap(row, widths, right)
    return "\n".join(lines)


def _widths(columns: list[str], cells: list[list[str]], right: list[bool]) -> list[int]:
    """Column widths: as wide as the content, squeezed step by step until WIDTH is kept."""
    room = WIDTH - len(GAP) * (len(columns) - 1)
    content = [max(1, *map(len, column)) for column in zip(*cells, strict=True)]
    widths = [max(len(name), size) for name, size in zip(columns, content, strict=True)]
    if sum(widths) > room:  # headers on several lines
        words = [max(map(len, name.split()), default=0) for name in columns]
        widths = [max(sizes) for sizes in zip(words, content, strict=True)]
    texts = [j for j, numeric in enumerate(right) if not numeric]
    while sum(widths) > room and texts:  # texts on several lines, the widest first
        widest = max(texts, key=widths.__getitem__)
        if widths[widest] <= NARROWEST:
            break
        widths[widest] -= 1
    return widths


def _wrap(
    texts: list[str], widths: list[int], right: list[bool], bottom: bool = False
) -> list[str]:
    """One row of the table as lines; cells with fewer lines are filled up, on top if `bottom`."""
    wrapped = [textwrap.wrap(text, width) for text, width in zip(texts, widths, strict=True)]
    height = max(map(len, wrapped))
    columns = []
    for lines, width, numeric in zip(wrapped, widths, right, strict=True):
        blank = [""] * (height - len(lines))
        filled = blank + lines if bottom else lines + blank
        columns.append([line.rjust(width) if numeric else line.ljust(width) for line in filled])
    return [GAP.join(line).rstrip() for line in zip(*columns, strict=True)]
