"""Draws pictures and says what is in them.

A picture is a three by three arrangement of places. Each object stays inside its place, so where it lies has one
answer; a word takes a whole row of places.
"""
from dataclasses import dataclass, field

import numpy as np

from font import glyph
from world import COLOURS, COLOUR_NAMES, LETTERS, MAX_OBJECTS, SHAPES, TILE, WORDS

OVERSAMPLE = 4


@dataclass
class Thing:
    """A drawn shape: indices into SHAPES, COLOUR_NAMES and PLACES, centre and diameter in pixels."""
    shape: int
    colour: int
    place: int
    x: float
    y: float
    size: float


@dataclass
class Picture:
    """pixels [h, w, 3] u8; things in reading order of their places; letters as (character, x, y).

    A scene besides gives its kind, what it asks about itself, and whether its things lie in places of their own.
    """
    pixels: np.ndarray
    things: list = field(default_factory=list)
    word: str = ""
    letters: list = field(default_factory=list)
    kind: str = "shapes"
    asked: list = field(default_factory=list)
    placed: bool = True


def shape_mask(shape, size):
    """Coverage of a shape in its size x size box, [size, size] f32 in 0..1."""
    n = size * OVERSAMPLE
    axis = (np.arange(n) + 0.5) / n * 2 - 1
    x, y = axis[None, :], axis[:, None]
    if shape == "circle":
        inside = x * x + y * y <= 1
    elif shape == "square":
        inside = np.maximum(abs(x), abs(y)) <= 0.9
    elif shape == "triangle":
        inside = (y <= 0.9) & (abs(x) <= (y + 1) / 1.9)
    elif shape == "cross":
        inside = np.minimum(abs(x), abs(y)) <= 0.3 + 0 * (x + y)
    elif shape == "diamond":
        inside = abs(x) * 1.25 + abs(y) <= 1
    else:
        inside = star(x, y)
    inside = np.broadcast_to(inside, (n, n))
    return inside.reshape(size, OVERSAMPLE, size, OVERSAMPLE).mean((1, 3)).astype(np.float32)


def star(x, y):
    """A five-pointed star, one point up, inside the unit circle."""
    radius = np.hypot(x, y)
    angle = np.arctan2(x, -y) % (2 * np.pi / 5)
    angle = np.minimum(angle, 2 * np.pi / 5 - angle)        # 0 at a point, pi/5 at a notch
    inner = 0.42
    edge = inner * np.sin(np.pi / 5) / (np.sin(angle) * (1 - inner * np.cos(np.pi / 5))
                                         + np.cos(angle) * inner * np.sin(np.pi / 5))
    return radius <= edge


MASKS = {}


def cached_mask(shape, size):
    """shape_mask, kept for the next picture."""
    if (shape, size) not in MASKS:
        MASKS[shape, size] = shape_mask(SHAPES[shape], size)
    return MASKS[shape, size]


def cached_glyph(letter, scale):
    """glyph, kept for the next picture."""
    if (letter, scale) not in MASKS:
        MASKS[letter, scale] = glyph(letter, scale)
    return MASKS[letter, scale]


def paint(pixels, mask, left, top, colour):
    """Blends a colour [3] into pixels [h, w, 3] f32 where mask [mh, mw] covers."""
    part = pixels[top:top + mask.shape[0], left:left + mask.shape[1]]
    part += mask[:, :, None] * (colour - part)


def background(rng, width, height):
    """A light or dark ground with a slope and a little noise, [h, w, 3] f32."""
    dark = rng.random() < 0.15
    base = rng.integers(5, 45, 3) if dark else rng.integers(190, 250) + rng.integers(-6, 7, 3)
    slope = rng.uniform(-10, 10) * np.linspace(-1, 1, height)[:, None, None]
    noise = rng.integers(-5, 6, (height, width, 1))
    return (base + slope + noise).astype(np.float32), dark


def draw_things(rng, pixels, count, rows):
    """Draws count shapes into places of the given rows; returns them in reading order."""
    height, width = pixels.shape[:2]
    kinds = rng.integers(1, 7)
    shapes = rng.permutation(len(SHAPES))[:kinds]
    colours = rng.permutation(len(COLOUR_NAMES))[:rng.integers(1, 9)]
    places = sorted(rng.permutation([r * 3 + c for r in rows for c in range(3)])[:count])
    things = []
    for place in places:
        shape, colour = int(rng.choice(shapes)), int(rng.choice(colours))
        cell = min(width, height) / 3
        size = int(rng.integers(int(cell * 0.45), int(cell * 0.92) + 1))
        row, column = divmod(int(place), 3)
        left = int(column * width / 3 + rng.uniform(0, width / 3 - size - 0.5) + 0.5)
        top = int(row * height / 3 + rng.uniform(0, height / 3 - size - 0.5) + 0.5)
        left, top = min(left, width - size), min(top, height - size)
        paint_colour = np.clip(np.array(COLOURS[COLOUR_NAMES[colour]]) + rng.integers(-14, 15, 3), 0, 255)
        paint(pixels, cached_mask(shape, size), left, top, paint_colour)
        things.append(Thing(shape, colour, int(place), left + size / 2, top + size / 2, size))
    return things


def choose_word(rng):
    """A word of 2..6 capital letters: from the list, or letters at random."""
    if rng.random() < 0.5:
        return WORDS[rng.integers(len(WORDS))]
    return "".join(LETTERS[i] for i in rng.integers(0, 26, rng.integers(2, 7)))


def draw_word(rng, pixels, row, dark):
    """Draws a word in one row of places, inside one tile's width where there are several; returns it and its letters."""
    height, width = pixels.shape[:2]
    word = choose_word(rng)
    room = width if width <= TILE * 1.2 else TILE - 4
    scale = int(rng.integers(2, 4)) if 18 * len(word) <= room - 2 else 2
    shade = rng.integers(170, 256, 3) if dark else rng.integers(0, 110, 3)
    columns = max(1, round(width / TILE))
    column = int(rng.integers(columns))
    spare = room - 6 * scale * len(word)
    left = int(column * width / columns + 2 + rng.integers(0, max(1, spare - 2)))
    left = max(0, min(left, width - 6 * scale * len(word)))
    top = int(row * height / 3 + rng.uniform(1, max(1.5, height / 3 - 7 * scale - 1)))
    top = min(top, height - 7 * scale)
    letters = []
    for i, letter in enumerate(word):
        x = left + 6 * scale * i
        paint(pixels, cached_glyph(letter, scale), x, top, shade)
        letters.append((letter, x + 2.5 * scale, top + 3.5 * scale))
    return word, letters


def draw_picture(rng, width=TILE, height=TILE, word_share=0.12):
    """A random picture of width x height pixels."""
    pixels, dark = background(rng, width, height)
    picture = Picture(pixels)
    if rng.random() < word_share:
        row = int(rng.integers(3))
        picture.word, picture.letters = draw_word(rng, pixels, row, dark)
        rows = [r for r in range(3) if r != row]
        count = int(rng.integers(0, 4))
    else:
        rows, count = range(3), int(rng.integers(1, MAX_OBJECTS + 1))
    picture.things = draw_things(rng, pixels, count, rows)
    picture.pixels = np.clip(pixels, 0, 255).astype(np.uint8)
    return picture
