"""Questions about a picture, each with its one right answer."""
from collections import Counter

from world import COLOUR_NAMES, PLACES, PLURALS, SHAPES

CATEGORIES = ("colour", "shape", "count", "position", "yes/no", "word", "describe", "line", "larger", "nothing")
SHAPE_CATEGORIES = CATEGORIES[:7]           # what the first demo model was asked
WORD, DESCRIBE = CATEGORIES.index("word"), CATEGORIES.index("describe")
NOTHING = "I can't read that"               # where the picture does not say
PLACE_WORDS = {"middle": ("middle", "middle", "centre", "center")}


def pick(rng, options):
    """One of the options."""
    return options[int(rng.integers(len(options)))]


def colour_word(rng):
    """British or American spelling."""
    return pick(rng, ("colour", "color"))


def at_place(rng, place):
    """A place as a question names it: "at the top left"."""
    name = PLACES[place]
    return pick(rng, ("at", "at", "in")) + " the " + pick(rng, PLACE_WORDS.get(name, (name,)))


def only(values):
    """Those of the values that occur once."""
    return [v for v, n in Counter(values).items() if n == 1]


def thing_name(rng, things, thing):
    """A description that fits this thing and no other of the picture, or None."""
    shape, colour = SHAPES[thing.shape], COLOUR_NAMES[thing.colour]
    names = []
    if sum(t.shape == thing.shape for t in things) == 1:
        names.append(shape)
    if sum(t.colour == thing.colour for t in things) == 1:
        names.append(colour + " shape")
    if sum((t.shape, t.colour) == (thing.shape, thing.colour) for t in things) == 1:
        names.append(colour + " " + shape)
    return pick(rng, names) if names else None


def ask_colour(rng, picture):
    """What colour is the circle / the shape at the top?"""
    unique = only([t.shape for t in picture.things])
    if unique and rng.random() < 0.6:
        shape = pick(rng, unique)
        thing = next(t for t in picture.things if t.shape == shape)
        about = "the " + SHAPES[shape]
    else:
        thing = pick(rng, picture.things)
        about = "the " + pick(rng, ("shape", "object")) + " " + at_place(rng, thing.place)
    form = pick(rng, ("What {c} is {a}?", "What {c} is {a}?", "What is the {c} of {a}?", "Tell me the {c} of {a}."))
    return form.format(c=colour_word(rng), a=about), COLOUR_NAMES[thing.colour]


def ask_shape(rng, picture):
    """What shape is red / is at the top?"""
    unique = only([t.colour for t in picture.things])
    if unique and rng.random() < 0.6:
        colour = pick(rng, unique)
        thing = next(t for t in picture.things if t.colour == colour)
        form = pick(rng, ("What shape is {}?", "Which shape is {}?", "What is the {} shape?", "What shape is the {} object?"))
        question = form.format(COLOUR_NAMES[colour])
    else:
        thing = pick(rng, picture.things)
        question = pick(rng, ("What shape is {}?", "Which shape is {}?")).format(at_place(rng, thing.place))
    return question, SHAPES[thing.shape]


def ask_count(rng, picture):
    """How many shapes / circles / red shapes are there?"""
    kind = rng.random()
    if kind < 0.35:
        noun, number = pick(rng, ("shapes", "objects")), len(picture.things)
    elif kind < 0.7:
        present = [t.shape for t in picture.things]
        shape = pick(rng, present) if present and rng.random() < 0.8 else int(rng.integers(len(SHAPES)))
        noun, number = PLURALS[shape], present.count(shape)
    else:
        present = [t.colour for t in picture.things]
        colour = pick(rng, present) if present and rng.random() < 0.8 else int(rng.integers(len(COLOUR_NAMES)))
        noun, number = COLOUR_NAMES[colour] + " " + pick(rng, ("shapes", "objects")), present.count(colour)
    form = pick(rng, ("How many {} are there?", "How many {} are there?", "How many {} are in the picture?",
                      "How many {} do you see?", "Count the {}."))
    return form.format(noun), str(number)


