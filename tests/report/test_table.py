"""Text tables: alignment, formats, and the promise of 80 columns."""

from __future__ import annotations

import numpy as np
import pytest

from tinygrad_fm.report.table import format_classes, format_table
from tinygrad_fm.train import classification_report

ROWS = [
    {"model": "mlp", "parameters": 109386, "test accuracy": 0.89126, "seconds": np.float32(9.5)},
    {"model": "cnn-bn", "parameters": np.int64(421642), "test accuracy": None},
]


def test_plain_table():
    assert format_table(ROWS, {"test accuracy": ".2%"}).splitlines() == [
        "model   parameters  test accuracy  seconds",
        "------------------------------------------",
        "mlp        109,386         89.13%      9.5",
        "cnn-bn     421,642              -        -",
    ]


def test_markdown_table():
    rows = [{"a|b": "x|y", "n": 1}]
    assert format_table(rows, markdown=True).splitlines() == [
        r"| a\|b | n |",
        "| --- | ---: |",
        r"| x\|y | 1 |",
    ]


def test_columns_come_in_order_of_appearance_and_text_that_is_a_number_stands_right():
    rows = [{"b": "9.1 ± 0.3"}, {"a": "x", "b": "10.25 ± 0.1"}]
    header, _, first, second = format_table(rows).splitlines()
    assert header.split() == ["b", "a"]
    assert first.startswith("  9.1 ± 0.3")
    assert second.startswith("10.25 ± 0.1")


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("0, 1, 2", True),
        ("28 / 30", True),
        ("98.48 ± 0.21 %", True),
        ("1.02 (0.98–1.05)", True),
        ("64×1×28×28", True),
        ("64x1x28x28", True),
        ("60,000 + 10,000", True),
        ("1 Trouser", False),
        ("19a8351", False),
        ("2026-first-run", False),
    ],
)
def test_only_text_made_of_numbers_stands_right(text, right):
    header, _, first, _ = format_table(
        [{"a": text}, {"a": "1" * 20 if right else "x" * 20}]
    ).splitlines()
    assert first == (text.rjust(20) if right else text)
    assert header.startswith(" ") == right


def test_a_column_of_names_that_begin_with_digits_is_wrapped():
    rows = [{"model": f"9/2026-{'a-rather-long-name-' * 4}{i}", "n": 1} for i in range(2)]
    lines = format_table([row | {f"column {i}": "12,345" for i in range(5)} for row in rows])
    assert max(map(len, lines.splitlines())) <= 80


def test_wide_headers_are_broken_before_texts():
    rows = [{f"measured quantity {i}": 123456.0 for i in range(6)}]
    lines = format_table(rows).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["measured"] * 6


@pytest.mark.parametrize("seed", range(20))
def test_any_text_is_fitted_into_80_columns_without_losing_a_word(seed):
    rng = np.random.default_rng(seed)
    words = [f"w{rng.integers(10**6)}" for _ in range(60)]
    rows = [
        {"name": f"n{i}", "first text": " ".join(words[i::4]), "n": i, "second": " ".join(words)}
        for i in range(4)
    ]
    table = format_table(rows)
    assert max(map(len, table.splitlines())) <= 80
    for word in words:
        assert table.count(word) >= 5  # four times in full and once in its part


def test_short_headers_stand_above_the_rule_and_short_cells_at_the_top():
    lines = format_table([{"n": 1, "t": "word " * 40, "two words": "x" * 30}]).splitlines()
    rule = next(i for i, line in enumerate(lines) if line.startswith("-"))
    assert lines[rule - 1].split()[:2] == ["n", "t"]
    assert lines[rule + 1].startswith("1  word")
    assert lines[rule + 2].startswith("   word")


def test_nothing_to_show():
    assert format_table([]) == format_table([{}]) == ""


def test_each_class_and_the_plain_means():
    confusion = np.array([[8, 2], [0, 90]])  # the second class is nine times as large
    table = format_classes(classification_report(confusion), ["Bag", "Coat"])
    assert table.splitlines() == [
        "class  precision  recall     f1  support",
        "----------------------------------------",
        "Bag       100.0%   80.0%  88.9%       10",
        "Coat       97.8%  100.0%  98.9%       90",
        "mean       98.9%   90.0%  93.9%      100",
    ]


def test_other_classes_than_the_reports_are_an_error():
    with pytest.raises(ValueError, match="3 classes needs as many names"):
        format_classes(classification_report(np.eye(3, dtype=int)), ["Bag", "Coat"])
