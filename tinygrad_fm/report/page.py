"""A run as one HTML page that needs no network: pictures, styles and curves are inside it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from tinygrad_fm.errors import extra
from tinygrad_fm.report.line_chart import line_chart
from tinygrad_fm.train.metrics import classification_report, confusion_matrix

if TYPE_CHECKING:
    from tinygrad_fm.train import History

PAIRS, EXAMPLES_OF_A_PAIR, MISTAKES = 8, 5, 20


@dataclass(frozen=True)
class Outcome:
    """A test set and what a model says of it.

    Attributes:
        images: uint8, (N, 1, H, W).
        probabilities: (N, K), in 0..1.
        labels: the true classes, (N,) integers.
        classes: the K names.
    """

    images: np.ndarray
    probabilities: np.ndarray
    labels: np.ndarray
    classes: Sequence[str]

    @property
    def predicted(self) -> np.ndarray:
        """(N,)"""
        return self.probabilities.argmax(axis=1)

    @property
    def confidence(self) -> np.ndarray:
        """The probability of what is predicted, (N,)."""
        return self.probabilities.max(axis=1)

    @property
    def wrong(self) -> np.ndarray:
        """Indices of the mistakes, the most confident first."""
        mistakes = np.flatnonzero(self.predicted != self.labels)
        return mistakes[np.argsort(-self.confidence[mistakes], kind="stable")]

    @property
    def confusion(self) -> np.ndarray:
        """Counts (K, K), rows true, columns predicted."""
        return confusion_matrix(self.predicted, self.labels, len(self.classes))


def run_page(
    title: str,
    lead: str,
    parameters: int,
    outcome: Outcome,
    history: History | None,
    config: Mapping[str, Any],
) -> str:
    """The page, as HTML.

    Args:
        title, lead: the heading, and a line below it.
        parameters: how many numbers the model has learned.
        history: the epochs; None for a model that was not trained here.
        config: what was set, nested mappings included.

    Raises:
        ValueError: the test set is empty.
        MissingPackageError: Matplotlib or Pillow is not installed.
    """
    if len(outcome.labels) == 0:
        raise ValueError("nothing to report on: the test set has no images")
    sections = [
        _curves(history) if history is not None and len(history) else "",
        _confusion(outcome),
        _pairs(outcome),
        _mistakes(outcome),
        _examples(outcome),
        _classes(outcome),
        _configuration(config),
    ]
    template = Template(files("tinygrad_fm.report").joinpath("page.html").read_text("utf-8"))
    return template.substitute(
        title=escape(title),
        lead=escape(lead),
        figures=_figures(outcome, parameters, history),
        sections="\n".join(filter(None, sections)),
        footer="Written by tinygrad_fm. This page loads nothing from elsewhere.",
    )


# ------------------------------------------------------------------------------------- sections


def _figures(outcome: Outcome, parameters: int, history: History | None) -> str:
    images, wrong = len(outcome.labels), len(outcome.wrong)
    figures = [
        (
            "test accuracy",
            f"{1 - wrong / images:.2%}",
            f"{np.mean(outcome.confidence):.1%} sure on average",
        ),
        ("mistakes", f"{wrong:,}", f"of {images:,} images"),
        ("parameters", f"{parameters:,}", f"{4 * parameters / 1e6:.2f} MB as float32"),
    ]
    if history is not None and len(history):
        best = _best_epoch(history)
        validation = history["val_accuracy"][best - 1]
        figures += [
            ("best epoch", f"{best} of {len(history)}", f"{validation:.2%} on validation images"),
            ("training", _duration(history["seconds"].sum()), "with validation"),
        ]
    cards = [
        f"<dt>{escape(name)}</dt><dd>{escape(value)}<small>{escape(more)}</small></dd>"
        for name, value, more in figures
    ]
    first, *others = cards
    return "\n".join([f'<div class="first">{first}</div>', *(f"<div>{c}</div>" for c in others)])


def _curves(history: History) -> str:
    charts = []
    for quantity in ("loss", "accuracy"):
        lines = {"training": history[f"train_{quantity}"]}
        validation = history[f"val_{quantity}"]
        if np.isfinite(validation).any():
            lines["validation"] = validation
        percent = quantity == "accuracy"
        best = _best_epoch(history) if "validation" in lines and percent else None
        chart = line_chart(lines, f"{quantity} over the epochs", percent, best)
        keys = "".join(f'<span class="key key-{i}">{n}</span>' for i, n in enumerate(lines))
        caption = f"<figcaption><b>{quantity.capitalize()}</b>{keys}</figcaption>"
        charts.append(f"<figure>{caption}{chart}</figure>")
    note = "The circle is the epoch whose weights were kept."
    return _section("Training", note, f'<div class="charts">{"".join(charts)}</div>')


def _confusion(outcome: Outcome) -> str:
    confusion = outcome.confusion
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    head = "".join(f'<th scope="col"><span>{escape(name)}</span></th>' for name in outcome.classes)
    rows = []
    for true, name in enumerate(outcome.classes):
        cells = "".join(
            _cell(int(confusion[true, predicted]), float(share[true, predicted]), true == predicted)
            for predicted in range(len(outcome.classes))
        )
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>')
    table = (
        f'<div class="scroll"><table class="matrix"><thead><tr><th></th>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
    note = "Each row is a true class, each column a prediction. Green is right, red is confused."
    return _section("Confusion matrix", note, table)


def _cell(count: int, share: float, hit: bool) -> str:
    """Confusions of a few per cent must be seen beside a diagonal of 90: the root of the share."""
    strength = np.sqrt(share)
    names = " ".join(["hit"] * hit + ["strong"] * bool(strength > 0.7))
    return f'<td class="{names}" style="--s:{strength:.3f}">{count or ""}</td>'


def _pairs(outcome: Outcome) -> str:
    """The most frequent confusions, each with its most confident examples."""
    mixed = outcome.confusion.copy()
    np.fill_diagonal(mixed, 0)
    totals = outcome.confusion.sum(axis=1)
    items = []
    for cell in np.argsort(-mixed, axis=None, kind="stable")[:PAIRS]:
        true, said = divmod(int(cell), len(outcome.classes))
        if mixed[true, said] == 0:
            break
        wrong = outcome.wrong
        alike = wrong[(outcome.labels[wrong] == true) & (outcome.predicted[wrong] == said)]
        pictures = "".join(_picture(outcome, i) for i in alike[:EXAMPLES_OF_A_PAIR])
        items.append(
            f"<li><p>{escape(outcome.classes[true])} → "
            f'<span class="said">{escape(outcome.classes[said])}</span>'
            f"<small>{mixed[true, said]:,} times, {mixed[true, said] / totals[true]:.1%} of "
            f'{escape(outcome.classes[true])}</small></p><div class="strip">{pictures}</div></li>'
        )
    if not items:
        return _section("Most confused pairs", "Nothing was confused.", "")
    note = "What it is → what the model says, with the images it is surest of."
    return _section("Most confused pairs", note, f'<ul class="pairs">{"".join(items)}</ul>')


def _mistakes(outcome: Outcome) -> str:
    if not len(outcome.wrong):
        return ""
    cards = (
        _card(
            outcome,
            i,
            f'<span class="said">{_said(outcome, i)}</span><br>'
            f"is {escape(outcome.classes[outcome.labels[i]])}",
        )
        for i in outcome.wrong[:MISTAKES]
    )
    note = "The mistakes that the model is most confident of; some are the labels' own."
    return _section("Worst mistakes", note, _cards(cards))


def _examples(outcome: Outcome) -> str:
    """Of each class the right image of middling confidence."""
    right = outcome.predicted == outcome.labels
    cards = []
    for label in range(len(outcome.classes)):
        members = np.flatnonzero(right & (outcome.labels == label))
        if members.size:
            middle = members[np.argsort(outcome.confidence[members])[len(members) // 2]]
            cards.append(
                _card(outcome, middle, f'<span class="hit-text">{_said(outcome, middle)}</span>')
            )
    note = "Recognised: of each class an image of which the model is as sure as it usually is."
    return _section("Examples", note, _cards(cards)) if cards else ""


def _classes(outcome: Outcome) -> str:
    head = "".join(
        f'<th scope="col">{n}</th>' for n in ("class", "precision", "recall", "F1", "images")
    )
    report = classification_report(outcome.confusion)
    rows = []
    for name, row in zip(outcome.classes, report, strict=True):
        shares = "".join(
            f'<td class="share" style="--s:{value:.3f}">{value:.1%}</td>'
            for value in (row.precision, row.recall, row.f1)
        )
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{shares}<td>{row.support:,}</td></tr>')
    table = (
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
    note = (
        "Precision: how often the model is right when it names the class. "
        "Recall: how much of the class it finds. F1: their harmonic mean."
    )
    return _section("Classes", note, table)


def _configuration(config: Mapping[str, Any]) -> str:
    rows = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td><code>{escape(value)}</code></td></tr>'
        for name, value in _flat(config)
    )
    note = "Everything that is needed to repeat the run."
    return _section("Configuration", note, f'<table class="config"><tbody>{rows}</tbody></table>')


# ------------------------------------------------------------------------------------- pieces


def _section(title: str, note: str, content: str) -> str:
    head = f'<h2>{escape(title)}</h2>\n<p class="note">{escape(note)}</p>'
    return f"<section>{head}\n{content}</section>"


def _cards(cards: Iterable[str]) -> str:
    return f'<ul class="cards">{"".join(cards)}</ul>'


def _card(outcome: Outcome, i: int, caption: str) -> str:
    picture = _picture(outcome, i)
    return f"<li><figure>{picture}<figcaption>{caption}</figcaption></figure></li>"


def _said(outcome: Outcome, i: int) -> str:
    return f"{escape(outcome.classes[outcome.predicted[i]])} {outcome.confidence[i]:.1%}"


def _picture(outcome: Outcome, i: int) -> str:
    """An image of the test set as an `<img>` that carries its PNG."""
    with extra("report"):
        from PIL import Image
    file = io.BytesIO()
    Image.fromarray(outcome.images[i, 0]).save(file, "PNG")
    content = base64.b64encode(file.getvalue()).decode()
    what = escape(f"test image {i}: {outcome.classes[outcome.labels[i]]}")
    return f'<img src="data:image/png;base64,{content}" alt="{what}" title="{what}">'


def _flat(config: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, str]]:
    """Name and value of everything, nested names joined by dots."""
    for name, value in config.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            yield f"{prefix}{name}", ", ".join(map(str, value))
        else:
            yield f"{prefix}{name}", "–" if value is None else str(value)


def _best_epoch(history: History) -> int:
    """The epoch with the best validation accuracy, or without any the last one."""
    accuracy = history["val_accuracy"]
    if not np.isfinite(accuracy).any():
        return len(history)
    return int(np.nanargmax(accuracy)) + 1


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
