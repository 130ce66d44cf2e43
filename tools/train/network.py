"""The demo model: a SigLIP-style encoder, the 2x2 downsampler with its projector, and a llama-style decoder."""
import torch
import torch.nn.functional as F
from torch import nn

from world import COLOUR_NAMES, LETTERS, PATCH, PLACES, SHAPES, TILE

WIDTH, BLOCKS, HEADS, FFN = 128, 4, 4, 512                  # encoder
HIDDEN = 384                                                # projector
D_WIDTH, D_BLOCKS, D_HEADS, D_KV_HEADS, D_FFN = 192, 4, 6, 2, 512
D_HEAD = D_WIDTH // D_HEADS
ROPE_BASE = 10000.0
RMS_EPS = 1e-5
GRID = TILE // PATCH
GELU = "none"               # the erf form, much the faster to train; the file names the tanh form, 5e-4 away at most


def fake_q4_0(w):
    """w [rows, columns] as Q4_0 would return it; the gradient passes straight through."""
    blocks = w.detach().view(-1, 32)
    top = blocks.gather(1, blocks.abs().argmax(1, keepdim=True))
    scale = (top / -8).half().float()
    inverse = torch.where(scale == 0, scale, 1 / scale)
    rounded = (blocks * inverse + 8.5).floor().clamp(0, 15) - 8
    return w + ((rounded * scale).view_as(w) - w.detach())


def fake_q8_0(w):
    """w [rows, columns] as Q8_0 would return it; the gradient passes straight through."""
    blocks = w.detach().view(-1, 32)
    scale = (blocks.abs().amax(1, keepdim=True) / 127).half().float()
    inverse = torch.where(scale == 0, scale, 1 / scale)
    return w + (((blocks * inverse).round().clamp(-127, 127) * scale).view_as(w) - w.detach())


class Linear(nn.Linear):
    """A linear layer that can act as if its weight were stored in a block format."""

    def __init__(self, inputs, outputs, bias=True, quantiser=fake_q8_0):
        super().__init__(inputs, outputs, bias)
        self.quantiser = quantiser
        self.quantised = False
        nn.init.normal_(self.weight, std=inputs ** -0.5)
        if bias:
            nn.init.zeros_(self.bias)

    def forward(self, x):
        weight = self.quantiser(self.weight) if self.quantised else self.weight
        return F.linear(x, weight, self.bias)


class RMSNorm(nn.Module):
    """x / rms(x) * weight over the last axis."""

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return x * (torch.rsqrt(x.square().mean(-1, keepdim=True) + RMS_EPS)) * self.weight


