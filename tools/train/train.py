"""Trains the demo model on pictures drawn as it goes. Each stage's schedule follows the clock, so that it ends in time.

    python3 train.py --stage 0 --minutes 90                         # the parts, from scratch: encoder first, then all
    python3 train.py --stage 1 --minutes 5 --pair ../../demo        # the projector alone, on pre-trained parts
    python3 train.py --stage 2 --minutes 60                         # then all

A stage begins with what --out/checkpoint.pt holds; without one it begins with --pair, or at random. The same command
again goes on where it was stopped (SIGTERM and SIGINT write a checkpoint first); more --minutes give it more time. A GPU
is used where torch finds one, fed by processes that draw. Without one, two processes of one thread each train on half of
every batch and average their gradients: they wait for each other once a step, so that other work on the machine slows
them little. Every minute's losses go to --out/loss.csv, what was run to --out/runs.csv.
"""
import argparse
import concurrent.futures
import csv
import ctypes
import math
import multiprocessing
import os
import signal
import tempfile
import time

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

from batches import KIND_SHARES, TOKENIZER, make_batch
from export import load_pair
from network import SIZES, Model, Probes
from questions import CATEGORIES
from scenes import STRANGE

TRAIN_SEED, TEST_SEED, LOOK_SEED = 1, 2, 3
LOSSES = ("answer", "shape", "colour", "place", "letter left", "letter right")
# Parts of a stage: end (share of its time), pictures of a rank's batch, learning-rate factor of the encoder and weight
# of the dense labels; look, where there is one, is a second batch of each step, of dense labels alone: reading takes more
# pictures than answering does, and without a question one costs a third. The weights of the categories: colour, shape,
# count, position, yes/no, word, describe, line, larger, nothing; where a word is written it is always asked for as well.
# Scenes have more text, charts and letters at random than the test's: words that are known are guessed too soon.
SCENES = dict(kinds=(.4, .18, .13, .08, .08, .13), strange=0.6)
READING = dict(batch=24, multi=0.0, plain=0.15, words=0.9, weights=None, kinds=(0, .5, .34, .04, .04, .08), strange=0.75)
ASKED = (.10, .10, .20, .12, .08, .06, .06, .16, .07, .05)
STAGES = (
    dict(peak=1.5e-3, quantise_from=0.75, parts=(
        dict(end=0.08, mix=dict(batch=32, multi=0.0, plain=0.5, words=0.35, weights=None, **SCENES), encoder_rate=1.0, probe=1.0),
        dict(end=0.15, mix=dict(batch=24, multi=0.0, plain=1.0, words=0.15,
                                weights=(.16, .16, .18, .17, .11, .0, .22, 0, 0, 0), **SCENES), encoder_rate=0.3, probe=0.3),
        dict(end=0.36, mix=dict(batch=24, multi=0.0, plain=0.6, words=0.22, weights=ASKED, **SCENES), encoder_rate=1.0, probe=0.15),
        dict(end=1.01, mix=dict(batch=24, multi=0.28, plain=0.3, words=0.28, weights=ASKED, **SCENES), encoder_rate=1.0, probe=0.1))),
    dict(peak=1e-3, quantise_from=2, parts=(
        dict(end=1.01, mix=dict(batch=24, multi=0.2, plain=0.3, words=0.28, weights=ASKED, **SCENES), encoder_rate=0.0, probe=0.1),)),
    dict(peak=1e-3, quantise_from=0.7, parts=(
        dict(end=0.12, mix=dict(batch=12, multi=0.0, plain=0.3, words=0.35, weights=ASKED, **SCENES), encoder_rate=1.0, probe=0.5),
        dict(end=1.01, mix=dict(batch=12, multi=0.2, plain=0.35, words=0.35, weights=ASKED, **SCENES), encoder_rate=1.0, probe=0.3,
             look=READING))),
)
WARM_UP_STEPS = 100
SAVE_EVERY_S = 150


def keep_freed_memory():
    """Asks the C library not to give freed blocks back: page faults would cost more than the arithmetic."""
    libc = ctypes.CDLL(None)
    for parameter in (-1, -3):              # M_TRIM_THRESHOLD, M_MMAP_THRESHOLD
        libc.mallopt(parameter, 2 ** 31 - 1)


def part_at(stage, progress):
    """The part of a stage at a share of its time."""
    return next(p for p in STAGES[stage]["parts"] if progress < p["end"])


def to_torch(batch, device):
    """Numpy arrays of a batch as tensors."""
    return {k: torch.from_numpy(v).to(device) if isinstance(v, np.ndarray) else v for k, v in batch.items()}


def forward(model, batch, patch_probe, frozen_encoder=False):
    """Returns the probe losses, and answer logits [m, vocabulary] with targets [m] where the batch asks questions."""
    tiles = batch["tiles"].flatten(0, 1)
    with torch.autocast(tiles.device.type, torch.bfloat16):
        with torch.set_grad_enabled(torch.is_grad_enabled() and not frozen_encoder):
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


