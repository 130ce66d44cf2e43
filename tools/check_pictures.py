#!/usr/bin/env python3
"""Decodes the PNG and JPEG files in folders (PngSuite, a camera's) by tiler/image.h and by
Pillow, and says where they differ:

    tools/check_pictures.py FOLDER...

It fetches nothing. Pillow's pixels are brought to the rules of tiler/image.h: alpha on
white, the upper 8 of 16 bits of grey. A file that only Pillow takes is a difference only
if bluelm calls it sound and fails later. Exit status: 0 without a difference."""
import ctypes
import io
import os
import subprocess
import sys
import tempfile

from PIL import Image

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCES = ("base/error.c base/name.c tiler/exif.c tiler/image.c tiler/inflate.c tiler/jpeg.c "
           "tiler/jpeg_entropy.c tiler/jpeg_pixels.c tiler/jpeg_segments.c tiler/png.c")
SHIM = """
#define BLM_UNITY 1
%s
#include <stdlib.h>
int size(const void *file, size_t bytes, uint32_t *out, char *text)
{
    bluelm_error err;
    blm_image_facts facts;
    int code = blm_image_info(file, bytes, &facts, &err);
    if (code == 0) code = blm_image_check(file, bytes, &err);
    out[0] = facts.stored_width_px, out[1] = facts.stored_height_px, out[2] = facts.orientation;
    if (code < 0) bluelm_error_text(&err, text, 200);
    return code;
}
int decode(const void *file, size_t bytes, uint8_t *rgb, char *text)
{
    bluelm_error err;
    blm_image_decoder d;
    uint64_t need;
    int code = blm_image_need(file, bytes, &need, &err);
    void *memory = code == 0 ? malloc(need) : NULL;
    if (code == 0) code = blm_image_begin(&d, file, bytes, NULL, memory, need, &err);
    for (uint32_t y = 0; code == 0 && y < d.facts.stored_height_px; y++)
        code = blm_image_row(&d, rgb + (size_t)y * d.facts.stored_width_px * 3, &err);
    free(memory);
    if (code < 0) bluelm_error_text(&err, text, 200);
    return code;
}
"""


def build(folder):
    source, library = os.path.join(folder, "shim.c"), os.path.join(folder, "shim.so")
    with open(source, "w") as file:
        file.write(SHIM % "\n".join('#include "%s/%s"' % (ROOT, s) for s in SOURCES.split()))
    subprocess.check_call([os.environ.get("CC", "cc"), "-std=gnu99", "-O2", "-shared", "-fPIC",
                           source, "-o", library])
    return ctypes.CDLL(library)


def ours(library, data):
    """(sound, stored rows of RGB or None, what went wrong)"""
    text, sides = ctypes.create_string_buffer(200), (ctypes.c_uint32 * 3)()
    count = ctypes.c_size_t(len(data))
    if library.size(data, count, sides, text) < 0:
        return False, None, text.value.decode()
    rgb = ctypes.create_string_buffer(sides[0] * sides[1] * 3)
    if library.decode(data, count, rgb, text) < 0:
        return True, None, text.value.decode()
    return True, rgb.raw, ""


def pillow(data):
    try:
        picture = Image.open(io.BytesIO(data))
        if picture.mode == "I":
            clear = picture.info.get("transparency")
            return b"".join(bytes((255 if v == clear else v >> 8,)) * 3 for v in picture.getdata())
        if picture.mode in ("LA", "RGBA") or "transparency" in picture.info:
            return b"".join(bytes((v * px[3] + 255 * (255 - px[3]) + 127) // 255 for v in px[:3])
                            for px in picture.convert("RGBA").getdata())
        return picture.convert("RGB").tobytes()
    except Exception as error:  # Pillow raises many kinds
        return str(error)


def main():
    same = refused = different = 0
    with tempfile.TemporaryDirectory() as folder:
        library = build(folder)
        for path in (os.path.join(at, name) for top in sys.argv[1:]
                     for at, _, names in os.walk(top) for name in sorted(names)):
            if not path.lower().endswith((".png", ".jpg", ".jpeg")):
                continue
            with open(path, "rb") as file:
                data = file.read()
            sound, rows, wrong = ours(library, data)
            theirs = pillow(data)
            if rows is not None and rows == theirs:
                same += 1
            elif not sound:
                refused += 1
                also = "Pillow too" if isinstance(theirs, str) else "Pillow takes it"
                print("%s: refused, %s (%s)" % (path, wrong, also))
            else:
                different += 1
                print("%s: %s" % (path, wrong or (theirs if isinstance(theirs, str) else
                                                  "other pixels")))
    print("%d the same, %d refused, %d different" % (same, refused, different))
    return different != 0 or same == 0


if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    sys.exit(main())