def ask_position(rng, picture):
    """Where is the circle / the red shape / the red circle? Sometimes: left or right of, above or below another?"""
    if rng.random() < 0.3:
        return ask_relation(rng, picture)
    thing = pick(rng, picture.things)
    name = thing_name(rng, picture.things, thing)
    if name is None:
        return None
    form = pick(rng, ("Where is the {}?", "Where is the {}?", "Where in the picture is the {}?"))
    return form.format(name), PLACES[thing.place]


def ask_relation(rng, picture):
    """Is the circle left or right of the star?"""
    if len(picture.things) < 2:
        return None
    first, second = (picture.things[i] for i in rng.permutation(len(picture.things))[:2])
    names = thing_name(rng, picture.things, first), thing_name(rng, picture.things, second)
    if None in names:
        return None
    column_step, row_step = first.place % 3 - second.place % 3, first.place // 3 - second.place // 3
    if column_step and (not row_step or rng.random() < 0.5):
        return "Is the %s left or right of the %s?" % names, "left" if column_step < 0 else "right"
    return "Is the %s above or below the %s?" % names, "above" if row_step < 0 else "below"


def ask_yesno(rng, picture):
    """Is there a red circle?"""
    pairs = {(t.shape, t.colour) for t in picture.things}
    if rng.random() < 0.5:
        shape, colour = pick(rng, sorted(pairs))
    elif rng.random() < 0.5:
        shape, colour = pick(rng, picture.things).shape, pick(rng, picture.things).colour
    else:
        shape, colour = int(rng.integers(len(SHAPES))), int(rng.integers(len(COLOUR_NAMES)))
    kind = rng.random()
    if kind < 0.34:
        name, right = SHAPES[shape], any(s == shape for s, _ in pairs)
    elif kind < 0.67:
        name, right = COLOUR_NAMES[colour] + " shape", any(c == colour for _, c in pairs)
    else:
        name, right = COLOUR_NAMES[colour] + " " + SHAPES[shape], (shape, colour) in pairs
    article = "an " if name[0] in "aeiou" else "a "
    form = pick(rng, ("Is there {}?", "Is there {} in the picture?", "Do you see {}?", "Can you see {}?"))
    return form.format(article + name), "yes" if right else "no"


def ask_describe(rng, picture):
    """The things in reading order."""
    form = pick(rng, ("Describe the picture.", "What is in the picture?", "List the shapes.", "Describe the image."))
    return form, ", ".join(COLOUR_NAMES[t.colour] + " " + SHAPES[t.shape] for t in picture.things)


def ask_word(rng, picture):
    """What word is written?"""
    if not picture.word:
        return None
    form = pick(rng, ("What word is written?", "What does it say?", "Read the word.", "What is the word?",
                      "Which word is in the picture?"))
    return form, picture.word


ASK = (ask_colour, ask_shape, ask_count, ask_position, ask_yesno, ask_word, ask_describe)


def ask(rng, picture, category):
    """(question, answer) of a category given by its index, or None when the picture has none."""
    own = [a[1:] for a in picture.asked if a[0] == CATEGORIES[category]]
    if own and (not picture.placed or rng.random() < 0.4):
        pair = pick(rng, own)
    elif not picture.placed or category >= len(ASK):
        pair = pick(rng, own) if own else None
    else:
        needs_things = category not in (CATEGORIES.index("count"), WORD)
        pair = None if needs_things and not picture.things else ASK[category](rng, picture)
    return pair and (vary(rng, pair[0]), pair[1])


def vary(rng, question):
    """Sometimes small letters only, sometimes no mark at the end."""
    if rng.random() < 0.25:
        question = question[0].lower() + question[1:]
    return question[:-1] if rng.random() < 0.15 else question
