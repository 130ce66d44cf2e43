"""Pictures that a person would recognise: signs, cards, receipts, screens of a phone, charts, shapes with words.

Each scene draws itself on a page and writes down what can be asked about it: (category, question, answer). A text's
size is given in pixels of the tiles that the page will be cut into, so that it is legible there, whatever the page's
own size; in the thumbnail of several tiles it is not.
"""
import numpy as np

import lettering
from pictures import Picture, Thing, background, cached_mask, draw_things, paint
from questions import NOTHING, pick, thing_name
from world import COLOUR_NAMES, COLOURS, LETTERS, SHAPES, WORDS

ORDINALS = ("first", "second", "third", "fourth")
INKS = {"dark": (20, 20, 25), "light": (250, 250, 250)}
GROUNDS = ((250, 250, 248), (238, 240, 245), (245, 238, 225), (225, 235, 245), (228, 228, 228), (24, 26, 32))


class Page:
    """A picture being drawn; scale is a page's pixels in one pixel of a tile."""

    def __init__(self, rng, width, height, scale, unseen, strange):
        self.rng, self.width, self.height, self.scale = rng, width, height, scale
        self.pixels, self.dark = background(rng, width, height)
        self.files, self.strange = lettering.font_files(unseen), strange
        self.font = pick(rng, self.files)
        self.letters, self.asked, self.things = [], [], []

    def fill(self, left, top, right, bottom, colour, radius=0):
        """A rectangle, its corners cut off where radius says so."""
        left, top, right, bottom = (int(round(v)) for v in (left, top, right, bottom))
        part = self.pixels[max(0, top):bottom, max(0, left):right]
        if not radius or min(part.shape[:2]) <= 2 * radius:
            part[:] = colour
            return
        x = np.minimum(np.arange(part.shape[1]), np.arange(part.shape[1])[::-1])
        y = np.minimum(np.arange(part.shape[0]), np.arange(part.shape[0])[::-1])
        dx, dy = np.maximum(radius - x, 0)[None, :], np.maximum(radius - y, 0)[:, None]
        part[dx * dx + dy * dy <= radius * radius] = colour

    def size_of(self, text, room_width, room_height, least=13, most=26):
        """The largest font size that fits the room and the limits (pixels of a tile), or None."""
        for size in range(int(most), int(least) - 1, -1):
            pixels = max(6, round(size * self.scale))
            width, height = lettering.measure(self.font, pixels, text)
            if width <= room_width and height <= room_height:
                return pixels
        return None

    def write(self, text, size, left, top, colour):
        """Writes text; returns its width and height."""
        self.letters += lettering.write(paint, self.pixels, self.font, size, text, int(left), int(top), colour)
        return lettering.measure(self.font, size, text)

    def shape(self, shape, colour, x, y, size, shade=None):
        """A shape around a middle."""
        size = max(6, int(size))
        left, top = int(np.clip(x - size / 2, 0, self.width - size)), int(np.clip(y - size / 2, 0, self.height - size))
        paint(self.pixels, cached_mask(shape, size), left, top, shade if shade is not None else paint_of(self.rng, colour))
        place = min(2, int(3 * y / self.height)) * 3 + min(2, int(3 * x / self.width))
        self.things.append(Thing(shape, colour, place, left + size / 2, top + size / 2, size))
        return self.things[-1]

    def ask(self, category, question, answer):
        """Writes down a question."""
        self.asked.append((category, question, answer))


def paint_of(rng, colour):
    """A colour of the list, not quite the same each time."""
    return np.clip(np.array(COLOURS[COLOUR_NAMES[colour]]) + rng.integers(-14, 15, 3), 0, 255).astype(np.float32)


def ink_on(ground):
    """Dark ink on a light ground, light ink on a dark one."""
    return INKS["dark" if np.dot(ground, (0.3, 0.59, 0.11)) > 135 else "light"]


