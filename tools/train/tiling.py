"""The three rules by which a picture becomes tiles, and the cutting itself, as the C library does them.

relaxed is BlueLM-V-3B's Algorithm 1, llava-next takes the most pixels and then the least waste, internvl the nearest
ratio. The first two pad the picture, internvl stretches it; internvl-pad is its grid with the picture padded, what
`bluelm --tiling internvl` does where a file asks for padding. Grids are those up to MAX_COLUMNS by MAX_ROWS (internvl: of
up to 12 tiles), the thumbnail comes first.
"""
import math

import numpy as np
from PIL import Image

from world import ALPHA, MAX_COLUMNS, MAX_ROWS, TILE

RULES = ("relaxed", "llava-next", "internvl", "internvl-pad")
RULE_SHARES = (1 / 3, 1 / 3, 1 / 6, 1 / 6)


def measure(width, height, columns, rows):
    """How well a grid shows a picture: the pixels it resolves, at most those there are, and the canvas left empty."""
    s = min(TILE * columns / width, TILE * rows / height)
    effective = min(int(width * s) * int(height * s), width * height)
    return effective, TILE * columns * TILE * rows - effective


def all_grids(columns=MAX_COLUMNS, rows=MAX_ROWS):
    """Every grid, most tiles first, wide before tall."""
    return sorted(((m, n) for m in range(1, columns + 1) for n in range(1, rows + 1)),
                  key=lambda g: (-g[0] * g[1], -g[0]))


def relaxed(width, height, grids):
    """A grid that resolves ALPHA more than the best so far, or about as much with less waste."""
    effective_max, waste_min, best = 0, math.inf, (1, 1)
    for grid in grids:
        effective, waste = measure(width, height, *grid)
        gain = effective - effective_max
        if gain > ALPHA * effective_max or (-gain < ALPHA * effective_max and waste < waste_min):
            effective_max, waste_min, best = effective, waste, grid
    return best


def llava_next(width, height, grids):
    """The most resolved pixels, then the least waste."""
    return max(grids, key=lambda g: (measure(width, height, *g)[0], -measure(width, height, *g)[1]))


def internvl(width, height, grids):
    """The nearest ratio, fewest tiles first; of two equally near the larger if the picture has half of its pixels."""
    best, apart_min = (1, 1), math.inf
    grids = [g for g in grids if g[0] * g[1] <= 12]
    for columns, rows in sorted(grids, key=lambda g: (g[0] * g[1], g[0])):
        apart = abs(width / height - columns / rows)
        if apart < apart_min or (apart == apart_min and width * height > 0.5 * TILE * TILE * columns * rows):
            apart_min, best = apart, (columns, rows)
    return best


CHOOSE = dict(zip(RULES, (relaxed, llava_next, internvl, internvl)))
GRIDS = all_grids()


def choose_grid(width, height, rule="relaxed", grids=GRIDS):
    """The grid (columns, rows) for a picture of width x height pixels."""
    return CHOOSE[rule](width, height, grids)


def placement(width, height, grid, rule="relaxed"):
    """Where the picture lies on the grid's canvas: (left, top, width, height), pixels."""
    canvas_w, canvas_h = grid[0] * TILE, grid[1] * TILE
    if rule == "internvl":
        return 0, 0, canvas_w, canvas_h
    scale_w, scale_h = canvas_w / width, canvas_h / height
    if scale_w < scale_h:
        new_w, new_h = canvas_w, min(math.ceil(height * scale_w), canvas_h)
    else:
        new_w, new_h = min(math.ceil(width * scale_h), canvas_w), canvas_h
    return (canvas_w - new_w) // 2, (canvas_h - new_h) // 2, new_w, new_h


def cut_tiles(pixels, rule="relaxed", grid=None):
    """RGB pixels [h, w, 3] u8 -> grid, tiles [n, TILE, TILE, 3] u8: the thumbnail first, then row by row.

    A 1:1 grid is one local tile without a thumbnail.
    """
    height, width = pixels.shape[:2]
    grid = grid or choose_grid(width, height, rule)
    left, top, new_w, new_h = placement(width, height, grid, rule)
    canvas = np.zeros((grid[1] * TILE, grid[0] * TILE, 3), np.uint8)
    canvas[top:top + new_h, left:left + new_w] = resize(pixels, new_w, new_h)
    tiles = canvas.reshape(grid[1], TILE, grid[0], TILE, 3).swapaxes(1, 2).reshape(-1, TILE, TILE, 3)
    if len(tiles) > 1:
        tiles = np.concatenate([resize(pixels, TILE, TILE)[None], tiles])
    return grid, tiles


def resize(pixels, width, height):
    """Pillow's bicubic resize; the picture itself when the size is already right."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.BICUBIC))