def test_batches(plain, multi, count, device):
    """Held-out batches of plain pictures or scenes, all of one tile or all of several."""
    mix = dict(STAGES[-1]["parts"][-1]["mix"], plain=float(plain), multi=float(multi), kinds=KIND_SHARES, strange=STRANGE)
    return [to_torch(make_batch(TEST_SEED, i, 0, mix), device) for i in range(count)]


def parameter_groups(model, stage):
    """Optimiser groups: the encoder's parameters and all others, with and without weight decay; stage 1 has neither the
    encoder's nor the decoder's."""
    groups = []
    for encoder in (True, False):
        for decay in (True, False):
            chosen = [p for n, p in model.named_parameters()
                      if n.startswith("encoder") == encoder and (p.dim() > 1 and "embedding" not in n) == decay
                      and (stage != 1 or n.startswith(("projector", "probes")))]
            if chosen:
                groups.append(dict(params=chosen, encoder=encoder, weight_decay=0.05 if decay else 0.0))
    return groups


def set_rate(optimiser, steps_here, progress, stage, part):
    """Warm-up, then a cosine in time down to a fiftieth; returns the rate."""
    rate = STAGES[stage]["peak"] * min(1, (steps_here + 1) / WARM_UP_STEPS) * (0.51 + 0.49 * math.cos(math.pi * progress))
    for group in optimiser.param_groups:
        group["lr"] = rate * (part["encoder_rate"] if group["encoder"] else 1)
    return rate


def flat_gradients(parameters):
    """One vector that holds every gradient, and two more numbers at its end: the time, and whether to stop."""
    flat, at = torch.zeros(sum(p.numel() for p in parameters) + 2, device=parameters[0].device), 0
    for p in parameters:
        p.grad = flat[at:at + p.numel()].view_as(p)
        at += p.numel()
    return flat


def add_row(path, head, row):
    """A row of a CSV file, with its head where the file is new."""
    new = not os.path.exists(path)
    with open(path, "a", newline="", encoding="utf-8") as f:
        writer = csv.writer(f)
        if new:
            writer.writerow(head)
        writer.writerow(row)


class Report:
    """Gathers losses and writes them every minute, now and then with the held-out score."""

    def __init__(self, out, stage, elapsed, device):
        self.out, self.stage, self.last, self.times, self.pictures, self.losses = out, stage, elapsed, 0, 0, []
        self.held_out = {"plain, one tile": test_batches(1, 0, 4, device), "scenes, one tile": test_batches(0, 0, 8, device),
                         "scenes, several": test_batches(0, 1, 8, device)}

    def scores(self, model):
        """Prints the held-out scores."""
        for name, batches in self.held_out.items():
            print("       %s: " % name, show(score(model, batches)), flush=True)

    def step(self, model, state, rate, pictures, losses):
        """Takes one step's losses: answer first, then the probes."""
        self.pictures += pictures
        self.losses.append(losses[:len(LOSSES)])
        if state["elapsed"] - self.last < 60:
            return
        means = np.mean(self.losses, 0)
        speed = self.pictures / (state["elapsed"] - self.last)
        add_row(os.path.join(self.out, "loss.csv"), ("stage", "seconds", "step", "pictures", "pictures/s", "rate") + LOSSES,
                [self.stage, round(state["elapsed"]), state["step"], state["pictures"], round(speed, 1), "%.2e" % rate]
                + ["%.4f" % m for m in means])
        print(f"{state['elapsed'] / 60:6.1f} min  step {state['step']}  {speed:.1f} pictures/s  "
              f"answer {means[0]:.3f}  probes {' '.join(f'{v:.3f}' for v in means[1:])}", flush=True)
        self.times += 1
        if self.times % 12 == 0:
            self.scores(model)
        self.last, self.pictures, self.losses = state["elapsed"], 0, []


class Batches:
    """The batches of a rank, one after another; drawn ahead by other processes where there are any."""

    def __init__(self, seed, rank, workers):
        self.seed, self.rank, self.ahead = seed, rank, []
        context = multiprocessing.get_context("spawn")
        self.pool = concurrent.futures.ProcessPoolExecutor(workers, context) if workers else None
        self.room = 3 * workers

    def get(self, step, mix):
        """The batch of a step; with processes drawing ahead its mix may be that of some steps before."""
        if not self.pool:
            return make_batch(self.seed, step, self.rank, mix)
        while len(self.ahead) < self.room:
            at = step + len(self.ahead)
            self.ahead.append(self.pool.submit(make_batch, self.seed, at, self.rank, mix))
        return self.ahead.pop(0).result()

    def close(self):
        """Ends the processes that draw."""
        if self.pool:
            self.pool.shutdown(cancel_futures=True)


