"""Greedy answers of the network to one question about one picture: what the C library is compared with."""
import torch

from batches import prompt_ids
from tiling import cut_tiles
from tokenizer import EOS

MOST_TOKENS = 64


def image_tokens(model, pixels):
    """RGB pixels [h, w, 3] u8 -> grid, tiles [n, 96, 96, 3] u8, projected tokens [n, 36, d_width] f32."""
    grid, tiles = cut_tiles(pixels)
    with torch.no_grad():
        return grid, tiles, model.projector(model.encoder(torch.from_numpy(tiles)))


def reply(model, tokenizer, grid, image, question):
    """Greedy answer: token ids of the prompt (IMAGE_TOKEN for image tokens) and of the answer, without </s>."""
    prompt = prompt_ids(grid, question, tokenizer)
    ids = list(prompt)
    with torch.no_grad():
        while len(ids) < len(prompt) + MOST_TOKENS:
            row = torch.tensor([ids])
            nothing = torch.zeros_like(row)
            states = model.read(row, image.flatten(0, 1), nothing, torch.zeros(1, dtype=torch.bool),
                                torch.arange(len(ids))[None])
            best = int(model.decoder.output(states[:, -1]).argmax())
            if best == EOS:
                break
            ids.append(best)
    return prompt, ids[len(prompt):]


def answer(model, tokenizer, pixels, question):
    """The answer as text."""
    grid, _, image = image_tokens(model, pixels)
    return tokenizer.decode(reply(model, tokenizer, grid, image, question)[1])
