"""The graph behind a tensor, as Graphviz text and as a picture."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import tinygrad_fm as tg
from tinygrad_fm import nn
from tinygrad_fm.autograd.graph import draw, to_dot


def test_dot_of_a_small_graph() -> None:
    x, w = tg.ones(2, 3, requires_grad=True), tg.ones(3, requires_grad=True)
    lines = to_dot((x * w).sum(), {"x": x, "weight": w}).splitlines()
    assert lines[0] == "digraph {"
    assert lines[-1] == "}"
    assert [line.strip() for line in lines[4:-1]] == [
        r'out [label="output\nscalar", fillcolor="#d5e8d4"];',
        'n0 -> out [label="scalar"];',
        'n0 [label="Sum", fillcolor=white];',
        'n1 -> n0 [label="2×3"];',
        'n1 [label="Mul", fillcolor=white];',
        'n2 -> n1 [label="2×3"];',
        'n3 -> n1 [label="3"];',
        r'n3 [label="weight\n3", fillcolor="#dae8fc"];',
        r'n2 [label="x\n2×3", fillcolor="#dae8fc"];',
    ]


def test_the_same_graph_gives_the_same_text() -> None:
    def build() -> str:
        model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        return to_dot(model(tg.ones(1, 4)).sum(), dict(model.named_parameters()))

    text = build()
    assert text == build()
    for label in (r"0.weight\n3×4", r"2.bias\n2", "ReLU", "Linear"):
        assert label in text


def test_a_module_with_its_own_forward_is_drawn_as_what_it_computes() -> None:
    class Branches(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = nn.Linear(4, 3), nn.Linear(4, 3, bias=False)

        def forward(self, x: tg.Tensor) -> tg.Tensor:
            h = self.left(x)
            return tg.cat([h, self.right(x).tanh() + h], 1)

    model = Branches()
    lines = to_dot(model(tg.ones(2, 4)), dict(model.named_parameters())).splitlines()
    labels = {line.split()[0]: line.split('"')[1] for line in lines[4:-1] if "->" not in line}
    arrows = [line.split()[:3:2] for line in lines if "->" in line]
    assert sorted((labels[a], labels[b]) for a, b in arrows) == [
        ("Add", "Cat"),
        ("Cat", r"output\n2×6"),
        ("Linear", "Add"),
        ("Linear", "Cat"),
        ("Linear", "Tanh"),
        ("Tanh", "Add"),
        (r"left.bias\n3", "Linear"),
        (r"left.weight\n3×4", "Linear"),
        (r"right.weight\n3×4", "Linear"),
    ]


def test_shared_nodes_are_drawn_once_and_every_arrow_counts() -> None:
    x = tg.ones(2, requires_grad=True)
    y = x * x
    text = to_dot((y + y * 2).sum())
    assert text.count('label="Mul"') == 2
    assert text.count(r"Tensor\n2") == 1
    assert text.count("->") == 7  # Sum → out, Add → Sum, y → Add, 2y → Add, y → 2y, x → y twice


def test_inputs_without_a_gradient_are_left_out() -> None:
    x, data = tg.ones(2, requires_grad=True), tg.ones(3, 2)
    assert "3×2" not in to_dot((x * data.sum()).sum())


def test_quotes_in_names_are_escaped() -> None:
    x = tg.ones(2, requires_grad=True)
    assert r'label="say \"x\"\n2"' in to_dot(x.sum(), {'say "x"': x})


def test_nothing_to_draw() -> None:
    x = tg.ones(2, requires_grad=True)
    for tensor in (x, x.detach() * 2):
        with pytest.raises(ValueError, match="nothing to draw"):
            to_dot(tensor)
    loss = x.sum()
    loss.backward()
    with pytest.raises(ValueError, match=r"released by backward\(\); draw it before"):
        to_dot(loss)


def test_writing_a_dot_file(tmp_path: Path) -> None:
    loss = (tg.ones(2, 3, requires_grad=True) * 2).sum()
    path = draw(loss, tmp_path / "graph.dot")
    assert path == tmp_path / "graph.dot"
    assert path.read_text(encoding="utf-8") == to_dot(loss)


def test_a_picture(tmp_path: Path) -> None:
    if shutil.which("dot") is None:
        pytest.skip("Graphviz is not installed")
    path = draw(tg.ones(2, 3, requires_grad=True).sum(), str(tmp_path / "graph.svg"))
    picture = path.read_text(encoding="utf-8")
    assert "<svg" in picture
    assert "2×3" in picture


def test_a_picture_without_graphviz(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match=r"graph\.svg needs Graphviz's dot program.*\.dot file"):
        draw(tg.ones(2, requires_grad=True).sum(), tmp_path / "graph.svg")


def test_unknown_endings(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\.dot, \.svg, \.png, \.pdf, got 'graph\.jpeg'"):
        draw(tg.ones(2, requires_grad=True).sum(), tmp_path / "graph.jpeg")
