"""A SentencePiece-style BPE tokenizer, built here and read by the C library.

The vocabulary holds <unk> <s> </s>, 256 byte tokens, the control tokens, printable ASCII, and merged pieces found
by byte-pair training on the words the demo model needs, so that each of those words is one token. Upper-case letters
never merge with the word mark, so a word in capitals is spelled letter by letter.
"""
from collections import Counter

from world import COLOUR_NAMES, PLURALS, SHAPES

MARK = "\u2581"      # stands for a space
UNK, BOS, EOS = 0, 1, 2
NORMAL, UNKNOWN, CONTROL, UNUSED, BYTE = 1, 2, 3, 5, 6
HUMAN, AI = "[|Human|]:", "[|AI|]:"
# Around a picture: the names that llama.cpp looks up for an lfm2 projector; tiles and rows have none of their own there.
IMAGE_BEGIN, IMAGE_END, THUMBNAIL = "<|image_start|>", "<|image_end|>", "<|img_thumbnail|>"
TILE_MARK, ROW_END = "<tile>", "<row>"
CONTROLS = (HUMAN, AI, IMAGE_BEGIN, IMAGE_END, TILE_MARK, ROW_END, THUMBNAIL)

QUESTION_WORDS = """what which where how many count tell me is are there the a an in at on of or and colour color shape
shapes object objects picture image it does say word written read describe list left right above below top bottom middle
centre center yes no with do you see any can find kind please""".split()
# Words of signs, cards, receipts, screens and charts.
SCENE_WORDS = """line lines text first second third fourth last sign card receipt screen chart bar bars icon icons item items price
much total costs more cost time title larger smaller tallest shortest longest next from than that says
can't I of""".split()
CAPITALISED = "What Which Where How Count Tell Is Are There Read Describe List Can Please Do Does".split()


def listed_words():
    """The words that must be a single token each."""
    digits = [str(d) for d in range(10)]
    return QUESTION_WORDS + SCENE_WORDS + CAPITALISED + list(COLOUR_NAMES) + list(SHAPES) + list(PLURALS) + digits


def train_merges(words):
    """Byte-pair training: the pieces, best first, that make every word (with its mark) one token."""
    parts = [[MARK] + list(w) for w in words]
    merges = []
    while True:
        pairs = Counter()
        for p in parts:
            for a, b in zip(p, p[1:]):
                if not (a == MARK and len(b) == 1 and b.isupper()):
                    pairs[a, b] += 1
        if not pairs:
            return merges
        (a, b), _ = min(pairs.items(), key=lambda kv: (-kv[1], kv[0]))
        if a + b not in merges:
            merges.append(a + b)
        parts = [apply_merge(p, a, b) for p in parts]


def apply_merge(parts, a, b):
    """Joins every a followed by b in a list of pieces, from the left."""
    out = []
    for piece in parts:
        if out and out[-1] == a and piece == b:
            out[-1] = a + b
        else:
            out.append(piece)
    return out


class Tokenizer:
    """tokens, scores and types as the GGUF file lists them; encode and decode as the C library does."""

    def __init__(self, tokens=None, types=None, scores=None):
        """The vocabulary of a file, or the one that is made here."""
        self.tokens, self.types, self.scores = tokens, types, scores
        if tokens is None:
            self.make()
        self.piece_id = {t: i for i, (t, k) in enumerate(zip(self.tokens, self.types)) if k == NORMAL}
        self.control_id = {t: i for i, (t, k) in enumerate(zip(self.tokens, self.types)) if k == CONTROL}
        self.cache = {}

    def make(self):
        """Fills the vocabulary: marks, bytes, the pieces of the listed words, characters."""
        merges = train_merges(listed_words())
        characters = [MARK] + [chr(c) for c in range(33, 127)]
        self.tokens = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)] + list(CONTROLS)
        self.types = [UNKNOWN, CONTROL, CONTROL] + [BYTE] * 256 + [CONTROL] * len(CONTROLS)
        self.scores = [0.0] * len(self.tokens)
        for rank, piece in enumerate(merges + characters):
            self.tokens.append(piece)
            self.types.append(NORMAL)
            self.scores.append(-float(rank + 1))
        while len(self.tokens) % 32:
            self.tokens.append("<unused%d>" % len(self.tokens))
            self.types.append(UNUSED)
            self.scores.append(-1e6)

    def encode(self, text):
        """Token ids of plain text, with the space prefix; control tokens are never parsed from it."""
        if len(self.cache) > 50000:
            self.cache.clear()
        if text not in self.cache:
            self.cache[text] = self.merge(list(MARK + text.replace(" ", MARK))) if text else []
        return self.cache[text]

    def merge(self, parts):
        """Joins the adjacent pair with the best score, leftmost on ties, until none is left."""
        while True:
            best, where = None, -1
            for i in range(len(parts) - 1):
                token = self.piece_id.get(parts[i] + parts[i + 1])
                if token is not None and (best is None or self.scores[token] > best):
                    best, where = self.scores[token], i
            if where < 0:
                break
            parts[where:where + 2] = [parts[where] + parts[where + 1]]
        ids = []
        for p in parts:
            ids += [self.piece_id[p]] if p in self.piece_id else [3 + b for b in p.encode("utf-8")]
        return ids

    def decode(self, ids):
        """Text of token ids: control tokens vanish, one leading space is dropped."""
        out = b""
        for i in ids:
            if self.types[i] == BYTE:
                out += bytes([i - 3])
            elif self.types[i] == NORMAL:
                out += self.tokens[i].replace(MARK, " ").encode("utf-8")
        text = out.decode("utf-8", "replace")
        return text[1:] if text.startswith(" ") else text


if __name__ == "__main__":
    tok = Tokenizer()
    split = [w for w in listed_words() if len(tok.encode(w)) != 1]
    print(len(tok.tokens), "tokens; words in more than one piece:", split)
    for sample in ("What colour is the circle?", "red circle, blue square", "CAT", "WHAT", "top left", "6", "Où?"):
        print(sample, [tok.tokens[i] for i in tok.encode(sample)])
