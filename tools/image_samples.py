#!/usr/bin/env python3
"""Writes the sample pictures in fuzz/corpus/image and tests/data/image_vectors.h, which
says what Pillow decodes them to.

PNG comes in every colour type, bit depth and interlacing (Pillow writes few of them, so
this file has a writer of its own); JPEG in Pillow's forms. Run from the repository root.
Made with Pillow 9.4.0 and libjpeg-turbo.
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


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


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


def png(width, height, color, depth, interlaced, parts, rng):
    most = (1 << depth) - 1
    samples = [[[(rng.randint(0, most) if rng.random() < 0.3 else (x * 9 + y * 5 + c) & most)
                 for c in range(CHANNELS[color])] for x in range(width)] for y in range(height)]
    out = b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, interlaced))
    if color == 3:
        out += chunk(b"PLTE", bytes(rng.randint(0, 255) for _ in range(3 * (most + 1))))
        out += chunk(b"tRNS", b"\x00\x80")
    data = zlib.compress(rows_of(samples, color, depth, interlaced), 9)
    size = -(-len(data) // parts)
    for i in range(0, len(data), size):
        out += chunk(b"IDAT", data[i:i + size])
    out += chunk(b"IEND", b"")
    if color == 0 and depth == 16:  # Pillow clips these instead of keeping the upper byte
        return out, bytes(px[0] >> 8 for line in samples for px in line for _ in range(3))
    return out, Image.open(io.BytesIO(out)).convert("RGB").tobytes()


def jpegs():
    width, height = 37, 29
    smooth = Image.new("RGB", (width, height))
    smooth.putdata([(x * 255 // width, y * 255 // height, 255 - (x + y) * 3)
                    for y in range(height) for x in range(width)])
    forms = [("grey", smooth.convert("L"), {}),
             ("444", smooth, {"subsampling": 0}),
             ("422", smooth, {"subsampling": 1}),
             ("420", smooth, {"subsampling": 2, "optimize": True}),
             ("420-progressive", smooth, {"subsampling": 2, "progressive": True}),
             ("cmyk", smooth.convert("CMYK"), {}),
             ("cmyk-progressive", smooth.convert("CMYK"), {"progressive": True})]
    for name, picture, options in forms:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=92, **options)
        pixels = Image.open(io.BytesIO(buffer.getvalue())).convert("RGB").tobytes()
        yield "jpeg-%s.jpg" % name, width, height, buffer.getvalue(), pixels


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
    table, arrays = [], []
    for color, depths in DEPTHS.items():
        for depth in depths:
            for interlaced in (0, 1):
                name = "png-%d-%d%s.png" % (color, depth, "-interlaced" if interlaced else "")
                width, height = (13, 11) if interlaced else (11, 13)
                data, pixels = png(width, height, color, depth, interlaced,
                                   1 + len(table) % 3, rng)
                write(name, data)
                table.append((name, width, height, fnv1a(pixels)))
    for width, height in ((1, 1), (1, 9), (9, 1), (3, 2)):
        name = "png-%dx%d-interlaced.png" % (width, height)
        data, pixels = png(width, height, 2, 8, 1, 1, rng)
        write(name, data)
        table.append((name, width, height, fnv1a(pixels)))
    print("/* Made by tools/image_samples.py with Pillow; do not edit. */")
    print("static const test_png test_pngs[] = {")
    for row in table:
        print('    {"%s", %d, %d, 0x%016XULL},' % row)
    print("};")
    for name, width, height, data, pixels in jpegs():
        write(name, data)
        label = "test_" + name[:-4].replace("-", "_")
        print("static const unsigned char %s[] = {" % label)
        for i in range(0, len(pixels), 24):
            print("    " + ",".join(map(str, pixels[i:i + 24])) + ",")
        print("};")
        arrays.append((name, width, height, label))
    print("static const test_jpeg test_jpegs[] = {")
    for row in arrays:
        print('    {"%s", %d, %d, %s},' % row)
    print("};")
    with open(os.path.join(FOLDER, "png-2-8.png"), "rb") as file:
        write("truncated.png", file.read()[:120])
    with open(os.path.join(FOLDER, "jpeg-420.jpg"), "rb") as file:
        write("truncated.jpg", file.read()[:-60])


if __name__ == "__main__":
    main()
