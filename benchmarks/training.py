"""Steps per second of training one VAE (784-300-(20x10)-300-784, straight-through) against two peers.

    python benchmarks/training.py --out results/training_speed.json

Contenders, each in a fresh process, in turn, for several rounds; medians and pairwise ratios are printed:

    tfdiscrete    DiscreteVAE.compile("adam"), fit on a NumPy array, all defaults
    keras         a straightforward Keras port: one subclass with keras.random noise, compiled and fitted by default
    torch         the same model in PyTorch, the loss under torch.compile, torch.optim.Adam
    torch_fused   the same with Adam(fused=True)

PyTorch comes with the `benchmark` extra. The data are random bits with the density of binarized MNIST: speed does
not depend on what they show. The first epoch, with its compilation, is not counted.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

LATENTS, CATEGORIES, HIDDEN, PIXELS, BATCH = 20, 10, 300, 784, 100
TEMPERATURE = 0.5


def random_bits(examples: int):
    import numpy as np

    return (np.random.default_rng(0).random((examples, PIXELS)) < 0.13).astype("float32")


def steps_per_second(epoch, steps: int, epochs: int) -> float:
    epoch()
    start = time.perf_counter()
    for _ in range(epochs):
        epoch()
    return steps * epochs / (time.perf_counter() - start)


def run_tfdiscrete(x, epochs):
    import keras

    from tfdiscrete.estimators import StraightThroughGumbelSoftmax
    from tfdiscrete.models import DiscreteVAE, make_networks

    networks = make_networks(
        "mlp", data_shape=(PIXELS,), parameter_shape=(PIXELS,), num_latents=LATENTS, num_categories=CATEGORIES
    )
    vae = DiscreteVAE(*networks, estimator=StraightThroughGumbelSoftmax(temperature=TEMPERATURE))
    vae.compile(keras.optimizers.Adam(1e-3))
    return steps_per_second(lambda: vae.fit(x, batch_size=BATCH, verbose=0), len(x) // BATCH, epochs)


def run_keras(x, epochs):
    import keras
    from keras import layers, ops

    class Sample(layers.Layer):
        def __init__(self):
            super().__init__()
            self.seed_generator = keras.random.SeedGenerator(0)

        def call(self, logits):
            uniform = keras.random.uniform(ops.shape(logits), 1e-7, 1.0, seed=self.seed_generator)
            soft = ops.softmax((logits - ops.log(-ops.log(uniform))) / TEMPERATURE)
            hard = ops.one_hot(ops.argmax(soft, axis=-1), CATEGORIES)
            return soft + ops.stop_gradient(hard - soft)

    class VAE(keras.Model):
        def __init__(self):
            super().__init__()
            self.hidden = layers.Dense(HIDDEN, activation="relu")
            self.logits = layers.Dense(LATENTS * CATEGORIES)
            self.shape_logits = layers.Reshape((LATENTS, CATEGORIES))
            self.sample = Sample()
            self.flatten = layers.Flatten()
            self.decoder_hidden = layers.Dense(HIDDEN, activation="relu")
            self.pixels = layers.Dense(PIXELS)

        def call(self, x):
            logits = self.shape_logits(self.logits(self.hidden(x)))
            log_q = ops.log_softmax(logits)
            rate = ops.sum(ops.exp(log_q) * (log_q + ops.log(float(CATEGORIES))), axis=(1, 2))
            self.add_loss(ops.mean(rate))
            return self.pixels(self.decoder_hidden(self.flatten(self.sample(logits))))

    def distortion(x, pixels):
        return ops.sum(keras.losses.binary_crossentropy(x[..., None], pixels[..., None], from_logits=True), axis=-1)

    vae = VAE()
    vae.compile(keras.optimizers.Adam(1e-3), loss=distortion)
    return steps_per_second(lambda: vae.fit(x, x, batch_size=BATCH, verbose=0), len(x) // BATCH, epochs)


def run_torch(x, epochs, fused=False):
    import torch
    from torch import nn
    from torch.nn import functional

    encoder = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, LATENTS * CATEGORIES))
    decoder = nn.Sequential(nn.Linear(LATENTS * CATEGORIES, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, PIXELS))
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 1e-3, fused=fused)

    @torch.compile
    def loss_of(batch):
        logits = encoder(batch).view(-1, LATENTS, CATEGORIES)
        z = functional.gumbel_softmax(logits, TEMPERATURE, hard=True)
        pixels = decoder(z.flatten(1))
        distortion = functional.binary_cross_entropy_with_logits(pixels, batch, reduction="none").sum(-1)
        log_q = logits.log_softmax(-1)
        rate = (log_q.exp() * (log_q + torch.log(torch.tensor(float(CATEGORIES))))).sum((-2, -1))
        return (distortion + rate).mean()

    data = torch.from_numpy(x)

    def epoch():
        for indices in torch.randperm(len(data)).split(BATCH):
            optimizer.zero_grad(set_to_none=True)
            loss_of(data[indices]).backward()
            optimizer.step()

    return steps_per_second(epoch, len(x) // BATCH, epochs)


CONTENDERS = {
    "tfdiscrete": run_tfdiscrete,
    "keras": run_keras,
    "torch": run_torch,
    "torch_fused": lambda x, epochs: run_torch(x, epochs, fused=True),
}


def versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("tfdiscrete", "tensorflow", "keras", "numpy", "torch")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="how often each contender runs (default 5)")
    parser.add_argument("--epochs", type=int, default=4, help="counted epochs of 500 steps a run (default 4)")
    parser.add_argument("--out", type=Path, help="where to write the table as JSON")
    parser.add_argument("--contender", choices=CONTENDERS, help="run this one alone, and print its steps/s")
    arguments = parser.parse_args()
    if arguments.contender:
        print(CONTENDERS[arguments.contender](random_bits(50_000), arguments.epochs))
        return
    measured: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for round_number in range(arguments.rounds):
        for name in CONTENDERS:
            command = [sys.executable, __file__, "--contender", name, "--epochs", str(arguments.epochs)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            measured[name].append(float(output.split()[-1]))
            print(f"round {round_number + 1}  {name:<12} {measured[name][-1]:7.1f} steps/s", flush=True)
    table = {
        name: {
            "steps_per_second": round(statistics.median(rates), 1),
            "all_rounds": [round(rate, 1) for rate in rates],
            "tfdiscrete_is_times_as_fast": round(
                statistics.median(ours / theirs for ours, theirs in zip(measured["tfdiscrete"], rates, strict=True)),
                3,
            ),
        }
        for name, rates in measured.items()
    }
    for name, row in table.items():
        ratio = row["tfdiscrete_is_times_as_fast"]
        print(f"{name:<12} {row['steps_per_second']:7.1f} steps/s, tfdiscrete is {ratio:.2f} times as fast")
    if arguments.out:
        result = {"command": "python " + " ".join(sys.argv), "cores": os.cpu_count(), "versions": versions()}
        arguments.out.write_text(json.dumps({**result, "contenders": table}, indent=2) + "\n")
        print(f"wrote {arguments.out}")


if __name__ == "__main__":
    main()