def restore(options, device):
    """The model, its optimiser, and how far it is: the checkpoint's, or those of a pair of files, or new ones."""
    torch.manual_seed(0)
    path = os.path.join(options.out, "checkpoint.pt")
    saved = torch.load(path, map_location=device) if os.path.exists(path) else None
    size = saved["size"] if saved else options.size
    model = Model(len(TOKENIZER.tokens), SIZES[size])
    state = dict(stage=options.stage, step=0, elapsed=0.0, pictures=0, size=size)
    if saved:
        model.load_state_dict(saved["model"])
    elif options.pair:
        load_pair(model, options.pair)
    model.to(device)
    optimiser = torch.optim.AdamW(parameter_groups(model, options.stage), lr=0.0, betas=(0.9, 0.95), foreach=True)
    if saved:
        state.update(step=saved["step"], pictures=saved["pictures"])
        if saved["stage"] == options.stage:
            optimiser.load_state_dict(saved["optimiser"])
            state["elapsed"] = saved["elapsed"]
    return model, optimiser, state


def save(out, model, optimiser, state):
    """Writes a checkpoint beside the old one, then takes its place."""
    path = os.path.join(out, "checkpoint.pt")
    torch.save(dict(state, model=model.state_dict(), optimiser=optimiser.state_dict()), path + ".part")
    os.replace(path + ".part", path)


def train(rank, ranks, meeting, options):
    """One process's part of the run; rank 0 keeps the time, reports, and writes the checkpoints."""
    stopped = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.append(1))
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if device.type == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // ranks))
        keep_freed_memory()
    if ranks > 1:
        dist.init_process_group("gloo", init_method="file://" + meeting, rank=rank, world_size=ranks)
    model, optimiser, state = restore(options, device)
    stage, first_step, saved = options.stage, state["step"], state["elapsed"]
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    flat = flat_gradients(parameters)
    report = Report(options.out, stage, saved, device) if rank == 0 else None
    workers = options.workers if device.type == "cuda" else 0
    batches, looks = Batches(TRAIN_SEED, rank, workers), Batches(LOOK_SEED, rank, workers)

    def scaled(mix):
        return dict(mix, batch=mix["batch"] * (options.batch_factor if device.type == "cuda" else 1))

    started = time.time() - saved
    while state["elapsed"] < 60 * options.minutes:
        progress = state["elapsed"] / (60 * options.minutes)
        part = part_at(stage, progress)
        model.quantise(progress >= STAGES[stage]["quantise_from"])
        rate = set_rate(optimiser, state["step"] - first_step, progress, stage, part)
        batch = to_torch(batches.get(state["step"], scaled(part["mix"])), device)
        probe, logits, targets = forward(model, batch, stage != 1, stage == 1)
        answer = F.cross_entropy(logits, targets) if logits is not None else torch.zeros((), device=device)
        flat.zero_()
        (answer + part["probe"] * probe.sum()).backward()
        seen = len(batch["tiles"])
        if "look" in part:
            batch = to_torch(looks.get(state["step"], scaled(part["look"])), device)
            (part["probe"] * forward(model, batch, True)[0].sum()).backward()
            seen += len(batch["tiles"])
        flat[-2:] = torch.tensor([ranks * (time.time() - started), float(len(stopped))] if rank == 0 else [0.0, 0.0])
        if ranks > 1:
            dist.all_reduce(flat)
        flat /= ranks
        state["elapsed"], stop = flat[-2:].tolist()
        flat[-2:] = 0
        flat *= min(1.0, 1 / (flat.norm().item() + 1e-6))
        optimiser.step()
        state["step"] += 1
        state["pictures"] += ranks * seen
        if rank == 0:
            report.step(model, state, rate, ranks * seen, [answer.item()] + probe.tolist())
            if stop or state["elapsed"] - saved >= SAVE_EVERY_S or state["elapsed"] >= 60 * options.minutes:
                save(options.out, model, optimiser, state)
                saved = state["elapsed"]
        if stop:
            break
    batches.close()
    looks.close()
    if rank == 0:
        add_row(os.path.join(options.out, "runs.csv"),
                ("stage", "size", "train seed", "test seed", "device", "minutes", "seconds", "step", "pictures"),
                (stage, state["size"], TRAIN_SEED, TEST_SEED, device.type, options.minutes, round(state["elapsed"]),
                 state["step"], state["pictures"]))
        report.scores(model)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stage", type=int, choices=(0, 1, 2), default=0)
    parser.add_argument("--minutes", type=float, default=90, help="length of the whole stage")
    parser.add_argument("--out", default="../../build/train", help="folder of the checkpoint and the records")
    parser.add_argument("--pair", help="folder of a pair of files to begin with")
    parser.add_argument("--size", choices=tuple(SIZES), default="small")
    parser.add_argument("--ranks", type=int, default=2, help="processes without a GPU, one a core")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) - 1), help="that draw for a GPU")
    parser.add_argument("--batch-factor", type=int, default=8, help="a GPU's batch in those of a CPU's process")
    options = parser.parse_args()
    os.makedirs(options.out, exist_ok=True)
    if torch.cuda.is_available() or options.ranks == 1:
        train(0, 1, "", options)
        return
    with tempfile.TemporaryDirectory() as folder:
        arguments = options.ranks, os.path.join(folder, "meeting"), options
        context = torch.multiprocessing.spawn(train, arguments, nprocs=options.ranks, join=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: [os.kill(p, signal.SIGTERM) for p in context.pids()])
        while not context.join():
            pass


if __name__ == "__main__":
    main()