class EncoderBlock(nn.Module):
    """Pre-norm self-attention over the patches of a tile, then a GELU feed-forward."""

    def __init__(self):
        super().__init__()
        self.ln1, self.ln2 = nn.LayerNorm(WIDTH, eps=1e-6), nn.LayerNorm(WIDTH, eps=1e-6)
        self.qkv, self.out = Linear(WIDTH, 3 * WIDTH), Linear(WIDTH, WIDTH)
        self.up, self.down = Linear(WIDTH, FFN), Linear(FFN, WIDTH)
        self.gelu = GELU

    def forward(self, x):
        """x [n, patches, WIDTH]."""
        n, t, _ = x.shape
        q, k, v = self.qkv(self.ln1(x)).view(n, t, 3, HEADS, -1).permute(2, 0, 3, 1, 4)
        weights = (q * (WIDTH // HEADS) ** -0.5 @ k.transpose(-1, -2)).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(n, t, WIDTH))
        return x + self.down(F.gelu(self.up(self.ln2(x)), approximate=self.gelu))


class Encoder(nn.Module):
    """Tiles to patch features [n, 144, WIDTH]."""

    def __init__(self):
        super().__init__()
        self.patch = Linear(3 * PATCH * PATCH, WIDTH)
        self.positions = nn.Parameter(0.5 * torch.randn(GRID * GRID, WIDTH))
        self.blocks = nn.ModuleList(EncoderBlock() for _ in range(BLOCKS))
        self.post = nn.LayerNorm(WIDTH, eps=1e-6)

    def forward(self, tiles):
        """tiles [n, TILE, TILE, 3] u8."""
        x = tiles.float() / 127.5 - 1
        x = x.view(-1, GRID, PATCH, GRID, PATCH, 3).permute(0, 1, 3, 5, 2, 4).reshape(-1, GRID * GRID, 3 * PATCH ** 2)
        x = self.patch(x) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.post(x)


class Projector(nn.Module):
    """2x2 neighbouring patches to one token, then an MLP into the decoder's width."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(4 * WIDTH, eps=1e-5)
        self.first, self.second, self.gelu = Linear(4 * WIDTH, HIDDEN), Linear(HIDDEN, D_WIDTH), GELU

    def forward(self, x):
        """x [n, 144, WIDTH] -> [n, 36, D_WIDTH]; channels in the order y0x0, y0x1, y1x0, y1x1."""
        half = GRID // 2
        x = x.view(-1, half, 2, half, 2, WIDTH).permute(0, 1, 3, 2, 4, 5).reshape(-1, half * half, 4 * WIDTH)
        return self.second(F.gelu(self.first(self.norm(x)), approximate=self.gelu))


class Probes(nn.Module):
    """Throw-away heads that name what each patch and each image token shows.

    Most show nothing, so that "nothing" weighs little in the loss: a fifth of another class, a twentieth for letters.
    """

    PATCH_CLASSES = (len(SHAPES) + 1, len(COLOUR_NAMES) + 1, len(LETTERS) + 1)
    TOKEN_CLASSES = (len(SHAPES) + 1, len(COLOUR_NAMES) + 1, len(PLACES) + 1, len(LETTERS) + 1, len(LETTERS) + 1)

    def __init__(self):
        super().__init__()
        self.patch = nn.Linear(WIDTH, sum(self.PATCH_CLASSES))
        self.token = nn.Linear(D_WIDTH, sum(self.TOKEN_CLASSES))

    @staticmethod
    def loss(logits, labels, classes):
        """Mean cross-entropies of the class groups, [len(classes)]."""
        logits = logits.float().flatten(0, -2).split(classes, -1)
        labels = labels.flatten(0, -2)
        losses = []
        for i, group in enumerate(logits):
            weight = torch.ones(group.shape[1])
            weight[0] = 0.05 if group.shape[1] == len(LETTERS) + 1 else 0.2
            if bool((labels[:, i] >= 0).any()):
                losses.append(F.cross_entropy(group, labels[:, i], weight))
        return torch.stack(losses)


def rope_tables(positions):
    """cos and signed sin [..., D_HEAD] for positions [...]; pairs are neighbours (2i, 2i + 1)."""
    angle = positions[..., None].float() * ROPE_BASE ** (-torch.arange(0, D_HEAD, 2) / D_HEAD)
    cos = angle.cos().repeat_interleave(2, -1)
    sin = torch.stack([-angle.sin(), angle.sin()], -1).flatten(-2)
    return cos, sin


def rotate(x, cos, sin):
    """Turns the pairs of x [b, t, heads, D_HEAD]."""
    swapped = x.view(*x.shape[:-1], D_HEAD // 2, 2).flip(-1).view_as(x)
    return x * cos + swapped * sin


class DecoderBlock(nn.Module):
    """RMSNorm, grouped-query attention with rotary positions, SwiGLU."""

    def __init__(self):
        super().__init__()
        kv = D_KV_HEADS * D_HEAD
        self.norm1, self.norm2 = RMSNorm(D_WIDTH), RMSNorm(D_WIDTH)
        self.qkv = Linear(D_WIDTH, D_WIDTH + 2 * kv, False, fake_q4_0)
        self.out = Linear(D_WIDTH, D_WIDTH, False, fake_q4_0)
        self.gate_up = Linear(D_WIDTH, 2 * D_FFN, False, fake_q4_0)
        self.down = Linear(D_FFN, D_WIDTH, False, fake_q4_0)
        for layer in (self.out, self.down):
            nn.init.normal_(layer.weight, std=layer.in_features ** -0.5 * (2 * D_BLOCKS) ** -0.5)

    def forward(self, x, cos, sin, mask):
        """x [b, t, D_WIDTH]; mask [b, 1, t, t] added to the scores."""
        b, t, _ = x.shape
        kv, group = D_KV_HEADS * D_HEAD, D_HEADS // D_KV_HEADS
        qk, v = self.qkv(self.norm1(x)).split([D_WIDTH + kv, kv], -1)
        qk = rotate(qk.reshape(b, t, D_HEADS + D_KV_HEADS, D_HEAD), cos, sin).transpose(1, 2)
        q = (qk[:, :D_HEADS] * D_HEAD ** -0.5).reshape(b, D_KV_HEADS, group * t, D_HEAD)
        k, v = qk[:, D_HEADS:], v.view(b, t, D_KV_HEADS, D_HEAD).transpose(1, 2)
        scores = (q @ k.transpose(-1, -2)).view(b, D_HEADS, t, t) + mask
        mixed = scores.softmax(-1).view(b, D_KV_HEADS, group * t, t) @ v
        mixed = mixed.view(b, D_HEADS, t, D_HEAD).transpose(1, 2).reshape(b, t, D_WIDTH)
        x = x + self.out(mixed)
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate.float()).to(up.dtype) * up)


class Decoder(nn.Module):
    """Embeddings to final hidden states; output gives logits of chosen states."""

    def __init__(self, vocabulary):
        super().__init__()
        self.embedding = nn.Parameter(torch.randn(vocabulary, D_WIDTH) * 0.5)
        self.blocks = nn.ModuleList(DecoderBlock() for _ in range(D_BLOCKS))
        self.norm = RMSNorm(D_WIDTH)
        self.output = Linear(D_WIDTH, vocabulary, False)
        self.quantised = False

    def embed(self, ids):
        """ids [...] -> [..., D_WIDTH]."""
        return F.embedding(ids, fake_q8_0(self.embedding) if self.quantised else self.embedding)

    def forward(self, x, positions, mask):
        """x [b, t, D_WIDTH], positions [b, t], mask [b, t, t] bool, true where a token may look."""
        cos, sin = (c[:, :, None] for c in rope_tables(positions))
        bias = torch.zeros(mask.shape).masked_fill(~mask, -1e4)[:, None]
        if torch.is_autocast_cpu_enabled():
            cos, sin, bias = cos.bfloat16(), sin.bfloat16(), bias.bfloat16()
        for block in self.blocks:
            x = block(x, cos, sin, bias)
        return self.norm(x)


class Model(nn.Module):
    """The whole demo model with its probes."""

    def __init__(self, vocabulary):
        super().__init__()
        self.encoder, self.projector, self.probes = Encoder(), Projector(), Probes()
        self.decoder = Decoder(vocabulary)

    def use_tanh(self):
        """Takes the GELU that the file names."""
        for module in self.modules():
            if hasattr(module, "gelu"):
                module.gelu = "tanh"

    def quantise(self, on):
        """Trains as if the stored formats were already in use."""
        for module in self.modules():
            if hasattr(module, "quantised"):
                module.quantised = on

    def read(self, ids, image, segments, talk, positions):
        """Hidden states of packed sequences.

        ids [b, t], -1 where an image token stands; image [b * tokens, D_WIDTH]; segments [b, t]; talk [b] bool;
        positions [b, t]. A segment sees segment 0 and itself; in a conversation it sees all before it.
        """
        x = self.decoder.embed(ids.clamp(min=0)).masked_scatter((ids < 0)[..., None], image.float())
        t = ids.shape[1]
        causal = torch.ones(t, t, dtype=torch.bool).tril()
        near = (segments[:, :, None] == segments[:, None]) | (segments[:, None] == 0) | talk[:, None, None]
        return self.decoder(x, positions, causal & near)
