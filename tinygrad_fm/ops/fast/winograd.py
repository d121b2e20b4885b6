"""3×3 convolution with stride 1 and padding 1 by Winograd's F(2×2, 3×3).

Four neighbouring outputs share most of their inputs. Winograd's minimal filtering gets a 2×2 tile
of outputs from a 4×4 tile of inputs with 16 products where the definition has 36:

    Y = Aᵀ [ (G w Gᵀ) ⊙ (Bᵀ d B) ] A        d (4×4) input tile, w (3×3) kernel, Y (2×2) outputs

    Bᵀ = ⎡ 1  0 -1  0 ⎤     G = ⎡ 1   0   0 ⎤     Aᵀ = ⎡ 1  1  1  0 ⎤
         ⎢ 0  1  1  0 ⎥         ⎢ ½   ½   ½ ⎥          ⎣ 0  1 -1  1 ⎦
         ⎢ 0 -1  1  0 ⎥         ⎢ ½  -½   ½ ⎥
         ⎣ 0 -1  0  1 ⎦         ⎣ 0   0   1 ⎦

The products of all tiles and channels together are 16 matrix products, (tiles, C) @ (C, O). Each
map below has its transpose beside it: backpropagation is the same walk with transposed matrices.

Arrays are laid out as (H, W, N, C): every row or column of a tile is then a plane of long
contiguous runs, and the transforms are a few additions of whole planes.
(Lavin & Gray 2016, arXiv:1509.09308; the signs of Bᵀ's last row and of Aᵀ's last column are
turned.)
"""

from __future__ import annotations

import numpy as np

from tinygrad_fm.ops.fast.chunks import Take
from tinygrad_fm.ops.fast.laid import framed

G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
GG = np.kron(G, G)  # (16, 9): G w Gᵀ for a kernel written as a column of nine


def tiles_of(height: int, width: int) -> tuple[int, int]:
    """How many 2×2 tiles cover an image; on an odd side the last tile hangs over."""
    return (height + 1) // 2, (width + 1) // 2


def transform_weight(weight: np.ndarray) -> np.ndarray:
    """U = G w Gᵀ: (O, C, 3, 3) -> (16, C, O)."""
    o, c = weight.shape[:2]
    u = GG.astype(weight.dtype) @ weight.reshape(o * c, 9).T  # (16, 9) @ (9, O·C)
    return u.reshape(16, o, c).swapaxes(1, 2)


def transform_weight_transposed(du: np.ndarray) -> np.ndarray:
    """∂L/∂w = Gᵀ ∂L/∂U G: (16, O, C) -> (O, C, 3, 3)."""
    _, o, c = du.shape
    return (du.reshape(16, o * c).T @ GG.astype(du.dtype)).reshape(o, c, 3, 3)


def transform_input(
    x: np.ndarray, v: np.ndarray, take: Take, start: tuple[int, int] = (-1, -1)
) -> None:
    """V = Bᵀ d B for every tile: x (H, W, n, C) without padding -> v (4, 4, TH, TW, n, C).

    The first tile begins at pixel `start` of x; what lies outside of x is zero.
    """
    _, _, n, c = x.shape
    th, tw = v.shape[2:4]
    padded = take((2 * th + 2, 2 * tw + 2, n, c), x.dtype)
    framed(x, padded, start)
    rows = take((4, th, 2 * tw + 2, n, c), x.dtype)
    _filter(padded, rows)
    _filter(rows.transpose(2, 0, 1, 3, 4), v.transpose(1, 3, 0, 2, 4, 5))


def _filter(d: np.ndarray, v: np.ndarray) -> None:
    """v = Bᵀ d along d's first axis: v (4, tiles, …)."""
    d0, d1, d2, d3 = d[:-2:2], d[1:-1:2], d[2::2], d[3::2]
    np.subtract(d0, d2, out=v[0])
    np.add(d1, d2, out=v[1])
    np.subtract(d2, d1, out=v[2])
    np.subtract(d3, d1, out=v[3])


def transform_input_transposed(dv: np.ndarray, dx: np.ndarray, take: Take) -> None:
    """∂L/∂d = B ∂L/∂V Bᵀ, overlaps added up: dv (4, 4, TH, TW, n, C) -> dx (2TH, 2TW, n, C)."""
    _, _, th, tw, n, c = dv.shape
    rows, sums = take((4, 2 * th, tw, n, c), dv.dtype), take((4, th, tw, n, c), dv.dtype)
    _filter_transposed(dv.swapaxes(1, 2), rows.swapaxes(0, 1), sums.swapaxes(0, 1))
    sums = take((2 * th, tw, n, c), dv.dtype)
    _filter_transposed(rows.swapaxes(1, 2), dx.swapaxes(0, 1), sums.swapaxes(0, 1))


def _filter_transposed(dv: np.ndarray, dd: np.ndarray, sums: np.ndarray) -> None:
    """The adjoint of `_filter` along the first axis of dv's four arrays, into dd's.

    Rows 1 and 2 of a tile are its own; row 0 is the row before, and row 3 the row behind, which
    belong to the neighbours.
    """
    np.subtract(dv[1], dv[2], out=sums)
    np.subtract(sums, dv[3], out=dd[0::2])
    dd[2::2] += dv[3][:-1]
    np.add(dv[1], dv[2], out=sums)
    np.subtract(sums, dv[0], out=dd[1::2])
    dd[1:-1:2] += dv[0][1:]


def transform_output(m: np.ndarray, y: np.ndarray, take: Take) -> None:
    """Y = Aᵀ M A: m (4, 4, …) -> y (2, 2, …)."""
    rows = take((2, *m.shape[1:]), m.dtype)
    _combine(m, rows)
    _combine(rows.swapaxes(0, 1), y.swapaxes(0, 1))


def _combine(m: np.ndarray, y: np.ndarray) -> None:
    """y = Aᵀ m along the first axis."""
    np.add(m[1], m[2], out=y[0])
    y[0] += m[0]
    np.subtract(m[1], m[2], out=y[1])
    y[1] += m[3]


def transform_output_transposed(dm: np.ndarray) -> None:
    """∂L/∂M = A ∂L/∂Y Aᵀ in place: the four planes of ∂L/∂Y already lie in dm's corners.

    A has only a 1 in its first and last row, so the corners are passed on as they are.
    """
    np.add(dm[0::3, 0], dm[0::3, 3], out=dm[0::3, 1])
    np.subtract(dm[0::3, 0], dm[0::3, 3], out=dm[0::3, 2])
    np.add(dm[0], dm[3], out=dm[1])
    np.subtract(dm[0], dm[3], out=dm[2])
