"""Text in Debian's fonts, letter by letter: every letter's place is known, and its drawing is kept.

Fonts are found by file name under /usr/share/fonts, or the folder that BLUELM_FONTS names (packages fonts-dejavu,
fonts-liberation, fonts-freefont-ttf, fonts-roboto-unhinted, fonts-open-sans, fonts-noto-core; for the fonts that training
never sees fonts-lato, fonts-crosextra-carlito, fonts-urw-base35, fonts-firacode, fonts-cantarell). What is not installed is
left out.
"""
import functools
import os

import numpy as np
from PIL import Image, ImageDraw, ImageFont

FOLDER = os.environ.get("BLUELM_FONTS", "/usr/share/fonts")
TRAIN_FONTS = """DejaVuSans DejaVuSans-Bold DejaVuSansCondensed DejaVuSansCondensed-Bold DejaVuSerif DejaVuSerif-Bold
DejaVuSansMono DejaVuSansMono-Bold LiberationSans-Regular LiberationSans-Bold LiberationSans-Italic
LiberationSansNarrow-Bold LiberationSerif-Regular LiberationSerif-Bold LiberationMono-Regular LiberationMono-Bold
FreeSans FreeSansBold FreeSerifBold FreeMonoBold Roboto-Regular Roboto-Medium Roboto-Bold RobotoCondensed-Bold
OpenSans-Regular OpenSans-Semibold OpenSans-Bold NotoSans-Regular NotoSans-Bold NotoSerif-Bold""".split()
UNSEEN_FONTS = """Lato-Regular Lato-Bold Lato-Heavy Carlito-Regular Carlito-Bold C059-Bold URWBookman-Demi FiraCode-Regular
FiraCode-Bold Cantarell-Regular Cantarell-Bold""".split()


@functools.lru_cache(None)
def font_files(unseen):
    """Paths of the installed fonts, in the order of their names above."""
    wanted, found = UNSEEN_FONTS if unseen else TRAIN_FONTS, {}
    for folder, _, names in os.walk(FOLDER):
        found.update({os.path.splitext(n)[0]: os.path.join(folder, n) for n in sorted(names)
                      if n.endswith((".ttf", ".otf"))})
    files = tuple(found[name] for name in wanted if name in found)
    if not files:
        raise SystemExit("none of the fonts is installed: " + " ".join(wanted))
    return files


@functools.lru_cache(None)
def opened(path, size):
    """A font at a size in pixels."""
    return ImageFont.truetype(path, size)


@functools.lru_cache(200000)
def letter(path, size, character):
    """A letter's coverage [height, width] f32 in 0..1, and how far the pen moves."""
    font = opened(path, size)
    ascent, descent = font.getmetrics()
    advance = max(1, round(font.getlength(character)))
    picture = Image.new("L", (advance + 4, ascent + descent))
    ImageDraw.Draw(picture).text((1, 0), character, fill=255, font=font)
    mask = np.asarray(picture, np.float32) / 255
    rows = np.flatnonzero(mask.any(1))
    return mask, advance, (int(rows[0]), int(rows[-1]) + 1) if len(rows) else (0, 1)


def measure(path, size, text):
    """Width and height of a line of text, pixels: of its capitals, not of the font's whole line."""
    top, bottom = letter(path, size, "H")[2]
    return sum(letter(path, size, c)[1] for c in text), bottom - top


def write(paint, pixels, path, size, text, left, top, colour):
    """Writes a line whose capitals begin at row top; returns its letters as (character, x, y) of their centres."""
    first, last = letter(path, size, "H")[2]
    pen, letters = left, []
    for character in text:
        mask, advance, _ = letter(path, size, character)
        if character != " ":
            place(paint, pixels, mask, pen - 1, top - first, colour)
            letters.append((character, pen + advance / 2, top + (last - first) / 2))
        pen += advance
    return letters


def place(paint, pixels, mask, left, top, colour):
    """Paints a mask, of which parts may lie outside the picture."""
    height, width = pixels.shape[:2]
    x0, y0 = max(0, -left), max(0, -top)
    x1, y1 = min(mask.shape[1], width - left), min(mask.shape[0], height - top)
    if x0 < x1 and y0 < y1:
        paint(pixels, mask[y0:y1, x0:x1], left + x0, top + y0, colour)
