"""Trains the demo model on pictures drawn as it goes. The schedule follows the clock, so that it ends in time.

    python3 train.py --minutes 90 --out ../../build/train
    python3 train.py --minutes 90 --out ../../build/train --resume

Two processes of one thread each train on half of every batch and average their gradients: they wait for each other
once a step, so that other work on the machine slows them little.
"""
import argparse
import ctypes
import math
import os
import tempfile
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

from batches import TOKENIZER, make_batch
from network import Model, Probes
from questions import CATEGORIES

TRAIN_SEED, TEST_SEED = 1, 2
# Parts of the run: end (share of the time), pictures of a rank's batch, learning-rate factor of the encoder and
# weight of the dense labels. The weights of the categories: colour, shape, count, position, yes/no, word, describe;
# where a word is written it is always asked for as well.
PARTS = (
    dict(end=0.06, mix=dict(batch=32, multi=0.0, words=0.35, weights=None), encoder_rate=1.0, probe=1.0),
    dict(end=0.15, mix=dict(batch=24, multi=0.0, words=0.15, weights=(.16, .16, .18, .17, .11, .0, .22)),
         encoder_rate=0.3, probe=0.3),
    dict(end=0.36, mix=dict(batch=24, multi=0.0, words=0.22, weights=(.18, .18, .28, .20, .09, .0, .07)),
         encoder_rate=1.0, probe=0.15),
    dict(end=1.01, mix=dict(batch=24, multi=0.28, words=0.28, weights=(.14, .15, .35, .18, .09, .0, .09)),
         encoder_rate=1.0, probe=0.1),
)
QUANTISE_FROM = 0.75
PEAK_RATE, WARM_UP_STEPS = 1.5e-3, 150


def keep_freed_memory():
    """Asks the C library not to give freed blocks back: page faults would cost more than the arithmetic."""
    libc = ctypes.CDLL(None)
    for parameter in (-1, -3):              # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
        libc.mallopt(parameter, 2 ** 31 - 1)


def part_at(progress):
    """The part of the schedule at a share of the run's time."""
    return next(p for p in PARTS if progress < p["end"])


def to_torch(batch):
    """Numpy arrays of a batch as tensors."""
    return {k: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for k, v in batch.items()}


def forward(model, batch, patch_probe):
    """Returns the probe losses, and answer logits [m, vocabulary] with targets [m] where the batch asks questions."""
    tiles = batch["tiles"].flatten(0, 1)
    with torch.autocast("cpu", torch.bfloat16):
        features = model.encoder(tiles)
        image = model.projector(features)
        probe = Probes.loss(model.probes.token(image), batch["tokens"].flatten(0, 1), Probes.TOKEN_CLASSES)
        if patch_probe:
            probe = torch.cat([probe, Probes.loss(model.probes.patch(features), batch["patches"].flatten(0, 1),
                                                  Probes.PATCH_CLASSES)])
        if "rows" not in batch:
            return probe, None, None
        ids, segments, positions, targets = batch["rows"].unbind(1)
        states = model.read(ids, image.flatten(0, 1), segments, batch["talk"], positions)
        due = targets >= 0
        return probe, model.decoder.output(states[due]).float(), targets[due]


def score(model, batches):
    """Exact answers per category over batches: {name: [right, asked]}."""
    tally = {c: [0, 0] for c in CATEGORIES}
    with torch.no_grad():
        for batch in batches:
            _, logits, targets = forward(model, batch, False)
            right = (logits.argmax(-1) == targets).tolist()
            rows, where = (batch["rows"][:, 3] >= 0).nonzero(as_tuple=True)
            segments = batch["rows"][rows, 1, where].tolist()
            answers = {}
            for row, part, ok in zip(rows.tolist(), segments, right):
                answers[row, part] = answers.get((row, part), True) and ok
            for (row, part), ok in answers.items():
                count = tally[CATEGORIES[batch["categories"][row][part]]]
                count[0] += ok
                count[1] += 1
    return tally


def show(tally):
    """A tally as text."""
    return "  ".join(f"{name} {100 * right / max(1, asked):.1f}" for name, (right, asked) in tally.items())


def test_batches(multi, count):
    """Held-out batches, all of one tile or all of several."""
    mix = dict(PARTS[-1]["mix"], multi=float(multi))
    return [to_torch(make_batch(TEST_SEED, i, 0, mix)) for i in range(count)]


def parameter_groups(model):
    """Optimiser groups: the encoder's parameters and all others, with and without weight decay."""
    groups = []
    for encoder in (True, False):
        for decay in (True, False):
            chosen = [p for n, p in model.named_parameters()
                      if n.startswith("encoder") == encoder
                      and (p.dim() > 1 and "embedding" not in n) == decay]
            groups.append(dict(params=chosen, encoder=encoder, weight_decay=0.05 if decay else 0.0))
    return groups