def choose_word(page):
    """A word that a page may show: of the list, or two to eight letters at random, or now and then a number."""
    rng = page.rng
    kind = rng.random()
    if kind < 1 - NUMBERS - page.strange:
        return pick(rng, WORDS)
    if kind < 1 - NUMBERS:
        return "".join(LETTERS[i] for i in rng.integers(0, 26, rng.integers(2, 9)))
    return str(rng.integers(0, 10 ** int(rng.integers(1, 5))))


def choose_price(rng):
    """A price such as 4.50."""
    return "%d.%02d" % (rng.integers(0, 20), 5 * rng.integers(0, 20))


def ask_lines(page, lines, noun):
    """What can be asked about lines of text, from the top."""
    rng = page.rng
    at = int(rng.integers(len(lines)))
    page.ask("line", pick(rng, ("Read line %d.", "What does line %d say?")) % (at + 1), lines[at])
    at = int(rng.integers(min(len(lines), 4)))
    page.ask("line", pick(rng, ("Read the %s line.", "What is the %s line?")) % ORDINALS[at], lines[at])
    page.ask("line", pick(rng, ("Read the last line.", "What does the last line say?")), lines[-1])
    page.ask("line", "What does it say at the " + ("top?" if rng.random() < 0.5 else "top of the %s?" % noun), lines[0])
    page.ask("count", pick(rng, ("How many lines are there?", "How many lines of text are there?")), str(len(lines)))
    missing = len(lines) + int(rng.integers(1, 4))
    page.ask("nothing", "Read line %d." % missing, NOTHING)
    if len(lines) < 4:
        page.ask("nothing", "Read the %s line." % ORDINALS[len(lines)], NOTHING)
    shown = pick(rng, lines) if rng.random() < 0.5 else choose_word(page)
    page.ask("yes/no", pick(rng, ("Does it say %s?", "Does the " + noun + " say %s?")) % shown,
             "yes" if shown in lines else "no")


def fitted_lines(page, count, left, top, right, bottom, colour, centred):
    """Writes up to count lines into a box; returns those that found room."""
    rng, lines = page.rng, []
    count = max(1, min(count, int((bottom - top) / (14 * page.scale))))
    step = (bottom - top) / count
    most = rng.integers(15, 27)
    for i in range(count):
        text = choose_word(page)
        while True:
            size = page.size_of(text, right - left, step * 0.85, 12, most)
            if size or len(text) <= 2:
                break
            text = text[:-1].strip()
        if size is None:
            break
        width, height = lettering.measure(page.font, size, text)
        x = left + ((right - left - width) / 2 if centred else 0)
        page.write(text, size, x, top + i * step + (step - height) / 2, colour)
        lines.append(text)
    return lines


def draw_sign(page):
    """A plate with one to three words, sometimes with a shape above them."""
    rng, w, h = page.rng, page.width, page.height
    colour = int(rng.integers(len(COLOUR_NAMES)))
    margin = rng.uniform(0.01, 0.08)
    box = w * margin, h * margin, w * (1 - margin), h * (1 - margin)
    shade = paint_of(rng, colour)
    page.fill(*box, shade, radius=int(min(w, h) * pick(rng, (0, 0.08, 0.15))))
    top = box[1] + h * 0.04
    thing = None
    if rng.random() < 0.35 and h > 0.8 * w:
        size = min(w, h) * rng.uniform(0.22, 0.34)
        other = int((colour + rng.integers(2, 7)) % len(COLOUR_NAMES))
        disc = size * 1.25
        page.fill((w - disc) / 2, top, (w + disc) / 2, top + disc, (250, 250, 250), radius=int(disc * 0.2))
        thing = page.shape(int(rng.integers(len(SHAPES))), other, w / 2, top + disc / 2, size)
        top += disc
    lines = fitted_lines(page, 1 if thing else int(rng.integers(1, 4)), box[0] + 3, top, box[2] - 3, box[3] - h * 0.04,
                         ink_on(shade), True)
    if not lines:
        return
    name = COLOUR_NAMES[colour]
    ask_lines(page, lines, "sign")
    said = " ".join(lines)
    page.ask("word", pick(rng, ("What does the sign say?", "Read the sign.", "What does it say?")), said)
    page.ask("colour", pick(rng, ("What colour is the sign?", "What is the colour of the sign?")), name)
    page.ask("describe", pick(rng, ("Describe the picture.", "What is in the picture?")),
             "a %s sign that says %s" % (name, said))
    if thing:
        page.ask("shape", "What shape is on the sign?", SHAPES[thing.shape])
        page.ask("colour", "What colour is the shape on the sign?", COLOUR_NAMES[thing.colour])
    page.ask("nothing", "What is the total?", NOTHING)


