"""Makes training batches: pictures cut into tiles, packed questions, and dense labels of what each patch shows.

A packed sequence is `<s> [|Human|]: image` once, then several `question [|AI|]: answer` segments. Each segment sees
the shared prefix and itself only, and its positions go on from the prefix, so that to the decoder it looks like the
one question of a prompt.
"""
import numpy as np

from pictures import draw_picture
from questions import CATEGORIES, DESCRIBE, WORD, ask
from tiling import choose_grid, cut_tiles, placement
from tokenizer import AI, BOS, EOS, HUMAN, IMAGE_BEGIN, IMAGE_END, ROW_END, THUMBNAIL, TILE_MARK, Tokenizer
from world import LETTERS, PATCH, TILE

TOKENIZER = Tokenizer()
CONTROL = TOKENIZER.control_id
IMAGE_TOKEN = -1                    # an image token's place in a list of ids
SIDE = TILE // (2 * PATCH)          # image tokens along a tile's side
TOKENS = SIDE * SIDE
QUESTION_ROOM = 88                  # tokens for the questions of one picture
IGNORE = -100
GRIDS = ((2, 1), (1, 2), (2, 2), (3, 2), (2, 3), (3, 3))
TURN_SHARE = 0.08                   # pictures whose questions form one conversation


def image_ids(grid):
    """Ids of an image in the prompt, IMAGE_TOKEN where an image token stands; tiles in the order of cut_tiles."""
    columns, rows = grid
    tile = [IMAGE_TOKEN] * TOKENS
    if grid == (1, 1):
        return [CONTROL[IMAGE_BEGIN]] + tile + [CONTROL[IMAGE_END]]
    row = ([CONTROL[TILE_MARK]] + tile) * columns + [CONTROL[ROW_END]]
    return [CONTROL[IMAGE_BEGIN], CONTROL[THUMBNAIL]] + tile + row * rows + [CONTROL[IMAGE_END]]


def prompt_ids(grid, question):
    """Ids of a whole one-question prompt, up to and with the mark the answer follows."""
    return ([BOS, CONTROL[HUMAN]] + image_ids(grid) + TOKENIZER.encode(question) + [CONTROL[AI]])


def pack(rng, picture, grid, weights):
    """One sequence about a picture.

    weights: share of each category [7]. Returns rows of prefix + QUESTION_ROOM columns: ids, segment (0 prefix,
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


def labels(picture, grid):
    """What each patch and each image token shows, as class numbers with 0 for nothing.

    Returns patches [n, 144, 3] (shape, colour, letter under the patch's middle) and tokens [n, 36, 5] (shape, colour
    and place of the object whose centre lies in the token, letters centred in its left and right half), for the n
    tiles of cut_tiles. IGNORE stands where a tile cannot tell.
    """
    height, width = picture.pixels.shape[:2]
    left, top, new_w, new_h = placement(width, height, grid)
    local = grid[0] * grid[1]
    first = 1 if local > 1 else 0
    patches = np.zeros((local + first, 12, 12, 3), np.int64)
    tokens = np.zeros((local + first, SIDE, SIDE, 5), np.int64)
    if first:
        tokens[0, :, :, 3:] = IGNORE
        tokens[1:, :, :, 2] = IGNORE
    middle = np.arange(12) * PATCH + PATCH / 2
    views = [(0, 0.0, 0.0, TILE / width, TILE / height)] if first else []
    for i in range(local):
        row, column = divmod(i, grid[0])
        views.append((i + first, left - column * TILE, top - row * TILE, new_w / width, new_h / height))
    for tile, dx, dy, sx, sy in views:
        for t in picture.things:
            x, y = dx + t.x * sx, dy + t.y * sy
            near = ((abs(middle[:, None] - y) < 0.42 * t.size * sy) & (abs(middle[None, :] - x) < 0.42 * t.size * sx))
            patches[tile, near, :2] = t.shape + 1, t.colour + 1
            if 0 <= x < TILE and 0 <= y < TILE:
                cell = tokens[tile, int(y) // 16, int(x) // 16]
                cell[:2] = t.shape + 1, t.colour + 1
                if cell[2] != IGNORE:
                    cell[2] = t.place + 1
        for letter, x, y in picture.letters if tile >= first else ():
            x, y = dx + x * sx, dy + y * sy
            number = LETTERS.index(letter) + 1
            near = (abs(middle[:, None] - y) < 7) & (abs(middle[None, :] - x) < 6)
            patches[tile, near, 2] = number
            if 0 <= x < TILE and 0 <= y < TILE:
                tokens[tile, int(y) // 16, int(x) // 16, 3 + (int(x) % 16) // 8] = number
    return patches.reshape(-1, 144, 3), tokens.reshape(-1, TOKENS, 5)


def draw_for(rng, grid, word_share):
    """A picture whose relaxed match is the given grid; three in four fill the grid's pixels exactly."""
    while True:
        width, height = grid[0] * TILE, grid[1] * TILE
        if rng.random() < 0.25:
            width, height = int(width * rng.uniform(0.88, 1.06)), int(height * rng.uniform(0.88, 1.06))
        if choose_grid(width, height) == grid:
            return draw_picture(rng, width, height, word_share)


def make_batch(seed, step, rank, mix):
    """One batch, a function of its arguments; the grid is the same for every rank of a step.

    mix: batch (pictures of one tile), multi (share of multi-tile batches), words (share of pictures with a word),
    weights [7]. Returns a dict of arrays: tiles [b, n, 96, 96, 3] u8, patches, tokens, and, for a mix with
    questions, rows [b, 4, t], talk [b] bool, categories (a list of lists).
    """
    rng = np.random.default_rng([seed, step])
    grid, count = (1, 1), mix["batch"]
    if rng.random() < mix["multi"]:
        grid = GRIDS[int(rng.integers(len(GRIDS)))]
        count = max(3, mix["batch"] // (grid[0] * grid[1] + 1))
    rng = np.random.default_rng([seed, step, rank + 1])
    pictures = [draw_for(rng, grid, mix["words"]) for _ in range(count)]
    batch = {"grid": grid, "tiles": np.stack([cut_tiles(p.pixels)[1] for p in pictures])}
    dense = [labels(p, grid) for p in pictures]
    batch["patches"], batch["tokens"] = (np.stack(d) for d in zip(*dense))
    if mix["weights"] is not None:
        rows, talk, categories = zip(*(pack(rng, p, grid, mix["weights"]) for p in pictures))
        batch.update(rows=np.stack(rows), talk=np.array(talk), categories=categories)
    return batch
