"""Relaxed aspect-ratio matching (BlueLM-V-3B, Algorithm 1) and tile extraction, as the C library does them."""
import math

import numpy as np
from PIL import Image

from world import ALPHA, MAX_COLUMNS, MAX_ROWS, TILE


def choose_grid(width, height):
    """The grid (columns, rows) for a picture of width x height pixels."""
    grids = [(m, n) for m in range(1, MAX_COLUMNS + 1) for n in range(1, MAX_ROWS + 1)]
    grids.sort(key=lambda g: -g[0] * g[1])
    effective_max, waste_min, best = 0, math.inf, (1, 1)
    for m, n in grids:
        s = min(TILE * m / width, TILE * n / height)
        effective = min(int(width * s) * int(height * s), width * height)
        waste = TILE * m * TILE * n - effective
        gain = effective - effective_max
        if gain > ALPHA * effective_max or (-gain < ALPHA * effective_max and waste < waste_min):
            effective_max, waste_min, best = effective, waste, (m, n)
    return best


def placement(width, height, grid):
    """Where the picture lies on the grid's canvas: (left, top, width, height), pixels."""
    canvas_w, canvas_h = grid[0] * TILE, grid[1] * TILE
    scale_w, scale_h = canvas_w / width, canvas_h / height
    if scale_w < scale_h:
        new_w, new_h = canvas_w, min(math.ceil(height * scale_w), canvas_h)
    else:
        new_w, new_h = min(math.ceil(width * scale_h), canvas_w), canvas_h
    return (canvas_w - new_w) // 2, (canvas_h - new_h) // 2, new_w, new_h


def cut_tiles(pixels):
    """RGB pixels [h, w, 3] u8 -> grid, tiles [n, TILE, TILE, 3] u8: the thumbnail first, then row by row.

    A 1:1 grid is one local tile without a thumbnail.
    """
    height, width = pixels.shape[:2]
    grid = choose_grid(width, height)
    left, top, new_w, new_h = placement(width, height, grid)
    canvas = np.zeros((grid[1] * TILE, grid[0] * TILE, 3), np.uint8)
    canvas[top:top + new_h, left:left + new_w] = resize(pixels, new_w, new_h)
    tiles = [canvas[r * TILE:(r + 1) * TILE, c * TILE:(c + 1) * TILE] for r in range(grid[1]) for c in range(grid[0])]
    if len(tiles) > 1:
        tiles.insert(0, resize(pixels, TILE, TILE))
    return grid, np.stack(tiles)


def resize(pixels, width, height):
    """Pillow's bicubic resize; the picture itself when the size is already right."""
    if pixels.shape[:2] == (height, width):
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((width, height), Image.BICUBIC))
