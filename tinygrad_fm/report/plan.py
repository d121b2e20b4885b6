"""A picture of the memory that a plan works in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.patches import Rectangle

from tinygrad_fm.autograd.tensor import Tensor
from tinygrad_fm.nn import Module
from tinygrad_fm.ops.fast.memory import in_use
from tinygrad_fm.plan.compiled import plan_of
from tinygrad_fm.report.style import INK, MUTED, SERIES, new_figure, save, styled

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@styled
def plot_memory(model: Module, x: Tensor, title: str, path: str | Path | None = None) -> Figure:
    """What a compiled model's training step holds in memory after each call of its plan.

    Above: the arrays that the plan has laid out, each where it lies and for as long as it lives;
    what is free is used again. Below: all large arrays, those of the fused convolutions too.

    Raises:
        ValueError: if the model is not compiled, or the call cannot be planned.
    """
    plan, arrays = plan_of(model, x)
    before, held = in_use(), []
    plan.watched(arrays, lambda number, seconds: held.append(in_use() - before))
    figure = new_figure(height=5.6)
    places, total = figure.subplots(2, sharex=True)
    names = list(dict.fromkeys(life.operation for life in plan.lives))
    for life in plan.lives:
        colour = SERIES[names.index(life.operation) % len(SERIES)]
        corner = (life.begun - 0.5, life.place.start / 1024)
        size = (life.ended - life.begun, (life.place.stop - life.place.start) / 1024)
        places.add_patch(Rectangle(corner, *size, facecolor=colour, edgecolor="white", alpha=0.85))
    for i, name in enumerate(names):
        places.plot([], [], color=SERIES[i % len(SERIES)], linewidth=6, label=name)
    places.legend(loc="upper left", bbox_to_anchor=(1, 1), borderaxespad=0)
    places.set(ylim=(0, plan.nbytes / 1024), ylabel="KB from the beginning")
    places.set_title(f"{title}: {plan.nbytes / 1024:,.0f} KB laid out by the plan")
    total.step(range(len(held)), [size / 2**20 for size in held], where="mid", color=SERIES[0])
    total.fill_between(range(len(held)), [size / 2**20 for size in held], step="mid", alpha=0.15)
    total.set(
        xlim=(-0.5, len(held) - 0.5), ylim=(0, 1.15 * max(*held, 1024) / 2**20), ylabel="MB in use"
    )
    total.set(xlabel="calls of the plan, one after the other")
    total.set_title("all large arrays after each call")
    middle = len(plan.forward_calls) - 0.5
    for axes in (places, total):
        axes.axvline(middle, color=MUTED, linestyle=":", linewidth=1)
    total.text(middle, total.get_ylim()[1], " backward →", va="top", color=INK, fontsize=9)
    return save(figure, path)
