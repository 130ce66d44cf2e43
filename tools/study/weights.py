"""The demo pair with its matrices in another type: F32, Q8_0, Q4_0.

What is F32 there and then quantised is as good as the file it comes from: `tools/train/export.py --float --demo
build/train/float` writes the trained weights, which are taken where they are; else the demo's own files, whose weights are
rounded already."""
import array
import os
import struct

import runs

F32, F16, Q4_0, Q8_0 = 0, 1, 2, 8
BLOCK = {F32: (1, 4), F16: (1, 2), Q4_0: (32, 18), Q8_0: (32, 34)}
KINDS = {"f32": F32, "q8_0": Q8_0, "q4_0": Q4_0}
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, form):
        value, = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return value

    def text(self):
        n = self.take("Q")
        self.at += n
        return self.data[self.at - n:self.at].decode("utf-8")

    def skip(self, kind):
        if kind == 8:
            self.text()
        elif kind == 9:
            inner, count = self.take("I"), self.take("Q")
            if inner == 8:
                for _ in range(count):
                    self.text()
            else:
                self.at += SIZES[inner] * count
        else:
            self.at += SIZES[kind]


def read(path):
    """The bytes up to the table of tensors, the number of tensors' place, and (name, ne, type, data) of each."""
    with open(path, "rb") as f:
        r = Reader(f.read())
    r.at = 8
    count, keys, alignment = r.take("Q"), r.take("Q"), 32
    for _ in range(keys):
        name, kind = r.text(), r.take("I")
        if name == "general.alignment":
            alignment = struct.unpack_from("<I", r.data, r.at)[0]
        r.skip(kind)
    head, tensors = r.data[:r.at], []
    for _ in range(count):
        name = r.text()
        ne = [r.take("Q") for _ in range(r.take("I"))]
        tensors.append((name, ne, r.take("I"), r.take("Q")))
    start = (r.at + alignment - 1) // alignment * alignment
    out = []
    for name, ne, kind, offset in tensors:
        values = 1
        for n in ne:
            values *= n
        per, size = BLOCK[kind]
        out.append((name, ne, kind, r.data[start + offset:start + offset + values // per * size]))
    return head, alignment, out


def to_floats(kind, data):
    out = array.array("f")
    if kind == F32:
        out.frombytes(data)
    elif kind == F16:
        out.extend(struct.unpack("<%de" % (len(data) // 2), data))
    elif kind == Q8_0:
        for at in range(0, len(data), 34):
            d, = struct.unpack_from("<e", data, at)
            out.extend([d * q for q in struct.unpack_from("<32b", data, at + 2)])
    else:
        for at in range(0, len(data), 18):
            d, = struct.unpack_from("<e", data, at)
            pairs = data[at + 2:at + 18]
            out.extend([d * ((q & 15) - 8) for q in pairs] + [d * ((q >> 4) - 8) for q in pairs])
    return out


def from_floats(kind, values):
    if kind == F32:
        return values.tobytes()
    out = bytearray()
    for at in range(0, len(values), 32):
        x = values[at:at + 32]
        top = max(x, key=abs)
        d = abs(top) / 127 if kind == Q8_0 else top / -8
        out += struct.pack("<e", d)
        back = 1 / d if d else 0.0
        if kind == Q8_0:
            out += struct.pack("<32b", *(max(-127, min(127, round(v * back))) for v in x))
        else:
            q = [max(0, min(15, int(v * back + 8.5))) for v in x]
            out += bytes(q[i] | q[i + 16] << 4 for i in range(16))
    return bytes(out)


def is_matrix(name, ne):
    """What the demo's export quantises: not norms, biases, positions or the patch kernel."""
    return len(ne) == 2 and name.endswith(".weight") and ne[0] % 32 == 0 and not name.startswith(("v.position", "v.patch"))


def rewrite(source, target, kind):
    head, alignment, tensors = read(source)
    table, body = bytearray(), bytearray()
    for name, ne, old, data in tensors:
        wanted = old
        if kind == F32:
            wanted = F32
        elif is_matrix(name, ne):
            wanted = Q8_0 if name in ("token_embd.weight", "output.weight") else kind
        if wanted != old:
            data = from_floats(wanted, to_floats(old, data))
        body += bytes(-len(body) % alignment)
        table += struct.pack("<Q", len(name)) + name.encode() + struct.pack("<I", len(ne))
        table += struct.pack("<%dQ" % len(ne), *ne) + struct.pack("<IQ", wanted, len(body))
        body += data
    before = head + bytes(table)
    with open(target, "wb") as f:
        f.write(before + bytes(-len(before) % alignment) + bytes(body))


def demo_as(kind):
    """The two files' paths, written when they are older than what they come from."""
    trained, out = os.path.join(runs.BUILD, "train", "float"), []
    for name in ("bluelm-demo.gguf", "bluelm-demo-mmproj.gguf"):
        source = os.path.join(trained if os.path.exists(os.path.join(trained, name)) else "demo", name)
        target = os.path.join(runs.BUILD, "study", "%s-%s" % (kind, name))
        if not os.path.exists(target) or os.path.getmtime(target) < os.path.getmtime(source):
            rewrite(source, target, KINDS[kind])
        out.append(target)
    return out
