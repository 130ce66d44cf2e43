"""The small world the demo model lives in: what can be drawn and how it is called."""

SHAPES = ("circle", "square", "triangle", "star", "cross", "diamond")
PLURALS = ("circles", "squares", "triangles", "stars", "crosses", "diamonds")
COLOURS = {
    "red": (215, 30, 35),
    "orange": (250, 135, 15),
    "yellow": (245, 220, 40),
    "green": (30, 155, 60),
    "blue": (35, 75, 215),
    "purple": (130, 45, 170),
    "pink": (250, 140, 185),
    "brown": (115, 65, 25),
}
COLOUR_NAMES = tuple(COLOURS)
# The nine places of a picture, row by row, as answers name them.
PLACES = ("top left", "top", "top right",
          "left", "middle", "right",
          "bottom left", "bottom", "bottom right")
MAX_OBJECTS = 6
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Words seen in pictures; half of the drawn words are random letters instead.
WORDS = """UP GO NO OK ON IN AT WE IT BY CAT DOG SUN BOX CUP HAT BUS KEY RED SKY SEA TEA ZOO FOX JAM MAP NET OWL PEN
VAN WAX YES EXIT OPEN STOP MILK FISH BIRD TREE BOOK DOOR LAMP ROAD SHIP STAR MOON JUMP QUIZ FROG GOLD HAND KING LEAF
WIND APPLE BREAD CHAIR HOUSE LEMON MOUSE PAPER QUEEN RIVER SHEEP TABLE WATER ZEBRA HELLO CLOSED COFFEE GARDEN
ORANGE WINDOW YELLOW PHONES MARKET ROCKET SILVER TICKET""".split()

# What can be written in a picture: capital letters, which the tokenizer never merges, digits and some marks.
CHARACTERS = LETTERS + "0123456789.:%-"

TILE = 96            # tile side, pixels
PATCH = 8            # patch side, pixels
MAX_COLUMNS = 4
MAX_ROWS = 4
ALPHA = 0.1          # of the relaxed aspect-ratio matching
