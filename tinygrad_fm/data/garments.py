"""The built-in data set: 28x28 pictures of ten kinds of clothes, drawn by the code below.

A stand-in with Fashion-MNIST's classes and format that needs no download. How it draws:

1. `Sheet` lays out blank pictures, all of one class, with coordinates -1..1 (y points down).
2. `camera` moves, turns, scales, mirrors and bends those coordinates; `fabric` weaves a cloth.
3. One of the functions in `DRAW` describes shapes by signed distances (negative inside, positive
   outside) and fills them with cloth. Every size in it is drawn at random.
4. `develop` adds what a photographer adds: light, something in the way, grain.

Classes overlap where they do in a wardrobe: a shirt whose buttons are hidden is a pullover.
Only + - * /, square roots, rounding and comparisons touch a pixel. IEEE 754 leaves no choice in
their results, so the pictures do not depend on anybody's sine or exponential.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np

from tinygrad_fm.data.dataset import ArrayDataset

Array = np.ndarray  # (n, 28, 28), or (n, 1, 1): one number for each picture
Number = np.ndarray | float
Knot = tuple[Number, Number]

SIDE = 28  # pixels
SIZES = {"train": 10_000, "test": 2_000}  # pictures, unless another number is asked for
CHUNK = 250  # pictures drawn at once: small enough for the processor's cache


def Garments(train: bool = True, size: int | None = None, seed: int = 0) -> ArrayDataset:
    """Draw the built-in data set: ten balanced classes of clothes, light on black.

    Args:
        train: the training or the test pictures; they come from different random streams.
        size: how many pictures; 10,000 (train) or 2,000 (test) by default.
        seed: a non-negative integer; the same seed gives the same bits.

    Returns:
        images uint8 (size, 1, 28, 28) and labels int64 (size,), in random order; the classes
        are named and numbered as in Fashion-MNIST (Xiao, Rasul and Vollgraf, 2017).

    Raises:
        ValueError: `size` is not a positive integer.
    """
    if size is None:
        size = SIZES["train" if train else "test"]
    if not isinstance(size, int | np.integer) or size < 1:
        raise ValueError(
            f"Garments expected size to be a positive integer, got {size!r}; "
            "leave it out for 10,000 training or 2,000 test pictures"
        )
    rng = np.random.default_rng([seed, int(train)])
    labels = rng.permutation(np.arange(size, dtype=np.int64) % len(DRAW))
    images = np.empty((size, 1, SIDE, SIDE), np.uint8)
    for label, draw in enumerate(DRAW.values()):
        members = np.flatnonzero(labels == label)
        for start in range(0, len(members), CHUNK):
            chunk = members[start : start + CHUNK]
            sheet = Sheet(rng, len(chunk))
            draw(sheet)
            images[chunk, 0] = develop(sheet)
    return ArrayDataset(images, labels, tuple(DRAW), "garments (built-in)")


# ---------------------------------------------------------------- paper, camera, cloth, light


class Sheet:
    """A batch of n blank pictures with their coordinates, their cloth and the dice."""

    def __init__(self, rng: np.random.Generator, n: int) -> None:
        self.rng, self.n = rng, n
        self.x, self.y = camera(self)
        self.cloth = fabric(self)
        self.picture = np.zeros_like(self.cloth)

    def vary(self, low: float, high: float) -> Array:
        """One number for each picture, uniform between low and high, (n, 1, 1)."""
        return low + (high - low) * self.rng.random((self.n, 1, 1), dtype=np.float32)

    def chance(self, p: float) -> Array:
        """1 with probability p, else 0, for each picture, (n, 1, 1)."""
        return (self.rng.random((self.n, 1, 1), dtype=np.float32) < p).astype(np.float32)

    def fill(self, distance: Array, shade: Number = 1.0, seen: Number = 1.0) -> None:
        """Cover a shape with cloth, darkened or lightened by shade; seen 0 leaves it out."""
        self.picture += seen * inside(distance) * (self.cloth * shade - self.picture)

    def dim(self, distance: Array, amount: Number) -> None:
        """Take light away inside a shape: 0 nothing, 1 all (a hole), negative lightens."""
        self.picture *= 1 - amount * inside(distance)


def camera(s: Sheet) -> tuple[Array, Array]:
    """Where each pixel lies in the garment's own coordinates: two arrays (n, 28, 28)."""
    pixel = (np.arange(SIDE, dtype=np.float32) + 0.5) / (SIDE / 2) - 1
    x = (pixel[None, None, :] - s.vary(-0.16, 0.16)) / s.vary(0.8, 1.08)
    y = (pixel[None, :, None] - s.vary(-0.16, 0.16)) / s.vary(0.8, 1.08)
    t = s.vary(-0.1, 0.1)  # tan(angle / 2) gives cosine and sine without trigonometry
    cos, sin = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
    x, y = cos * x + sin * y, cos * y - sin * x
    x = x + s.vary(0, 0.05) * wave(y * s.vary(0.3, 0.8) + s.vary(0, 1))
    return x * (1 - 2 * s.chance(0.5)), y


