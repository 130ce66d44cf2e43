"""Makes training batches: pictures cut into tiles, packed questions, and dense labels of what each patch shows.

A packed sequence is `<s> [|Human|]: image` once, then several `question [|AI|]: answer` segments. Each segment sees
the shared prefix and itself only, and its positions go on from the prefix, so that to the decoder it looks like the
one question of a prompt.
"""
import math

import numpy as np

from pictures import draw_picture
from questions import CATEGORIES, DESCRIBE, WORD, ask
from scenes import SCENES, SHARES, draw_scene
from tiling import RULE_SHARES, RULES, all_grids, choose_grid, cut_tiles, placement
from tokenizer import AI, BOS, EOS, HUMAN, IMAGE_BEGIN, IMAGE_END, ROW_END, THUMBNAIL, TILE_MARK, Tokenizer
from world import CHARACTERS, PATCH, TILE

TOKENIZER = Tokenizer()
CONTROL = TOKENIZER.control_id
IMAGE_TOKEN = -1                    # an image token's place in a list of ids
SIDE = TILE // (2 * PATCH)          # image tokens along a tile's side
TOKENS = SIDE * SIDE
QUESTION_ROOM = 88                  # tokens for the questions of one picture
IGNORE = -100
PLAIN_GRIDS = ((2, 1), (1, 2), (2, 2), (3, 2), (2, 3), (3, 3))      # of the first demo model's pictures
SEVERAL = tuple(g for g in all_grids() if g != (1, 1))
FEWER_TILES = np.array([(g[0] * g[1]) ** -1.5 for g in SEVERAL])    # the share of each: a picture costs what it has tiles
TURN_SHARE = 0.08                   # pictures whose questions form one conversation


def image_ids(grid, control=CONTROL):
    """Ids of an image in the prompt, IMAGE_TOKEN where an image token stands; tiles in the order of cut_tiles."""
    columns, rows = grid
    tile = [IMAGE_TOKEN] * TOKENS
    if grid == (1, 1):
        return [control[IMAGE_BEGIN]] + tile + [control[IMAGE_END]]
    row = ([control[TILE_MARK]] + tile) * columns + [control[ROW_END]]
    return [control[IMAGE_BEGIN], control[THUMBNAIL]] + tile + row * rows + [control[IMAGE_END]]


def prompt_ids(grid, question, tokenizer=TOKENIZER):
    """Ids of a whole one-question prompt, up to and with the mark the answer follows."""
    control = tokenizer.control_id
    return [BOS, control[HUMAN]] + image_ids(grid, control) + tokenizer.encode(question) + [control[AI]]


def pack(rng, picture, grid, weights):
    """One sequence about a picture.

    weights: share of each category. Returns rows of prefix + QUESTION_ROOM columns: ids, segment (0 prefix,
    -1 unused), position, target (IGNORE where no answer is due); and the category of each segment.
    """
    prefix = [BOS, CONTROL[HUMAN]] + image_ids(grid)
    start, total = len(prefix), len(prefix) + QUESTION_ROOM
    rows = np.zeros((4, total), np.int64)
    rows[1], rows[3] = -1, IGNORE
    rows[:3, :start] = prefix, np.zeros(start), np.arange(start)
    talk = rng.random() < TURN_SHARE
    used, categories = start, [-1]
    for category in [WORD] + list(rng.choice(len(CATEGORIES), 24, p=weights)):
        if category in (WORD, DESCRIBE) and category in categories:
            continue
        pair = ask(rng, picture, category)
        if pair is None:
            continue
        question = TOKENIZER.encode(pair[0]) + [CONTROL[AI]]
        if talk and used > start:
            question = [EOS, CONTROL[HUMAN]] + question
        answer = TOKENIZER.encode(pair[1])
        ids = question + answer
        end = used + len(ids)
        if end > total:
            continue
        rows[0, used:end] = ids
        rows[1, used:end] = len(categories)
        rows[2, used:end] = np.arange(len(ids)) + (used if talk else start)
        rows[3, used + len(question) - 1:end] = answer + [EOS]
        categories.append(category)
        used = end
    return rows, talk, categories


def labels(picture, grid, rule):
    """What each patch and each image token shows, as class numbers with 0 for nothing.

    Returns patches [n, 144, 3] (shape, colour, letter under the patch's middle) and tokens [n, 36, 5] (shape, colour
    and place of the object whose centre lies in the token, letters centred in its left and right half), for the n
    tiles of cut_tiles. IGNORE stands where a tile cannot tell.
    """
    height, width = picture.pixels.shape[:2]
    left, top, new_w, new_h = placement(width, height, grid, rule)
    local = grid[0] * grid[1]
    first = 1 if local > 1 else 0
    patches = np.zeros((local + first, 12, 12, 3), np.int64)
    tokens = np.zeros((local + first, SIDE, SIDE, 5), np.int64)
    if first:
        tokens[0, :, :, 3:] = IGNORE
        tokens[1:, :, :, 2] = IGNORE
    views = [(0, 0.0, 0.0, TILE / width, TILE / height)] if first else []
    for i in range(local):
        row, column = divmod(i, grid[0])
        views.append((i + first, left - column * TILE, top - row * TILE, new_w / width, new_h / height))
    for tile, dx, dy, sx, sy in views:
        for t in picture.things:
            label_thing(patches[tile], tokens[tile], t, dx + t.x * sx, dy + t.y * sy, 0.42 * t.size * sx,
                        0.42 * t.size * sy, picture.placed)
        for letter, x, y in picture.letters if tile >= first else ():
            label_letter(patches[tile], tokens[tile], CHARACTERS.index(letter) + 1, dx + x * sx, dy + y * sy)
    return patches.reshape(-1, 144, 3), tokens.reshape(-1, TOKENS, 5)


