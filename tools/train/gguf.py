"""Reads and writes GGUF version 3 files: little endian, F32, F16, Q4_0 and Q8_0 tensors."""
import struct

import numpy as np

ALIGNMENT = 32
U32, I32, F32_VALUE, BOOL, STRING, ARRAY = 4, 5, 6, 7, 8, 9
SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
F32, F16, Q4_0, Q8_0 = 0, 1, 2, 8


def q4_0_parts(w):
    """w [..., 32k] f32 -> scales [blocks] f16 and codes [blocks, 32] u8 (value = scale * (code - 8))."""
    blocks = np.ascontiguousarray(w, np.float32).reshape(-1, 32)
    top = np.take_along_axis(blocks, np.abs(blocks).argmax(1)[:, None], 1)
    scale = (top / np.float32(-8)).astype(np.float16)
    wide = scale.astype(np.float32)
    inverse = np.divide(np.float32(1), wide, out=np.zeros_like(wide), where=wide != 0)
    return scale[:, 0], np.clip(np.floor(blocks * inverse + np.float32(8.5)), 0, 15).astype(np.uint8)


def q8_0_parts(w):
    """w [..., 32k] f32 -> scales [blocks] f16 and codes [blocks, 32] i8 (value = scale * code)."""
    blocks = np.ascontiguousarray(w, np.float32).reshape(-1, 32)
    scale = (np.abs(blocks).max(1, keepdims=True) / np.float32(127)).astype(np.float16)
    wide = scale.astype(np.float32)
    inverse = np.divide(np.float32(1), wide, out=np.zeros_like(wide), where=wide != 0)
    return scale[:, 0], np.clip(np.rint(blocks * inverse), -127, 127).astype(np.int8)


def encode(w, kind):
    """The bytes of a tensor stored as F32, F16, Q4_0 or Q8_0."""
    if kind == F32:
        return w.astype("<f4").tobytes()
    if kind == F16:
        return w.astype("<f2").tobytes()
    scales, codes = q4_0_parts(w) if kind == Q4_0 else q8_0_parts(w)
    if kind == Q4_0:
        codes = codes[:, :16] | codes[:, 16:] << 4
    return np.concatenate([scales.astype("<f2")[:, None].view(np.uint8), codes.view(np.uint8)], 1).tobytes()


def decode(data, kind, shape):
    """The values of a stored tensor, f32 of the given shape."""
    if kind in (F32, F16):
        return np.frombuffer(data, "<f4" if kind == F32 else "<f2", int(np.prod(shape))).astype(np.float32).reshape(shape)
    count = int(np.prod(shape)) // 32
    rows = np.frombuffer(data, np.uint8, count * (18 if kind == Q4_0 else 34)).reshape(count, -1)
    scales = rows[:, :2].copy().view("<f2").astype(np.float32)
    if kind == Q4_0:
        codes = np.concatenate([rows[:, 2:] & 15, rows[:, 2:] >> 4], 1).astype(np.float32) - 8
    else:
        codes = rows[:, 2:].copy().view(np.int8).astype(np.float32)
    return (scales * codes).reshape(shape)


def string(text):
    """A GGUF string: u64 length, bytes."""
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def value(kind, item):
    """The bytes of a metadata value; kind is a GGUF type, or (ARRAY, element type)."""
    if isinstance(kind, tuple):
        return struct.pack("<IQ", kind[1], len(item)) + b"".join(value(kind[1], i) for i in item)
    return string(item) if kind == STRING else struct.pack("<" + SCALARS[kind], item)


def write(path, keys, tensors):
    """keys: list of (name, kind, value); tensors: list of (name, array in C order, stored kind)."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys))
    for name, kind, item in keys:
        head += string(name) + struct.pack("<I", kind[0] if isinstance(kind, tuple) else kind) + value(kind, item)
    data = b""
    for name, array, kind in tensors:
        head += string(name) + struct.pack("<I", array.ndim)
        head += struct.pack("<%dQ" % array.ndim, *array.shape[::-1]) + struct.pack("<IQ", kind, len(data))
        data += encode(array, kind)
        data += bytes(-len(data) % ALIGNMENT)
    with open(path, "wb") as f:
        f.write(head + bytes(-len(head) % ALIGNMENT) + data)


def read(path):
    """keys {name: value} and tensors {name: f32 array in C order} of a file that this module wrote or could have."""
    with open(path, "rb") as f:
        data = f.read()
    at = 8

    def take(code):
        nonlocal at
        item, = struct.unpack_from("<" + code, data, at)
        at += struct.calcsize("<" + code)
        return item

    def text():
        nonlocal at
        size = take("Q")
        at += size
        return data[at - size:at].decode("utf-8")

    def item_of(kind):
        if kind == STRING:
            return text()
        if kind == ARRAY:
            element, size = take("I"), take("Q")
            return [item_of(element) for _ in range(size)]
        return take(SCALARS[kind])

    tensor_count, key_count = take("Q"), take("Q")
    keys, entries, tensors = {}, [], {}
    for _ in range(key_count):
        name = text()
        keys[name] = item_of(take("I"))
    for _ in range(tensor_count):
        name = text()
        shape = [take("Q") for _ in range(take("I"))][::-1]
        entries.append((name, shape, take("I"), take("Q")))
    at += -at % keys.get("general.alignment", ALIGNMENT)
    for name, shape, kind, offset in entries:
        tensors[name] = decode(data[at + offset:], kind, shape)
    return keys, tensors