def draw_card(page):
    """A card: lines of text from the left, a shape in a corner."""
    rng, w, h = page.rng, page.width, page.height
    ground = np.array(pick(rng, GROUNDS), np.float32)
    inset = min(w, h) * 0.03
    page.fill(inset, inset, w - inset, h - inset, ground, radius=int(min(w, h) * 0.06))
    side = min(w * 0.3, h * 0.45)
    thing, left = None, inset * 2
    if rng.random() < 0.6 and w > 0.9 * h:
        thing = page.shape(int(rng.integers(len(SHAPES))), int(rng.integers(len(COLOUR_NAMES))),
                           inset * 2 + side / 2, h / 2 + rng.uniform(-0.2, 0.2) * (h - side - 2 * inset), side * 0.9)
        left += side
    lines = fitted_lines(page, int(rng.integers(2, 5)), left, inset * 2, w - inset * 2, h - inset * 2, ink_on(ground), False)
    if not lines:
        return
    ask_lines(page, lines, "card")
    page.ask("word", pick(rng, ("Read the card.", "What does the card say?")), " ".join(lines))
    page.ask("describe", pick(rng, ("Describe the picture.", "What is in the picture?")),
             "a card that says " + " ".join(lines))
    page.ask("count", "How many shapes are there?", str(len(page.things)))
    if thing:
        page.ask("shape", pick(rng, ("What shape is on the card?", "What shape is on the left?")), SHAPES[thing.shape])
        page.ask("colour", pick(rng, ("What colour is the shape?", "What colour is the " + SHAPES[thing.shape] + "?")),
                 COLOUR_NAMES[thing.colour])
    page.ask("nothing", pick(rng, ("What time is it?", "What is the total?")), NOTHING)


