#!/usr/bin/env python3
"""Writes the sample pictures in fuzz/corpus/image and tests/data/image_vectors.h, which
says what Pillow decodes them to.

PNG comes in every colour type, bit depth and interlacing, JPEG with every way to sample,
scan and restart: Pillow writes few of them, so this file has writers of its own. Where
Pillow has no answer of its own the rules of tiler/image.h give it: alpha on white, the
upper 8 of 16 bits, black for what a palette lacks. Run from the repository root:

    tools/image_samples.py > tests/data/image_vectors.h

Made with Pillow 9.4.0 and libjpeg-turbo 2.1.2.
"""
import io
import os
import random
import struct
import zlib

from PIL import Image

FOLDER = "fuzz/corpus/image"
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
          (0, 1, 1, 2))


# ---- PNG ---------------------------------------------------------------------------------

def chunk(kind, data, crc=None):
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def paeth(a, b, c):
    p = a + b - c
    return min((abs(p - a), 0, a), (abs(p - b), 1, b), (abs(p - c), 2, c))[2]


def filtered(kind, row, above, step):
    out = bytearray([kind])
    for i, value in enumerate(row):
        a = row[i - step] if i >= step else 0
        c = above[i - step] if i >= step else 0
        guess = (0, a, above[i], (a + above[i]) // 2, paeth(a, above[i], c))[kind]
        out.append((value - guess) & 255)
    return bytes(out)


def pack(values, depth):
    if depth == 16:
        return b"".join(struct.pack(">H", v) for v in values)
    out = bytearray((len(values) * depth + 7) // 8)
    for i, value in enumerate(values):
        out[i * depth // 8] |= value << (8 - depth - i * depth % 8)
    return bytes(out)


def rows_of(samples, color, depth, interlaced):
    step, number, out = max(1, depth * CHANNELS[color] // 8), 0, b""
    for x0, y0, dx, dy in PASSES if interlaced else ((0, 0, 1, 1),):
        above = None
        for line in samples[y0::dy]:
            row = pack([v for px in line[x0::dx] for v in px], depth)
            if not row:
                continue
            out += filtered(number % 5, row, above or bytes(len(row)), step)
            above, number = row, number + 1
    return out


def deflate(data, level=9, strategy=zlib.Z_DEFAULT_STRATEGY):
    packer = zlib.compressobj(level, zlib.DEFLATED, 15, 9, strategy)
    return packer.compress(data) + packer.flush()


def png_of(width, height, color, depth, interlaced, before, data, parts, after=b""):
    out = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced)) + before
    size = -(-len(data) // parts)
    for i in range(0, len(data), size):
        out += chunk(b"IDAT", data[i:i + size])
        if parts > 2:
            out += chunk(b"IDAT", b"")
    return out + after + chunk(b"IEND", b"")


def over_white(rgb, alpha):
    return bytes((v * alpha + 255 * (255 - alpha) + 127) // 255 for v in rgb)


def shown(samples, color, depth, palette, clear):
    """RGB by the rules, which is Pillow's where it has the same (pillow() below checks)."""
    out, most = b"", (1 << depth) - 1
    for px in (px for line in samples for px in line):
        if color == 3:
            alpha = clear[px[0]] if clear and px[0] < len(clear) else 255
            rgb = palette[3 * px[0]:3 * px[0] + 3] or bytes(3)
            out += over_white(rgb, alpha)
            continue
        levels = [v >> 8 if depth == 16 else v * 255 // most for v in px]
        alpha = levels[-1] if color & 4 else 255
        if clear and list(struct.unpack(">%dH" % len(px), clear)) == px:
            alpha = 0
        out += over_white(levels[:3] if color & 2 else levels[:1] * 3, alpha)
    return out


def pillow(data):
    picture = Image.open(io.BytesIO(data))
    if picture.mode in ("LA", "RGBA") or "transparency" in picture.info:
        return b"".join(over_white(px[:3], px[3]) for px in picture.convert("RGBA").getdata())
    return picture.convert("RGB").tobytes()


def png(width, height, color, depth, interlaced, parts, rng, clear=None, colors=None,
        level=9, strategy=zlib.Z_DEFAULT_STRATEGY, extra=b"", after=b""):
    most = (1 << depth) - 1
    samples = [[[(rng.randint(0, most) if rng.random() < 0.3 else (x * 9 + y * 5 + c) & most)
                 for c in range(CHANNELS[color])] for x in range(width)] for y in range(height)]
    before, palette = extra, b""
    if color == 3:
        palette = bytes(rng.randint(0, 255) for _ in range(3 * (colors or most + 1)))
        before += chunk(b"PLTE", palette)
    if clear == "some":
        clear = struct.pack(">%dH" % CHANNELS[color], *samples[height // 2][width // 2])
    if clear:
        before += chunk(b"tRNS", clear)
    data = deflate(rows_of(samples, color, depth, interlaced), level, strategy)
    out = png_of(width, height, color, depth, interlaced, before, data, parts, after)
    pixels = shown(samples, color, depth, palette, clear)
    # Pillow clips grey of 16 bits, compares transparent colours of other depths than 8 with
    # something else, and takes what a palette lacks for greys.
    own = depth == 16 or colors or (clear and color == 0 and depth < 8)
    if not own and pixels != pillow(out):
        raise SystemExit("Pillow decodes %d-%d otherwise" % (color, depth))
    return out, pixels


def far_png(rng):
    """Rows of two values that repeat from 32 KB before."""
    lines = [bytes(rng.choice((40, 200)) for _ in range(1000)) for _ in range(32)]
    data = deflate(b"".join(b"\0" + lines[y % 32] for y in range(100)))
    out = png_of(1000, 100, 0, 8, 0, b"", data, 2)
    return out, pillow(out)


def pngs(rng):
    number = 0
    for color, depths in DEPTHS.items():
        for depth in depths:
            for interlaced in (0, 1):
                name = "png-%d-%d%s" % (color, depth, "-interlaced" if interlaced else "")
                width, height = (13, 11) if interlaced else (11, 13)
                clear = b"\x00\x80" if color == 3 else None
                number += 1
                yield name, width, height, 1, png(width, height, color, depth, interlaced,
                                                  1 + number % 3, rng, clear)
    for width, height in ((1, 1), (1, 9), (9, 1), (3, 2)):
        name = "png-%dx%d-interlaced" % (width, height)
        yield name, width, height, 1, png(width, height, 2, 8, 1, 1, rng)
    for color, depth in ((0, 2), (0, 8), (0, 16), (2, 8), (2, 16)):
        name = "png-%d-%d-clear" % (color, depth)
        yield name, 9, 7, 1, png(9, 7, color, depth, depth == 8, 1, rng, "some")
    yield "png-few-colors", 9, 7, 1, png(9, 7, 3, 4, 0, 1, rng, colors=11)
    yield "png-stored", 11, 13, 1, png(11, 13, 2, 8, 0, 3, rng, level=0)
    yield "png-fixed", 11, 13, 1, png(11, 13, 2, 8, 0, 2, rng, strategy=zlib.Z_FIXED)
    yield "png-far", 1000, 100, 1, far_png(rng)
    bad = chunk(b"tRNS", bytes(6), crc=1) + chunk(b"gAMA", b"\0\0\0\1", crc=2)
    data, pixels = png(11, 13, 2, 8, 0, 1, rng)
    yield "png-bad-ancillary", 11, 13, 1, (data[:33] + bad + data[33:], pixels)
    exif = chunk(b"eXIf", tiff(6, ">"))
    yield "png-exif-6", 5, 3, 6, png(5, 3, 2, 8, 0, 1, rng, extra=exif)
    exif = chunk(b"eXIf", tiff(3, "<"))
    yield "png-exif-3-late", 5, 3, 3, png(5, 3, 2, 8, 1, 1, rng, after=exif)


# ---- JPEG --------------------------------------------------------------------------------

def tiff(orientation, order):
    entries = ((0x010F, 2, 4, b"abc\0"), (0x0112, 3, 1, struct.pack(order + "HH", orientation, 0)))
    out = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(entries))
    for tag, kind, count, value in entries:
        out += struct.pack(order + "HHI", tag, kind, count) + value
    return out + bytes(4)


def segment(marker, data):
    return bytes((255, marker)) + struct.pack(">H", len(data) + 2) + data


class Bits:
    def __init__(self):
        self.text = ""

    def put(self, value, count):
        self.text += format(value, "0%db" % count) if count else ""

    def number(self, value, symbols, high):
        """The code of a number's size and the bits above it, then the number."""
        size = abs(value).bit_length()
        symbol = high << 4 | size
        self.put(symbols.index(symbol), 4 if len(symbols) < 16 else 8)
        self.put(value if value > 0 else value + (1 << size) - 1, size)

    def flush(self):
        text, self.text = self.text + "1" * (-len(self.text) % 8), ""
        data = bytes(int(text[i:i + 8], 2) for i in range(0, len(text), 8))
        return data.replace(b"\xff", b"\xff\0")


DC = list(range(12))
AC = [0, 0xF0] + [run << 4 | size for run in range(16) for size in range(1, 11)]


def put_block(bits, rng, before):
    dc = max(-900, min(900, before + rng.randint(-300, 300)))
    bits.number(dc - before, DC, 0)
    at = 1
    while at < 64 and rng.random() < 0.7:
        run = rng.choice((0, 0, 1, 3, 20))
        if at + run > 63:
            break
        at += run
        while run > 15:
            bits.put(AC.index(0xF0), 8)
            run -= 16
        value = rng.choice((-90, -7, -1, 1, 3, 60))
        bits.number(value, AC, run)
        at += 1
    if at < 64:
        bits.put(AC.index(0), 8)
    return dc


def jpeg(width, height, factors, rng, restart=0, scans=None, ids=None, adobe=None, wide=0,
         extra=b""):
    """Random coefficients: factors are (across, down) for each component."""
    ids = ids or list(range(1, len(factors) + 1))
    over = lambda a, b: -(-a // b)
    most = [max(f[k] for f in factors) for k in (0, 1)]
    out = b"\xff\xd8" + extra
    if adobe is not None:
        out += segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([adobe]))
    for number in (0, 3):
        steps = [1 + number + i // 8 for i in range(64)]
        out += segment(0xDB, bytes([number | wide << 4]) + struct.pack(
            ">64H" if wide else "64B", *steps))
    frame = b"".join(bytes((ids[i], f[0] << 4 | f[1], 0 if i == 0 else 3))
                     for i, f in enumerate(factors))
    out += segment(0xC0, struct.pack(">BHHB", 8, height, width, len(factors)) + frame)
    out += segment(0xC4, b"\x01" + bytes((0, 0, 0, 12)) + bytes(12) + bytes(DC) +
                   b"\x12" + bytes(7) + bytes((162,)) + bytes(8) + bytes(AC))
    if restart:
        out += segment(0xDD, struct.pack(">H", restart))
    for scan in scans or [list(range(len(factors)))]:
        out += segment(0xDA, bytes([len(scan)]) + b"".join(bytes((ids[i], 0x12)) for i in scan) +
                       b"\0\x3f\0")
        if len(scan) == 1:
            f = factors[scan[0]]
            units = over(over(width * f[0], most[0]), 8) * over(over(height * f[1], most[1]), 8)
            blocks = [scan[0]]
        else:
            units = over(width, 8 * most[0]) * over(height, 8 * most[1])
            blocks = [i for i in scan for _ in range(factors[i][0] * factors[i][1])]
        bits, before = Bits(), [0] * 4
        for unit in range(units):
            if restart and unit and unit % restart == 0:
                out += bits.flush() + bytes((255, 0xD0 + (unit // restart - 1) % 8))
                before = [0] * 4
            for i in blocks:
                before[i] = put_block(bits, rng, before[i])
        out += bits.flush()
    return out + b"\xff\xd9"


def jpegs(rng):
    width, height = 37, 29
    smooth = Image.new("RGB", (width, height))
    smooth.putdata([(x * 255 // width, y * 255 // height, 255 - (x + y) * 3)
                    for y in range(height) for x in range(width)])
    forms = [("grey", smooth.convert("L"), {}),
             ("444", smooth, {"subsampling": 0}),
             ("422", smooth, {"subsampling": 1}),
             ("420", smooth, {"subsampling": 2, "optimize": True}),
             ("444-progressive", smooth, {"subsampling": 0, "progressive": True}),
             ("420-progressive", smooth, {"subsampling": 2, "progressive": True}),
             ("grey-progressive", smooth.convert("L"), {"progressive": True}),
             ("cmyk", smooth.convert("CMYK"), {}),
             ("cmyk-progressive", smooth.convert("CMYK"), {"progressive": True})]
    for name, picture, options in forms:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=92, **options)
        yield "jpeg-" + name, width, height, 1, buffer.getvalue()
        if name == "422":
            yield "jpeg-no-tables", width, height, 1, without_tables(buffer.getvalue())
    plain = (1, 1)
    sampled = [("1x2", 19, 35, [(1, 2), plain, plain]), ("2x2", 35, 21, [(2, 2), plain, plain]),
               ("2x1", 35, 9, [(2, 1), plain, plain]), ("4x1", 41, 9, [(4, 1), plain, plain]),
               ("1x4", 9, 41, [(1, 4), plain, plain]), ("4x2", 41, 19, [(4, 2), plain, plain]),
               ("2x4", 19, 41, [(2, 4), plain, plain]), ("3x1", 29, 9, [(3, 1), plain, plain]),
               ("mixed", 35, 37, [(2, 2), (2, 1), (1, 2)]),
               ("coarse-y", 19, 19, [plain, (2, 2), plain]),
               ("four", 19, 19, [(2, 2), plain, plain, (2, 2)]),
               ("grey-2x2", 19, 19, [(2, 2)])]
    for name, wide, high, factors in sampled:
        yield "jpeg-" + name, wide, high, 1, jpeg(wide, high, factors, rng)
    for wide, high in ((1, 1), (2, 3), (3, 2), (4, 1), (5, 17)):
        data = jpeg(wide, high, [(2, 2), plain, plain], rng)
        yield "jpeg-2x2-%dx%d" % (wide, high), wide, high, 1, data
    three = [(2, 2), plain, plain]
    yield "jpeg-restart-1", 35, 35, 1, jpeg(35, 35, three, rng, restart=1)
    yield "jpeg-restart-3", 35, 35, 1, jpeg(35, 35, three, rng, restart=3)
    yield "jpeg-scans", 21, 21, 1, jpeg(21, 21, three, rng, scans=[[0], [1], [2]])
    yield "jpeg-scans-restart", 21, 21, 1, jpeg(21, 21, three, rng, 2, [[1, 2], [0]])
    yield "jpeg-rgb-ids", 9, 9, 1, jpeg(9, 9, [plain] * 3, rng, ids=[82, 71, 66])
    yield "jpeg-rgb-adobe", 9, 9, 1, jpeg(9, 9, [plain] * 3, rng, adobe=0)
    yield "jpeg-ycc-adobe", 9, 9, 1, jpeg(9, 9, [plain] * 3, rng, adobe=1)
    yield "jpeg-ycck", 9, 9, 1, jpeg(9, 9, [plain] * 4, rng, adobe=2)
    yield "jpeg-cmyk-adobe", 9, 9, 1, jpeg(9, 9, [plain] * 4, rng, adobe=0)
    yield "jpeg-wide-steps", 9, 9, 1, jpeg(9, 9, [plain] * 3, rng, wide=1)
    for number in range(1, 9):
        exif = segment(0xE1, b"Exif\0\0" + tiff(number, "<>"[number % 2]))
        yield ("jpeg-exif-%d" % number, 12, 7, number,
               jpeg(12, 7, [plain] * 3, rng, extra=exif))


def without_tables(data):
    """A frame of a motion picture: the Huffman tables go without saying."""
    out, at = data[:2], 2
    while data[at + 1] != 0xDA:
        end = at + 2 + struct.unpack(">H", data[at + 2:at + 4])[0]
        out += b"" if data[at + 1] == 0xC4 else data[at:end]
        at = end
    return out + data[at:]


def write(name, data):
    with open(os.path.join(FOLDER, name), "wb") as file:
        file.write(data)


def fnv1a(data):
    state = 0xCBF29CE484222325
    for byte in data:
        state = ((state ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
    return state


def main():
    rng = random.Random(3)
    os.makedirs(FOLDER, exist_ok=True)
    print("/* Made by tools/image_samples.py with Pillow; do not edit. */")
    print("static const test_picture test_pictures[] = {")
    for name, width, height, orientation, (data, pixels) in pngs(rng):
        write(name + ".png", data)
        print('    {"%s.png", %d, %d, %d, %d, 0x%016XULL},' % (
            name, width, height, orientation, data[28], fnv1a(pixels)))
    for name, width, height, orientation, data in jpegs(rng):
        write(name + ".jpg", data)
        whole = "progressive" in name or "scans" in name
        print('    {"%s.jpg", %d, %d, %d, %d, 0x%016XULL},' % (
            name, width, height, orientation, whole, fnv1a(pillow(data))))
    print("};")
    for name, kind, count in (("png-2-8", "png", 120), ("jpeg-420", "jpg", -60)):
        with open(os.path.join(FOLDER, name + "." + kind), "rb") as file:
            write("truncated." + kind, file.read()[:count])


if __name__ == "__main__":
    main()