def fabric(s: Sheet) -> Array:
    """Plain, striped, checked or dotted cloth with a gradient and folds, (n, 28, 28)."""
    lengthwise = wave(s.x * s.vary(1.5, 4) + s.vary(0, 1))
    crosswise = wave(s.y * s.vary(1.5, 4) + s.vary(0, 1))
    folds = wave(s.x * s.vary(0.5, 1.5) + s.y * s.vary(-0.8, 0.8) + s.vary(0, 1))
    cloth = 1 + s.vary(-0.25, 0.25) * s.x + s.vary(-0.25, 0.25) * s.y + s.vary(0, 0.2) * folds
    for pattern in (lengthwise, crosswise, lengthwise * crosswise):
        cloth += s.chance(0.2) * s.vary(0.1, 0.45) * pattern
    return np.maximum(cloth, 0.15)


def develop(s: Sheet) -> Array:
    """Something in the way now and then, light, grain: grey values 0..255, (n, 28, 28)."""
    thumb = ellipse(
        s.x, s.y, s.vary(-0.8, 0.8), s.vary(-0.8, 0.8), s.vary(0.1, 0.35), s.vary(0.1, 0.35)
    )
    s.dim(thumb, s.chance(0.2) * s.vary(0.5, 1))
    light = s.picture * s.vary(0.3, 0.9)
    grain = s.rng.random(light.shape, np.float32) - s.rng.random(light.shape, np.float32)
    light += grain * (s.vary(0.02, 0.1) * (light > 0) + 0.01)
    return np.rint(np.clip(light, 0, 1) * 255).astype(np.uint8)


# ------------------------------------------------- shapes: signed distances, negative inside


def inside(distance: Array) -> Array:
    """How much of each pixel a shape covers, 0..1: its edge is one pixel soft."""
    return np.clip(0.5 - distance * (SIDE / 2), 0, 1)


def wave(t: Array) -> Array:
    """A sine of period 1 made of two parabolas, between -1 and 1."""
    u = 2 * (t - np.floor(t)) - 1
    return 4 * u * (np.abs(u) - 1)


def curve(t: Array, *knots: Knot) -> Array:
    """The broken line through the knots (t, value), constant beyond its ends."""
    value = np.full_like(t, knots[0][1])
    for (t0, v0), (t1, v1) in pairwise(knots):
        value += np.minimum(np.maximum(t - t0, 0), t1 - t0) * ((v1 - v0) / (t1 - t0))
    return value


def panel(x: Array, y: Array, *knots: Knot) -> Array:
    """A piece of cloth, mirrored left to right; its knots are (height y, half width there)."""
    edge = np.abs(x) - curve(y, *knots)
    return np.maximum(edge, np.maximum(knots[0][0] - y, y - knots[-1][0]))