def draw_receipt(page):
    """Items with their prices, and the total."""
    rng, w, h = page.rng, page.width, page.height
    page.fill(w * 0.02, 0, w * 0.98, h, np.array((250, 250, 246)) - rng.integers(0, 12), 0)
    size = max(6, round(rng.integers(12, 17) * page.scale))
    line = lettering.measure(page.font, size, "H")[1] * rng.uniform(1.55, 2.1)
    count = int(min(rng.integers(1, 6), (h - 4) // line - 1))
    if count < 1:
        return
    rows, names = [], set()
    for _ in range(count):
        price = choose_price(rng)
        room = w * 0.9 - lettering.measure(page.font, size, " " + price)[0]
        fits = [n for n in ITEMS if n not in names and lettering.measure(page.font, size, n)[0] <= room]
        if not fits:
            break
        name = pick(rng, fits)
        names.add(name)
        rows.append((name, price))
    if not rows:
        return
    total = "%.2f" % sum(float(p) for _, p in rows)
    label = "TOTAL" if lettering.measure(page.font, size, "TOTAL " + total)[0] <= w * 0.92 else "SUM"
    top = (h - line * (len(rows) + 1)) * rng.uniform(0.1, 0.9) + line * 0.2
    for i, (name, price) in enumerate(rows + [(label, total)]):
        width = lettering.measure(page.font, size, price)[0]
        page.write(name, size, w * 0.05, top + i * line, INKS["dark"])
        page.write(price, size, w * 0.95 - width, top + i * line, INKS["dark"])
    at = int(rng.integers(len(rows)))
    page.ask("line", pick(rng, ("How much is the %s?", "What is the price of %s?")) % rows[at][0], rows[at][1])
    page.ask("line", "Read line %d." % (at + 1), " ".join(rows[at]))
    page.ask("line", pick(rng, ("What is the total?", "How much is the total?")), total)
    page.ask("word", pick(rng, ("What is the first item?", "Read the first item.")), rows[0][0])
    page.ask("count", pick(rng, ("How many items are there?", "How many items are on the receipt?")), str(len(rows)))
    other = pick(rng, [n for n in ITEMS if n not in names])
    page.ask("nothing", pick(rng, ("How much is the %s?", "What is the price of %s?")) % other, NOTHING)
    asked = other if rng.random() < 0.5 else rows[at][0]
    page.ask("yes/no", "Is there %s on the receipt?" % asked, "yes" if asked in names else "no")
    page.ask("describe", pick(rng, ("Describe the picture.", "What is in the picture?")),
             "a receipt of %d item%s, total %s" % (len(rows), "s" * (len(rows) > 1), total))
    if len(rows) > 1:
        one, two = (rows[i] for i in rng.permutation(len(rows))[:2])
        if abs(float(one[1]) - float(two[1])) > 0.2:
            page.ask("larger", "Which costs more, %s or %s?" % (one[0], two[0]), max(one, two, key=lambda r: float(r[1]))[0])


ITEMS = """TEA EGG JAM MILK FISH RICE CORN SALT BREAD APPLE LEMON JUICE WATER SUGAR SOUP CAKE PEN BOOK SOAP COFFEE
TICKET PAPER""".split()
LABELS = "MAIL MAPS NEWS CALL CHAT PLAY SHOP BANK TIME NOTE FILE WEB TV ART GYM BUS PAY".split()


def draw_screen(page):
    """A phone's screen: the time, a title, icons with their labels."""
    rng, w, h = page.rng, page.width, page.height
    ground = np.array(pick(rng, GROUNDS), np.float32)
    page.fill(0, 0, w, h, ground)
    ink, size = ink_on(ground), max(6, round(rng.integers(12, 16) * page.scale))
    capital = lettering.measure(page.font, size, "H")[1]
    bar = capital * 2
    clock = "%d:%02d" % (rng.integers(0, 24), rng.integers(0, 60)) if rng.random() < 0.75 else ""
    if clock:
        page.write(clock, size, w * 0.04, bar * 0.25, ink)
    page.fill(w * 0.86, bar * 0.3, w * 0.96, bar * 0.7, ink)
    title = choose_word(page)
    title_size = page.size_of(title, w * 0.9, h * 0.2, 14, 24) if rng.random() < 0.6 else None
    top = bar
    if title_size:
        shade = paint_of(rng, int(rng.integers(len(COLOUR_NAMES))))
        height = lettering.measure(page.font, title_size, title)[1]
        page.fill(0, top, w, top + height * 1.9, shade)
        page.write(title, title_size, w * 0.05, top + height * 0.45, ink_on(shade))
        top += height * 2
    columns = max(1, min(3, int(w / (46 * page.scale))))
    rows = max(1, min(3, int((h - top) / (46 * page.scale))))
    count = int(rng.integers(1, columns * rows + 1))
    cell_w, cell_h = w / columns, (h - top) / rows
    icon = min(cell_w * 0.8, cell_h - capital * 1.9, 60 * page.scale)
    if icon < 14 * page.scale:
        return
    kinds = [(s, c) for s in range(len(SHAPES)) for c in range(len(COLOUR_NAMES))]
    kinds = [kinds[i] for i in rng.permutation(len(kinds))[:count]]
    fitting = [n for n in LABELS if lettering.measure(page.font, size, n)[0] < cell_w * 0.97]
    labels = [fitting[i] for i in rng.permutation(len(fitting))[:count]] if rng.random() < 0.7 else []
    for i, (shape, colour) in enumerate(kinds):
        x, y = cell_w * (i % columns + 0.5), top + cell_h * (i // columns) + icon / 2 + 1
        page.fill(x - icon / 2, y - icon / 2, x + icon / 2, y + icon / 2, np.array((205, 208, 214)) if sum(ground) > 300
                  else np.array((225, 225, 225)), radius=int(icon * 0.2))
        page.shape(shape, colour, x, y, icon * 0.8)
        if i < len(labels):
            width = lettering.measure(page.font, size, labels[i])[0]
            page.write(labels[i], size, x - width / 2, y + icon / 2 + capital * 0.4, ink)
    ask_screen(page, clock, title if title_size else "", labels)


def ask_screen(page, clock, title, labels):
    """What can be asked about a screen."""
    rng, things = page.rng, page.things
    page.ask("line" if clock else "nothing", pick(rng, ("What time is it?", "What is the time?")), clock or NOTHING)
    page.ask("word" if title else "nothing", pick(rng, ("What is the title?", "Read the title.")), title or NOTHING)
    page.ask("count", pick(rng, ("How many icons are there?", "How many icons are on the screen?")), str(len(things)))
    at = int(rng.integers(len(things)))
    name = thing_name(rng, things, things[at])
    if name:
        page.ask("line" if at < len(labels) else "nothing", "What does it say below the %s?" % name,
                 labels[at] if at < len(labels) else NOTHING)
    if labels:
        at = int(rng.integers(len(labels)))
        page.ask("colour", "What colour is the icon above %s?" % labels[at], COLOUR_NAMES[things[at].colour])
        page.ask("shape", "What shape is above %s?" % labels[at], SHAPES[things[at].shape])
        shown = labels[at] if rng.random() < 0.5 else pick(rng, LABELS)
        page.ask("yes/no", "Is there %s on the screen?" % shown, "yes" if shown in labels else "no")
    page.ask("describe", pick(rng, ("Describe the picture.", "What is in the picture?")), "a screen with %d icon%s: %s" % (
        len(things), "s" * (len(things) > 1), ", ".join(COLOUR_NAMES[t.colour] + " " + SHAPES[t.shape] for t in things)))


def draw_chart(page):
    """Two to five bars, upright or lying, some with labels."""
    rng, w, h = page.rng, page.width, page.height
    ground = np.array(pick(rng, GROUNDS[:5]), np.float32)
    page.fill(0, 0, w, h, ground)
    count, ink = int(rng.integers(2, 6)), ink_on(ground)
    colours = [int(c) for c in rng.permutation(len(COLOUR_NAMES))[:count]]
    values = choose_values(rng, count)
    lying = rng.random() < 0.35
    size = max(6, round(rng.integers(13, 17) * page.scale))
    capital = lettering.measure(page.font, size, "H")[1]
    letters = [LETTERS[i] for i in rng.permutation(26)[:count]] if rng.random() < 0.6 else []
    room = capital * 1.6 if letters else 4
    length, step = ((w if lying else h) - room) * 0.95, (h if lying else w) / count
    for i, value in enumerate(values):
        shade, a, b = paint_of(rng, colours[i]), step * (i + 0.14), step * (i + 0.86)
        if lying:
            page.fill(room, a, room + length * value, b, shade)
            dot = room + length * value / 2, (a + b) / 2
        else:
            page.fill(a, h - room - length * value, b, h - room, shade)
            dot = (a + b) / 2, h - room - length * value / 2
        page.things.append(Thing(1, colours[i], 0, *dot, min(b - a, length * value)))
        if letters:
            width = lettering.measure(page.font, size, letters[i])[0]
            at = (room * 0.2, (a + b - capital) / 2) if lying else ((a + b - width) / 2, h - room + capital * 0.3)
            page.write(letters[i], size, *at, ink)
    page.fill(*((room - 2, 0, room, h) if lying else (0, h - room, w, h - room + 2)), ink)
    ask_chart(page, colours, values, letters, lying)
    page.things = []


def choose_values(rng, count):
    """Lengths in 0.1..1 of which no two are near each other."""
    steps = rng.permutation(np.arange(1, 9))[:count]
    return [0.12 + 0.11 * s + rng.uniform(-0.015, 0.015) for s in steps]


def ask_chart(page, colours, values, letters, lying):
    """What can be asked about a chart."""
    rng, count = page.rng, len(values)
    names = [COLOUR_NAMES[c] for c in colours]
    one, two = (int(i) for i in rng.permutation(count)[:2])
    best, least = int(np.argmax(values)), int(np.argmin(values))
    longest = "longest" if lying else "tallest"
    page.ask("larger", "Which is %s, the %s or the %s bar?" % (pick(rng, ("larger", "longer" if lying else "taller")),
                                                               names[one], names[two]),
             names[one if values[one] > values[two] else two])
    page.ask("larger", pick(rng, ("Which bar is the %s?", "What colour is the %s bar?")) % longest, names[best])
    page.ask("larger", pick(rng, ("Which bar is the shortest?", "What colour is the shortest bar?")), names[least])
    page.ask("count", pick(rng, ("How many bars are there?", "Count the bars.")), str(count))
    at = int(rng.integers(min(count, 4)))
    page.ask("colour", "What colour is the %s bar?" % ORDINALS[at], names[at])
    page.ask("describe", pick(rng, ("Describe the picture.", "What is in the picture?")),
             "a chart of %d bars: %s" % (count, ", ".join(names)))
    shown = names[one] if rng.random() < 0.5 else pick(rng, COLOUR_NAMES)
    page.ask("yes/no", "Is there %s %s bar?" % ("an" if shown[0] in "aeiou" else "a", shown), "yes" if shown in names else "no")
    where = "at the left of" if lying else "below"
    if letters:
        page.ask("word", "What does it say %s the %s bar?" % (where, names[one]), letters[one])
        page.ask("colour", "What colour is the bar of %s?" % letters[one], names[one])
    else:
        page.ask("nothing", "What does it say %s the %s bar?" % (where, names[one]), NOTHING)


def draw_shapes(page):
    """One to six shapes, sometimes with a word in a row of its own."""
    rng, rows, word = page.rng, [0, 1, 2], ""
    if rng.random() < 0.35:
        row, shade = int(rng.integers(3)), rng.integers(170, 256, 3) if page.dark else rng.integers(0, 110, 3)
        words = fitted_lines(page, 1, 3, page.height * row / 3, page.width - 3, page.height * (row + 1) / 3, shade, True)
        if words:
            rows.remove(row)
            word = words[0]
            page.ask("word", "What does it say at the %s?" % ("top", "middle", "bottom")[row], word)
            other = (row + int(rng.integers(1, 3))) % 3
            page.ask("nothing", "What does it say at the %s?" % ("top", "middle", "bottom")[other], NOTHING)
    count = int(rng.integers(0 if word else 1, 4 if word else 7))
    page.things = draw_things(rng, page.pixels, count, rows)
    if not word:
        page.ask("nothing", pick(rng, ("What word is written?", "What does it say?", "Read the word.")), NOTHING)
    things = page.things
    if len(things) > 1:
        one, two = (things[i] for i in rng.permutation(len(things))[:2])
        names = thing_name(rng, things, one), thing_name(rng, things, two)
        if None not in names and not 0.77 < one.size / two.size < 1.3:
            small = rng.random() < 0.3
            page.ask("larger", "Which is %s, the %s or the %s?" % (("smaller" if small else "larger"), *names),
                     names[(one.size > two.size) == small])
    return word


SCENES = {"shapes": draw_shapes, "sign": draw_sign, "card": draw_card, "receipt": draw_receipt, "screen": draw_screen,
          "chart": draw_chart}
SHARES = dict(shapes=0.5, sign=0.14, card=0.1, receipt=0.09, screen=0.09, chart=0.08)
NUMBERS, STRANGE = 0.12, 0.38       # shares of numbers and of letters at random among the words


def draw_scene(rng, kind, width, height, scale, unseen=False, strange=STRANGE):
    """A picture of a kind, or None where the page has no room for it."""
    page = Page(rng, width, height, scale, unseen, strange)
    word = SCENES[kind](page) or ""
    if not page.asked and not page.things:
        return None
    picture = Picture(np.clip(page.pixels, 0, 255).astype(np.uint8), page.things, word, page.letters)
    picture.kind, picture.asked, picture.placed = kind, page.asked, kind == "shapes"
    return picture
