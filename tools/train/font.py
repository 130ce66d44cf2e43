"""A 5x7 capital-letter font: five column bytes a letter, the top row in the lowest bit."""
import numpy as np

COLUMNS = {
    "A": "7E1111117E", "B": "7F49494936", "C": "3E41414122", "D": "7F4141413E", "E": "7F49494941", "F": "7F09090901",
    "G": "3E41415172", "H": "7F0808087F", "I": "00417F4100", "J": "2040413F01", "K": "7F08142241", "L": "7F40404040",
    "M": "7F020C027F", "N": "7F0408107F", "O": "3E4141413E", "P": "7F09090906", "Q": "3E4151215E", "R": "7F09192946",
    "S": "2649494932", "T": "01017F0101", "U": "3F4040403F", "V": "1F2040201F", "W": "3F4038403F", "X": "6314081463",
    "Y": "0708700807", "Z": "6151494543",
}


def glyph(letter, scale):
    """A letter as a mask of 0 and 1, [7*scale, 5*scale] f32."""
    columns = np.frombuffer(bytes.fromhex(COLUMNS[letter]), np.uint8)
    bits = (columns[None, :] >> np.arange(7)[:, None]) & 1
    return np.kron(bits, np.ones((scale, scale))).astype(np.float32)