def set_rate(optimiser, step, progress, part):
    """Warm-up, then a cosine in time down to a fiftieth."""
    rate = PEAK_RATE * min(1, (step + 1) / WARM_UP_STEPS) * (0.51 + 0.49 * math.cos(math.pi * min(1, progress)))
    for group in optimiser.param_groups:
        group["lr"] = rate * (part["encoder_rate"] if group["encoder"] else 1)


def save(path, model, optimiser, step, elapsed):
    """Writes a checkpoint beside the old one, then takes its place."""
    torch.save(dict(model=model.state_dict(), optimiser=optimiser.state_dict(), step=step, elapsed=elapsed),
               path + ".part")
    os.replace(path + ".part", path)


def flat_gradients(model):
    """One vector that holds every gradient, and one more number at its end for the time."""
    parameters = list(model.parameters())
    flat, at = torch.zeros(sum(p.numel() for p in parameters) + 1), 0
    for p in parameters:
        p.grad = flat[at:at + p.numel()].view_as(p)
        at += p.numel()
    return flat


class Report:
    """Gathers losses and prints them every minute, with the held-out score every other time."""

    def __init__(self, elapsed):
        self.last, self.times, self.pictures, self.losses = elapsed, 0, 0, []
        self.held_out = test_batches(0, 8), test_batches(1, 12)

    def step(self, model, step, elapsed, part, pictures, losses):
        """Takes one step's losses: answer first, then the probes."""
        self.pictures += pictures
        self.losses.append(losses[:6])
        if elapsed - self.last < 60:
            return
        means = np.mean(self.losses, 0)
        print(f"{elapsed / 60:6.1f} min  step {step}  {self.pictures / (elapsed - self.last):.0f} pictures/s  "
              f"answer {means[0]:.3f}  probes {' '.join(f'{v:.3f}' for v in means[1:])}", flush=True)
        self.times += 1
        if part["mix"]["weights"] is not None and self.times % 3 == 0:
            print("       one tile:  ", show(score(model, self.held_out[0])), flush=True)
            if part["mix"]["multi"]:
                print("       many tiles:", show(score(model, self.held_out[1])), flush=True)
        self.last, self.pictures, self.losses = elapsed, 0, []


def train(rank, ranks, meeting, minutes, out, resume):
    """One process's part of the run; rank 0 keeps the time, reports, and writes out/checkpoint.pt."""
    torch.set_num_threads(1)
    keep_freed_memory()
    dist.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=ranks)
    torch.manual_seed(0)
    model = Model(len(TOKENIZER.tokens))
    optimiser = torch.optim.AdamW(parameter_groups(model), lr=PEAK_RATE, betas=(0.9, 0.95), foreach=True)
    path, step, elapsed = os.path.join(out, "checkpoint.pt"), 0, 0.0
    if resume:
        state = torch.load(path)
        model.load_state_dict(state["model"])
        optimiser.load_state_dict(state["optimiser"])
        step, elapsed = state["step"], state["elapsed"]
    flat = flat_gradients(model)
    report, saved = Report(elapsed) if rank == 0 else None, elapsed
    started = time.time() - elapsed
    while elapsed < 60 * minutes:
        progress = elapsed / (60 * minutes)
        part = part_at(progress)
        model.quantise(progress >= QUANTISE_FROM)
        set_rate(optimiser, step, progress, part)
        batch = to_torch(make_batch(TRAIN_SEED, step, rank, part["mix"]))
        probe, logits, targets = forward(model, batch, part["mix"]["weights"] is None)
        answer = F.cross_entropy(logits, targets) if logits is not None else torch.zeros(())
        flat.zero_()
        (answer + part["probe"] * probe.sum()).backward()
        flat[-1] = ranks * (time.time() - started) if rank == 0 else 0
        dist.all_reduce(flat)
        flat /= ranks
        elapsed = flat[-1].item()
        flat[-1] = 0
        flat *= min(1.0, 1 / (flat.norm().item() + 1e-6))
        optimiser.step()
        step += 1
        if rank == 0:
            report.step(model, step, elapsed, part, ranks * len(batch["tiles"]), [answer.item()] + probe.tolist())
            if elapsed - saved >= 150 or elapsed >= 60 * minutes:
                save(path, model, optimiser, step, elapsed)
                saved = elapsed
    if rank == 0:
        print("end, one tile:  ", show(score(model, report.held_out[0])))
        print("end, many tiles:", show(score(model, report.held_out[1])), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=90, help="length of the whole run")
    parser.add_argument("--out", default="../../build/train", help="folder of the checkpoint")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint")
    parser.add_argument("--ranks", type=int, default=2, help="processes, one a core")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        arguments = options.ranks, os.path.join(folder, "meeting"), options.minutes, options.out, options.resume
        torch.multiprocessing.spawn(train, arguments, nprocs=options.ranks)


if __name__ == "__main__":
    main()
