"""The demo model: a SigLIP-style encoder, the 2x2 downsampler with its projector, and a llama-style decoder."""
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from world import CHARACTERS, COLOUR_NAMES, PATCH, PLACES, SHAPES, TILE


@dataclass(frozen=True)
class Size:
    """Shapes of a model: the encoder's, the projector's hidden layer, the decoder's (d_)."""
    width: int
    blocks: int
    heads: int
    ffn: int
    hidden: int
    d_width: int
    d_blocks: int
    d_heads: int
    d_kv_heads: int
    d_ffn: int

    @property
    def d_head(self):
        return self.d_width // self.d_heads


SIZES = {                                                   # and what the pair of files takes
    "small": Size(128, 4, 4, 512, 384, 192, 4, 6, 2, 512),  # 2.5 MB
    "large": Size(192, 6, 6, 768, 512, 256, 8, 8, 2, 768),  # 7.5 MB
}
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

    def __init__(self, size):
        super().__init__()
        width = size.width
        self.heads = size.heads
        self.ln1, self.ln2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.qkv, self.out = Linear(width, 3 * width), Linear(width, width)
        self.up, self.down = Linear(width, size.ffn), Linear(size.ffn, width)
        self.gelu = GELU

    def forward(self, x):
        """x [n, patches, width]."""
        n, t, width = x.shape
        q, k, v = self.qkv(self.ln1(x)).view(n, t, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        weights = (q * (width // self.heads) ** -0.5 @ k.transpose(-1, -2)).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(n, t, width))
        return x + self.down(F.gelu(self.up(self.ln2(x)), approximate=self.gelu))


class Encoder(nn.Module):
    """Tiles to patch features [n, 144, width]."""

    def __init__(self, size):
        super().__init__()
        self.patch = Linear(3 * PATCH * PATCH, size.width)
        self.positions = nn.Parameter(0.5 * torch.randn(GRID * GRID, size.width))
        self.blocks = nn.ModuleList(EncoderBlock(size) for _ in range(size.blocks))
        self.post = nn.LayerNorm(size.width, eps=1e-6)

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

    def __init__(self, size):
        super().__init__()
        self.norm = nn.LayerNorm(4 * size.width, eps=1e-5)
        self.first, self.second, self.gelu = Linear(4 * size.width, size.hidden), Linear(size.hidden, size.d_width), GELU

    def forward(self, x):
        """x [n, 144, width] -> [n, 36, d_width]; channels in the order y0x0, y0x1, y1x0, y1x1."""
        half, width = GRID // 2, x.shape[-1]
        x = x.view(-1, half, 2, half, 2, width).permute(0, 1, 3, 2, 4, 5).reshape(-1, half * half, 4 * width)
        return self.second(F.gelu(self.first(self.norm(x)), approximate=self.gelu))


class Probes(nn.Module):
    """Throw-away heads that name what each patch and each image token shows.

    Most show nothing, so that "nothing" weighs little in the loss: a fifth of another class, a twentieth for letters.
    """

    PATCH_CLASSES = (len(SHAPES) + 1, len(COLOUR_NAMES) + 1, len(CHARACTERS) + 1)
    TOKEN_CLASSES = (len(SHAPES) + 1, len(COLOUR_NAMES) + 1, len(PLACES) + 1, len(CHARACTERS) + 1, len(CHARACTERS) + 1)

    def __init__(self, size):
        super().__init__()
        self.patch = nn.Linear(size.width, sum(self.PATCH_CLASSES))
        self.token = nn.Linear(size.d_width, sum(self.TOKEN_CLASSES))

    @staticmethod
    def loss(logits, labels, classes):
        """Mean cross-entropies of the class groups, [len(classes)]."""
        logits = logits.float().flatten(0, -2).split(classes, -1)
        labels = labels.flatten(0, -2)
        losses = []
        for i, group in enumerate(logits):
            weight = torch.ones(group.shape[1], device=group.device)
            weight[0] = 0.05 if group.shape[1] == len(CHARACTERS) + 1 else 0.2
            if bool((labels[:, i] >= 0).any()):
                losses.append(F.cross_entropy(group, labels[:, i], weight))
        return torch.stack(losses)


def rope_tables(positions, d_head):
    """cos and signed sin [..., d_head] for positions [...]; pairs are neighbours (2i, 2i + 1)."""
    powers = torch.arange(0, d_head, 2, device=positions.device) / d_head
    angle = positions[..., None].float() * ROPE_BASE ** -powers
    cos = angle.cos().repeat_interleave(2, -1)
    sin = torch.stack([-angle.sin(), angle.sin()], -1).flatten(-2)
    return cos, sin


def rotate(x, cos, sin):
    """Turns the pairs of x [b, t, heads, d_head]."""
    swapped = x.view(*x.shape[:-1], x.shape[-1] // 2, 2).flip(-1).view_as(x)
    return x * cos + swapped * sin


class DecoderBlock(nn.Module):
    """RMSNorm, grouped-query attention with rotary positions, SwiGLU."""

    def __init__(self, size):
        super().__init__()
        width, kv = size.d_width, size.d_kv_heads * size.d_head
        self.size = size
        self.norm1, self.norm2 = RMSNorm(width), RMSNorm(width)
        self.qkv = Linear(width, width + 2 * kv, False, fake_q4_0)
        self.out = Linear(width, width, False, fake_q4_0)
        self.gate_up = Linear(width, 2 * size.d_ffn, False, fake_q4_0)
        self.down = Linear(size.d_ffn, width, False, fake_q4_0)
        for layer in (self.out, self.down):
            nn.init.normal_(layer.weight, std=layer.in_features ** -0.5 * (2 * size.d_blocks) ** -0.5)

    def forward(self, x, cos, sin, mask):
        """x [b, t, d_width]; mask [b, 1, t, t] added to the scores."""
        b, t, width = x.shape
        heads, kv_heads, head = self.size.d_heads, self.size.d_kv_heads, self.size.d_head
        kv, group = kv_heads * head, heads // kv_heads
        qk, v = self.qkv(self.norm1(x)).split([width + kv, kv], -1)
        qk = rotate(qk.reshape(b, t, heads + kv_heads, head), cos, sin).transpose(1, 2)
        q = (qk[:, :heads] * head ** -0.5).reshape(b, kv_heads, group * t, head)
        k, v = qk[:, heads:], v.view(b, t, kv_heads, head).transpose(1, 2)
        scores = (q @ k.transpose(-1, -2)).view(b, heads, t, t) + mask
        mixed = scores.softmax(-1).view(b, kv_heads, group * t, t) @ v
        mixed = mixed.view(b, heads, t, head).transpose(1, 2).reshape(b, t, width)
        x = x + self.out(mixed)
        gate, up = self.gate_up(self.norm2(x)).chunk(2, -1)
        return x + self.down(F.silu(gate.float()).to(up.dtype) * up)


class Decoder(nn.Module):
    """Embeddings to final hidden states; output gives logits of chosen states."""

    def __init__(self, vocabulary, size):
        super().__init__()
        self.d_head = size.d_head
        self.embedding = nn.Parameter(torch.randn(vocabulary, size.d_width) * 0.5)
        self.blocks = nn.ModuleList(DecoderBlock(size) for _ in range(size.d_blocks))
        self.norm = RMSNorm(size.d_width)
        self.output = Linear(size.d_width, vocabulary, False)
        self.quantised = False

    def embed(self, ids):
        """ids [...] -> [..., d_width]."""
        return F.embedding(ids, fake_q8_0(self.embedding) if self.quantised else self.embedding)

    def forward(self, x, positions, mask):
        """x [b, t, d_width], positions [b, t], mask [b, t, t] bool, true where a token may look."""
        cos, sin = (c[:, :, None] for c in rope_tables(positions, self.d_head))
        bias = torch.zeros(mask.shape, device=mask.device).masked_fill(~mask, -1e4)[:, None]
        if torch.is_autocast_cpu_enabled() or torch.is_autocast_enabled():
            cos, sin, bias = cos.bfloat16(), sin.bfloat16(), bias.bfloat16()
        for block in self.blocks:
            x = block(x, cos, sin, bias)
        return self.norm(x)


class Model(nn.Module):
    """The whole demo model with its probes."""

    def __init__(self, vocabulary, size=SIZES["small"]):
        super().__init__()
        self.size = size
        self.encoder, self.projector, self.probes = Encoder(size), Projector(size), Probes(size)
        self.decoder = Decoder(vocabulary, size)

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

        ids [b, t], -1 where an image token stands; image [b * tokens, d_width]; segments [b, t]; talk [b] bool;
        positions [b, t]. A segment sees segment 0 and itself; in a conversation it sees all before it.
        """
        x = self.decoder.embed(ids.clamp(min=0)).masked_scatter((ids < 0)[..., None], image.float())
        t = ids.shape[1]
        causal = torch.ones(t, t, dtype=torch.bool, device=ids.device).tril()
        near = (segments[:, :, None] == segments[:, None]) | (segments[:, None] == 0) | talk[:, None, None]
        return self.decoder(x, positions, causal & near)
