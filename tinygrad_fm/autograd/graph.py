"""Drawing the graph behind a tensor."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tinygrad_fm.autograd.custom import Output
from tinygrad_fm.autograd.engine import behind
from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.files import write_atomically
from tinygrad_fm.ops.function import Function

SUFFIXES = (".dot", ".svg", ".png", ".pdf")
_STYLE = """  rankdir=TB; bgcolor=white; ranksep=0.35;
  node [fontname="Helvetica", fontsize=11, shape=box, style="rounded,filled", color="#44546a"];
  edge [fontname="Helvetica", fontsize=9, color="#7f8fa6", fontcolor="#44546a"];"""


def to_dot(output: Tensor, names: Mapping[str, Tensor] | None = None) -> str:
    """The graph that computed `output`, in Graphviz's DOT language.

    Leaf tensors are drawn in blue with their shapes (and `names`), operations in white; an arrow
    carries the shape of what flows along it. A plan is drawn as the operations that it carries out.

    Raises:
        ValueError: if no operation was recorded, or if `backward` has released the graph.
    """
    if output.grad_fn is None:
        raise ValueError("nothing to draw: this tensor was not computed by recorded operations")
    labels = {id(tensor): name for name, tensor in (names or {}).items()}
    keys: dict[int, str] = {}
    single: dict[Any, Any] = {None: None}  # of a node that stands for several the last of these
    several: dict[Any, list[Tensor]] = {}  # plans' outputs, from these

    def shown(edge: Any) -> Any:
        if edge not in single:
            whole: Any = edge.edges and edge.edges[0] if isinstance(edge, Output) else edge
            i = getattr(edge, "index", 0)
            unfolded = getattr(whole, "unfolded", None)
            if unfolded and whole.edges and whole not in several:
                several[whole] = unfolded()
            single[edge] = several[whole][i].grad_fn if whole in several else edge
        return single[edge]

    def key(thing: Function | Tensor) -> str:
        return keys.setdefault(id(thing), f"n{len(keys)}")

    lines = [f'  out [label="output\\n{_shape(output.shape)}", fillcolor="#d5e8d4"];']
    lines.append(f'  {key(shown(output.grad_fn))} -> out [label="{_shape(output.shape)}"];')
    for thing in behind([output.grad_fn], shown):
        if not isinstance(thing, Function):
            name = labels.get(id(thing), type(thing).__name__).replace('"', '\\"')
            label = f"{name}\\n{_shape(thing.shape)}"
            lines.append(f'  {key(thing)} [label="{label}", fillcolor="#dae8fc"];')
            continue
        if thing.edges is None:
            raise ValueError("this graph was released by backward(); draw it before")
        lines.append(f'  {key(thing)} [label="{thing.name()}", fillcolor=white];')
        for edge in map(shown, thing.edges):
            if edge is not None:
                shape = edge.output_shape if isinstance(edge, Function) else edge.shape
                lines.append(f'  {key(edge)} -> {key(thing)} [label="{_shape(shape)}"];')
    return "digraph {\n" + _STYLE + "\n" + "\n".join(lines) + "\n}\n"


def draw(output: Tensor, path: str | Path, names: Mapping[str, Tensor] | None = None) -> Path:
    """Write the graph to a `.dot`, or by Graphviz's `dot` program to a `.svg`, `.png` or `.pdf`.

    Raises:
        ValueError: for another ending.
        RuntimeError: if a picture is wanted and Graphviz is not installed.
    """
    path, source = Path(path), to_dot(output, names)
    if path.suffix not in SUFFIXES:
        raise ValueError(f"a graph is drawn as {', '.join(SUFFIXES)}, got {path.name!r}")
    if path.suffix == ".dot":
        write_atomically(path, source.encode())
        return path
    program = shutil.which("dot")
    if program is None:
        raise RuntimeError(
            f"drawing {path.name} needs Graphviz's dot program, which is not installed; "
            "install graphviz, or write a .dot file and open it elsewhere"
        )
    command = [program, f"-T{path.suffix[1:]}"]
    drawn = subprocess.run(command, input=source.encode(), stdout=subprocess.PIPE, check=True)
    write_atomically(path, drawn.stdout)
    return path


def _shape(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape)) or "scalar"