def covered(middle, reach):
    """The run of patches whose middles lie within reach of a coordinate."""
    return slice(max(0, math.ceil((middle - reach) / PATCH - 0.5)), max(0, math.floor((middle + reach) / PATCH - 0.5) + 1))


def label_thing(patches, tokens, thing, x, y, half_w, half_h, placed):
    """Marks a shape around x, y in one tile."""
    patches[covered(y, half_h), covered(x, half_w), :2] = thing.shape + 1, thing.colour + 1
    if 0 <= x < TILE and 0 <= y < TILE:
        cell = tokens[int(y) // 16, int(x) // 16]
        cell[:2] = thing.shape + 1, thing.colour + 1
        if cell[2] != IGNORE:
            cell[2] = thing.place + 1 if placed else IGNORE


def label_letter(patches, tokens, number, x, y):
    """Marks a letter around x, y in one tile; where two share half a token it cannot tell."""
    if not (0 <= x < TILE and 0 <= y < TILE):
        return
    patches[covered(y, 6), covered(x, 4.5), 2] = number
    cell, half = tokens[int(y) // 16, int(x) // 16], 3 + (int(x) % 16) // 8
    cell[half] = IGNORE if cell[half] else number


def draw_plain_for(rng, grid, word_share):
    """A picture as the first demo model saw: its relaxed match is the grid; three in four fill its pixels exactly."""
    while True:
        width, height = grid[0] * TILE, grid[1] * TILE
        if rng.random() < 0.25:
            width, height = int(width * rng.uniform(0.88, 1.06)), int(height * rng.uniform(0.88, 1.06))
        if choose_grid(width, height, grids=PLAIN_CANDIDATES) == grid:
            return draw_picture(rng, width, height, word_share)


PLAIN_CANDIDATES = all_grids(3, 3)


def choose_size(rng, grid, rule, least=0.7, most=1.45):
    """A picture's size that the rule gives the grid, of any ratio and no multiple of a tile; and its pixels in a tile's."""
    while True:
        factor, tilt = rng.uniform(least, most), rng.uniform(0.8, 1.25)
        width, height = int(grid[0] * TILE * factor * tilt), int(grid[1] * TILE * factor / tilt)
        if choose_grid(width, height, rule) == grid:
            _, _, new_w, new_h = placement(width, height, grid, rule)
            return width, height, (width / new_w * height / new_h) ** 0.5


def draw_for(rng, grid, rule, mix):
    """A scene that the rule cuts into the grid."""
    while True:
        kind = KINDS[int(rng.choice(len(KINDS), p=mix["kinds"]))]
        picture = draw_scene(rng, kind, *choose_size(rng, grid, rule), strange=mix["strange"])
        if picture:
            return picture


def draw_one(rng, grid, mix):
    """A picture of a batch's grid, and the rule that cut it: plain ones are relaxed matches, scenes any of three."""
    if rng.random() < mix["plain"]:
        plain = grid if grid == (1, 1) or grid in PLAIN_GRIDS else None
        if plain:
            return draw_plain_for(rng, grid, mix["words"]), "relaxed"
    rule = RULES[int(rng.choice(len(RULES), p=RULE_SHARES if grid != (4, 4) else (0.5, 0.5, 0, 0)))]
    return draw_for(rng, grid, rule, mix), rule


KINDS = tuple(SCENES)
KIND_SHARES = np.array([SHARES[k] for k in KINDS])


def make_batch(seed, step, rank, mix):
    """One batch, a function of its arguments; the grid is the same for every rank of a step.

    mix: batch (pictures of one tile), multi (share of multi-tile batches), plain (share of the first model's pictures),
    words (share of those with a word), kinds (shares of the scenes' kinds), strange (share of letters at random among
    words), weights [10]. Returns a dict of arrays: tiles [b, n, 96, 96, 3] u8, patches,
    tokens, and, for a mix with questions, rows [b, 4, t], talk [b] bool, categories (a list of lists).
    """
    rng = np.random.default_rng([seed, step])
    grid, count = (1, 1), mix["batch"]
    if rng.random() < mix["multi"]:
        grid = SEVERAL[int(rng.choice(len(SEVERAL), p=FEWER_TILES / FEWER_TILES.sum()))]
        count = max(2, mix["batch"] // (grid[0] * grid[1] + 1))
    rng = np.random.default_rng([seed, step, rank + 1])
    drawn = [draw_one(rng, grid, mix) for _ in range(count)]
    batch = {"grid": grid, "tiles": np.stack([cut_tiles(p.pixels, rule, grid)[1] for p, rule in drawn])}
    dense = [labels(p, grid, rule) for p, rule in drawn]
    batch["patches"], batch["tokens"] = (np.stack(d) for d in zip(*dense))
    if mix["weights"] is not None:
        rows, talk, categories = zip(*(pack(rng, p, grid, mix["weights"]) for p, _ in drawn))
        batch.update(rows=np.stack(rows), talk=np.array(talk), categories=categories)
    return batch