def stroke(x: Array, y: Array, start: Knot, end: Knot, r0: Number, r1: Number) -> Array:
    """A straight band with flat ends, r0 half wide at its start and r1 at its end."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = np.sqrt(dx * dx + dy * dy)
    dx, dy = dx / length, dy / length
    along = (x - start[0]) * dx + (y - start[1]) * dy
    across = np.abs((x - start[0]) * dy - (y - start[1]) * dx)
    side = across - r0 - along * ((r1 - r0) / length)
    return np.maximum(side, np.abs(along - length / 2) - length / 2)


def ellipse(x: Array, y: Array, cx: Number, cy: Number, rx: Number, ry: Number) -> Array:
    """An ellipse around (cx, cy); the distance is zero on its border and about right near it."""
    dx, dy = (x - cx) / rx, (y - cy) / ry
    return (np.sqrt(dx * dx + dy * dy) - 1) * (2 * rx * ry / (rx + ry))


# ------------------------------------------------------------- what several classes have in common


def top(
    s: Sheet,
    sleeve: Number,
    spread: Number,
    width: Number,
    hem: Number,
    flare: Number,
    neck: Number,
    depth: Number,
) -> None:
    """Two sleeves, a body, a neck opening, in half pictures.

    sleeve is their length, spread how far they point outwards for one unit down; width is half
    the chest, flare the hem's share of it; neck is half the opening's width, depth its height.
    """
    x, y = np.abs(s.x), s.y
    shoulder, armhole = width * s.vary(0.98, 1.1), width * s.vary(0.3, 0.4)
    start = (shoulder - armhole * 0.6, armhole * 0.4 - 0.78)
    reach = sleeve / np.sqrt(1 + spread * spread)
    end = (start[0] + spread * reach, start[1] + reach)
    body = panel(
        x,
        y,
        (-0.9, neck),
        (-0.74, shoulder),
        (-0.4, width * 0.95),
        (0.1, width * s.vary(0.85, 1.0)),
        (hem, width * flare),
    )
    s.fill(stroke(x, y, start, end, armhole, armhole * s.vary(0.6, 0.9)), s.vary(0.75, 1.1))
    s.dim(body - 0.06, s.vary(0.3, 0.7))  # the body's shadow on the sleeves
    s.fill(body)
    s.dim(ellipse(x, y, 0, -0.92, neck, depth), s.vary(0.5, 1))


def collar(s: Sheet, neck: Number, size: Number, seen: Number) -> None:
    """Two flaps that meet below the throat."""
    flap = stroke(np.abs(s.x), s.y, (neck, -0.92), (0.03, 2 * size - 0.88), size, size * 0.4)
    s.dim(flap - 0.05, 0.6 * seen)
    s.fill(flap, 1 + 0.6 * seen, seen > 0.15)


def sole(s: Sheet, heel: Number, thick: Number) -> Array:
    """A sole, toes to the left, and a heel; returns how low the foot stands at each x."""
    ground, shade = curve(s.x, (-0.25, 0.6), (0.4, 0.6 - heel)), s.vary(0.4, 1.5)
    s.fill(np.maximum(np.abs(s.y - ground) - thick, np.abs(s.x) - 0.88), shade)
    s.fill(
        stroke(
            s.x, s.y, (0.65, 0.6 - heel), (0.72, 0.6 + thick), s.vary(0.1, 0.22), s.vary(0.04, 0.16)
        ),
        shade,
    )
    return ground


def foot(s: Sheet, ground: Array, *knots: Knot) -> Array:
    """A closed shoe, knots (x, height over the ground); returns the depth below its top edge."""
    depth = s.y - ground + curve(s.x, *knots)
    ends = np.maximum(knots[0][0] - s.x, s.x - knots[-1][0])
    s.fill(np.maximum(np.maximum(-depth, s.y - ground), ends))
    return depth


# ---------------------------------------------------------------------------- the ten classes


def t_shirt(s: Sheet) -> None:
    top(
        s,
        sleeve=0.1 + s.chance(0.85) * s.vary(0.25, 0.6),
        spread=s.vary(0.3, 1.1),
        width=s.vary(0.42, 0.56),
        hem=s.vary(0.65, 0.92),
        flare=s.vary(0.9, 1.1),
        neck=s.vary(0.16, 0.32),
        depth=s.vary(0.1, 0.4),
    )
    y, ink = s.vary(-0.35, 0.0), s.vary(-0.7, 0.8)
    s.dim(ellipse(s.x, s.y, 0, y, s.vary(0.1, 0.3), s.vary(0.1, 0.25)), s.chance(0.3) * ink)
    s.dim(stroke(s.x, s.y, (-0.25, y), (0.25, y), 0.08, 0.08), s.chance(0.3) * ink)


def trouser(s: Sheet) -> None:
    waist, crotch, hem = s.vary(0.2, 0.34), s.vary(-0.55, -0.25), s.vary(0.75, 0.97)
    ankle = waist * s.vary(0.85, 1.4)
    s.fill(panel(s.x, s.y, (-0.94, waist), (crotch, waist * s.vary(1.1, 1.35)), (hem, ankle)))
    gap = panel(s.x, s.y, (crotch, 0.0), (hem + 0.1, ankle * s.vary(0.1, 0.6)))
    s.dim(gap, s.vary(0.6, 1))
    s.dim(np.abs(s.y + 0.8) - 0.02, s.vary(0, 0.6))  # waistband


def pullover(s: Sheet) -> None:
    hem, neck = s.vary(0.6, 0.9), s.vary(0.16, 0.28)
    top(
        s,
        sleeve=s.vary(1.2, 1.6),
        spread=s.vary(0.05, 0.45),
        width=s.vary(0.4, 0.54),
        hem=hem,
        flare=s.vary(0.85, 1.05),
        neck=neck,
        depth=s.vary(0.06, 0.2),
    )
    s.dim(np.abs(s.y - hem + 0.14) - 0.02, s.vary(0, 0.6))  # ribbed hem and cuffs
    s.fill(panel(s.x, s.y, (-1.0, neck), (-0.8, neck)), 0.8, s.chance(0.3))  # turtleneck


def dress(s: Sheet) -> None:
    top(
        s,
        sleeve=0.05 + s.chance(0.5) * s.vary(0.2, 1.2),
        spread=s.vary(0.05, 0.6),
        width=s.vary(0.24, 0.38),
        hem=s.vary(0.85, 0.97),
        flare=s.vary(0.9, 2.0),
        neck=s.vary(0.1, 0.22),
        depth=s.vary(0.1, 0.45),
    )
    s.dim(np.abs(s.y - s.vary(-0.25, 0.05)) - 0.02, s.vary(-0.4, 0.7))  # belt


def coat(s: Sheet) -> None:
    hem, neck, middle = s.vary(0.75, 0.97), s.vary(0.16, 0.28), s.vary(-0.05, 0.05)
    top(
        s,
        sleeve=s.vary(1.2, 1.65),
        spread=s.vary(0.05, 0.35),
        width=s.vary(0.42, 0.56),
        hem=hem,
        flare=s.vary(0.95, 1.2),
        neck=neck,
        depth=s.vary(0.08, 0.3),
    )
    opening = stroke(s.x, s.y, (middle, -0.8), (middle, hem), s.vary(0.02, 0.06), 0.04)
    s.dim(opening, s.vary(0.3, 1))
    collar(s, neck, s.vary(0.1, 0.2), s.chance(0.7) * s.vary(0, 0.8))
    pockets = stroke(np.abs(s.x), s.y, (0.2, 0.3), (0.32, s.vary(0.25, 0.45)), 0.03, 0.03)
    s.dim(pockets, s.vary(0, 0.8))


def sandal(s: Sheet) -> None:
    heel, shade, wide = s.chance(0.6) * s.vary(0.1, 0.6), s.vary(0.6, 1.3), s.vary(0.03, 0.08)
    ground = sole(s, heel, s.vary(0.05, 0.1))
    toes = ellipse(s.x, s.y, s.vary(-0.6, -0.4), 0.6, s.vary(0.2, 0.3), s.vary(0.2, 0.45))
    s.fill(np.maximum(np.abs(toes) - s.vary(0.04, 0.15), s.y - ground), shade)
    instep, back = (s.vary(-0.4, 0.1), 0.55), (0.78, 0.6 - heel)
    ankle = (s.vary(0.2, 0.45), 0.1 - heel * 0.9 + s.vary(-0.25, 0.2))
    for start, end in ((instep, ankle), (ankle, (0.78, ankle[1])), ((0.74, ankle[1]), back)):
        s.fill(stroke(s.x, s.y, start, end, wide, wide), shade)


def shirt(s: Sheet) -> None:
    hem, neck, long = s.vary(0.7, 0.95), s.vary(0.14, 0.26), s.chance(0.65)
    top(
        s,
        sleeve=s.vary(0.25, 0.6) + long * 0.95,
        spread=s.vary(0.05, 0.4) + (1 - long) * 0.4,
        width=s.vary(0.4, 0.56),
        hem=hem,
        flare=s.vary(0.88, 1.1),
        neck=neck,
        depth=s.vary(0.06, 0.3),
    )
    s.dim(stroke(s.x, s.y, (0.0, -0.8), (0.0, hem), 0.02, 0.02), s.vary(0, 0.6))
    gap = s.vary(0.2, 0.4)
    buttons = ellipse(s.x, s.y - gap * np.rint(s.y / gap), 0, 0, 0.06, 0.06)
    s.dim(buttons, -s.vary(0.2, 1))
    collar(s, neck, s.vary(0.08, 0.14), s.vary(0, 1))


def sneaker(s: Sheet) -> None:
    throat, toe = s.vary(-0.1, 0.2), s.vary(0.22, 0.36)
    tongue = s.vary(0.45, 0.7) + s.chance(0.2) * s.vary(0, 0.35)
    ground = sole(s, s.chance(0.4) * s.vary(0, 0.15), s.vary(0.05, 0.12))
    depth = foot(
        s,
        ground,
        (-0.87, 0.1),
        (-0.72, toe),
        (-0.4, toe + 0.06),
        (throat, tongue),
        (0.4, tongue * 0.85),
        (0.7, tongue * 0.85),
        (0.85, tongue),
    )
    stripe = stroke(s.x, s.y, (s.vary(-0.2, 0.2), 0.55), (s.vary(0.2, 0.5), 0.2), 0.06, 0.06)
    s.dim(stripe, s.vary(-0.6, 0.8))
    laces = np.maximum(np.abs(s.x - throat + 0.25) - 0.22, np.abs(depth - 0.12) - 0.05)
    s.dim(laces, s.vary(0, 0.9) * (wave(s.x * 7) > 0))


def bag(s: Sheet) -> None:
    roof, floor, width = s.vary(-0.4, 0.1), s.vary(0.6, 0.85), s.vary(0.45, 0.9)
    handle = ellipse(s.x, s.y, 0, roof, width * s.vary(0.4, 0.95), s.vary(0.2, 0.6))
    s.fill(np.abs(handle) - s.vary(0.03, 0.07), s.vary(0.6, 1.2), s.chance(0.85))
    s.fill(
        panel(
            s.x,
            s.y,
            (roof, width * s.vary(0.7, 1)),
            (floor - 0.2, width),
            (floor, width * s.vary(0.8, 1)),
        )
    )
    flap = roof + s.vary(0.1, 0.5)
    s.dim(np.abs(s.y - flap) - 0.02, s.vary(0, 0.8))
    s.dim(ellipse(s.x, s.y, 0, flap, 0.1, 0.08), s.vary(-0.8, 0.8))  # clasp


def ankle_boot(s: Sheet) -> None:
    heel = s.vary(0.05, 0.15) + s.chance(0.4) * s.vary(0, 0.35)
    toe, ankle, shaft = s.vary(0.2, 0.36), s.vary(-0.1, 0.25), s.vary(0.7, 1.3) - 0.5 * heel
    foot(
        s,
        sole(s, heel, s.vary(0.04, 0.1)),
        (-0.85, 0.1),
        (-0.68, toe),
        (-0.4, toe + 0.08),
        (ankle - 0.05, 0.6),
        (ankle + 0.1, shaft),
        (0.8, shaft + s.vary(-0.1, 0.1)),
    )
    x, wide = s.vary(0.35, 0.6), s.vary(0.02, 0.1)
    zipper = stroke(s.x, s.y, (x, -0.9), (x, 0.4 - heel), wide, wide)
    s.dim(zipper, s.vary(-0.4, 0.7))


DRAW: dict[str, Callable[[Sheet], None]] = {
    "T-shirt/top": t_shirt,
    "Trouser": trouser,
    "Pullover": pullover,
    "Dress": dress,
    "Coat": coat,
    "Sandal": sandal,
    "Shirt": shirt,
    "Sneaker": sneaker,
    "Bag": bag,
    "Ankle boot": ankle_boot,
}
