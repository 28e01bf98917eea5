"""Times of the samplers and quantizers, forward and backward, against their peers.

    python benchmarks/layers.py --out results/layers

All contenders of a part are compiled as a user would and run in turn, round by round, in one process; medians are
printed, and medians of the ratios within a round. PyTorch and vector-quantize-pytorch come with the `benchmark` extra.

    gumbel_softmax    [1024, 20, 10]: a sample and its gradient; peers tfd.RelaxedOneHotCategorical and PyTorch
    nearest_code      16,384 x 64 against 1,024 codes; peers the bare matrix product and compiled PyTorch
    vector_quantizer  one training step with a codebook of moving averages, of the same size; vector-quantize-pytorch
    memory            65,536 x 64 against 8,192 codes, in a process of its own: the peak over what was there before
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SHAPE, TEMPERATURE = (1024, 20, 10), 0.5
ROWS, DIMENSION, CODES = 16_384, 64, 1_024
MANY_ROWS, MANY_CODES = 65_536, 8_192
# So that the threads of one library, which wait busily for more, have gone to sleep before the next one starts.
PAUSE = 0.05


def timed_in_turn(contenders: dict, rounds: int, calls: int) -> dict[str, list[float]]:
    """Seconds a call: of each contender `rounds` times the mean of `calls` in a row, after two that wake it."""
    for run in contenders.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            time.sleep(PAUSE)
            run()
            run()
            start = time.perf_counter()
            for _ in range(calls):
                run()
            seconds[name].append((time.perf_counter() - start) / calls)
    return seconds


def with_gradient(function, x, weights):
    """The function's value and the gradient of its weighted sum."""
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return y, tape.gradient(y, x, output_gradients=weights)


def in_three_modes(name, function) -> dict:
    """The function run eagerly, as a graph and by XLA, each until its result is there."""
    import tensorflow as tf

    modes = {
        "eager": function,
        "graph": tf.function(function, autograph=False),
        "xla": tf.function(function, autograph=False, jit_compile=True),
    }
    return {f"{name}, {mode}": lambda run=run: run()[-1].numpy() for mode, run in modes.items()}


def gumbel_softmax() -> dict:
    import numpy as np
    import tensorflow as tf
    import tensorflow_probability as tfp
    import torch

    from tfdiscrete.distributions import GumbelSoftmax
    from tfdiscrete.layers import GumbelSoftmax as Layer

    rng = np.random.default_rng(0)
    numbers = rng.normal(size=SHAPE).astype("float32"), rng.normal(size=SHAPE).astype("float32")
    logits, weights = map(tf.constant, numbers)
    counter = tf.Variable(0)
    layer = Layer(TEMPERATURE, seed=0)
    layer.build(SHAPE)

    def ours():
        counter.assign_add(1)
        seed = tf.stack([counter.value(), 0])
        return with_gradient(lambda x: GumbelSoftmax(TEMPERATURE, x).sample(seed=seed), logits, weights)

    def tfp_sample():
        relaxed = tfp.distributions.RelaxedOneHotCategorical
        return with_gradient(lambda x: relaxed(TEMPERATURE, logits=x).sample(), logits, weights)

    torch_logits, torch_weights = map(torch.from_numpy, numbers)
    torch_logits.requires_grad_()
    compiled = torch.compile(lambda x: torch.nn.functional.gumbel_softmax(x, tau=TEMPERATURE))

    def torch_sample():
        torch_logits.grad = None
        compiled(torch_logits).backward(torch_weights)

    return {
        **in_three_modes("tfdiscrete", ours),
        **in_three_modes("tfdiscrete layer", lambda: with_gradient(lambda x: layer(x, training=True), logits, weights)),
        **in_three_modes("tfp", tfp_sample),
        "torch, compiled": torch_sample,
    }


def codes_and_rows():
    import numpy as np

    rng = np.random.default_rng(0)
    return rng.normal(size=(CODES, DIMENSION)).astype("float32"), rng.normal(size=(ROWS, DIMENSION)).astype("float32")


def nearest_code() -> dict:
    import tensorflow as tf
    import torch

    from tfdiscrete import ops

    codebook, rows = codes_and_rows()
    tf_codebook, tf_rows = tf.constant(codebook), tf.constant(rows)
    product = tf.function(lambda: tf.matmul(tf_rows, tf_codebook, transpose_b=True))
    ours = tf.function(lambda x: ops.nearest_code(x, tf_codebook))
    torch_codebook, torch_rows = torch.from_numpy(codebook), torch.from_numpy(rows)
    distances = torch.compile(lambda x: torch.cdist(x, torch_codebook).argmin(-1))
    products = torch.compile(
        lambda x: (x @ torch_codebook.T - 0.5 * (torch_codebook * torch_codebook).sum(-1)).argmax(-1)
    )

    # `.shape` does not wait on CPU, but a tf.function's outputs are there when it returns.
    return {
        "tfdiscrete, graph": lambda: ours(tf_rows).numpy(),
        "matrix product, graph": lambda: product().shape,
        "torch cdist, compiled": lambda: distances(torch_rows).numpy(),
        "torch product, compiled": lambda: products(torch_rows).numpy(),
    }


def vector_quantizer() -> dict:
    import tensorflow as tf
    import torch
    from vector_quantize_pytorch import VectorQuantize

    from tfdiscrete.layers import EMAUpdate, VectorQuantizer

    _, rows = codes_and_rows()
    inputs = tf.constant(rows)
    layer = VectorQuantizer(CODES, update=EMAUpdate(decay=0.99, restart_threshold=0.02), kmeans_iterations=0, seed=0)
    layer.build(inputs.shape)

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            tape.watch(inputs)
            code, index, loss = layer(inputs, training=True)
            total = tf.reduce_sum(code * code) + loss
        return index, tape.gradient(total, inputs)

    # Its threshold is a count of the batch; both restart codes that are chosen 50 times less than the mean one.
    torch.manual_seed(0)
    peer = VectorQuantize(
        dim=DIMENSION,
        codebook_size=CODES,
        decay=0.99,
        commitment_weight=0.25,
        threshold_ema_dead_code=0.02 * ROWS / CODES,
        rotation_trick=False,
    )
    peer.train()
    torch_inputs = torch.from_numpy(rows)[None].requires_grad_()

    def torch_step():
        torch_inputs.grad = None
        code, _, loss = peer(torch_inputs)
        ((code * code).sum() + loss.sum()).backward()

    return {"tfdiscrete, graph": lambda: step()[1].numpy(), "vector-quantize-pytorch": torch_step}


PARTS = {"gumbel_softmax": gumbel_softmax, "nearest_code": nearest_code, "vector_quantizer": vector_quantizer}

# part -> ratios of seconds (numerator, denominator), what is aimed at, and whether it is to be at least or at most that
TARGETS = {
    "gumbel_softmax": [
        ("tfp, graph", "tfdiscrete, graph", 1.1, "at least"),
        ("tfp, eager", "tfdiscrete, eager", 3.0, "at least"),
        ("tfp, xla", "tfdiscrete, xla", 10.0, "at least"),
        ("tfdiscrete, graph", "torch, compiled", 1.1, "at most"),
        ("tfdiscrete, xla", "torch, compiled", 1.1, "at most"),
    ],
    "nearest_code": [
        ("tfdiscrete, graph", "matrix product, graph", 1.8, "at most"),
        ("torch cdist, compiled", "tfdiscrete, graph", 1.0, "at least"),
        ("torch product, compiled", "tfdiscrete, graph", 1.0, "at least"),
    ],
    "vector_quantizer": [("vector-quantize-pytorch", "tfdiscrete, graph", 5.0, "at least")],
}


def peak_of_many_codes() -> float:
    """MiB that the nearest codes of many rows add to the peak of this process."""
    import numpy as np
    import tensorflow as tf

    from tfdiscrete import ops

    rng = np.random.default_rng(0)
    rows, codebook = (tf.constant(rng.normal(size=(n, DIMENSION)).astype("float32")) for n in (MANY_ROWS, MANY_CODES))
    nearest = tf.function(ops.nearest_code)
    nearest(rows[:8], codebook[:8])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    nearest(rows, codebook)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def measured(part: str, rounds: int, calls: int) -> dict:
    seconds = timed_in_turn(PARTS[part](), rounds, calls)
    ratios = []
    for above, below, aim, sense in TARGETS[part]:
        each = [a / b for a, b in zip(seconds[above], seconds[below], strict=True)]
        ratios.append({"ratio": f"{above} / {below}", "median": round(statistics.median(each), 2), sense: aim})
    milliseconds = {name: round(1e3 * statistics.median(each), 2) for name, each in seconds.items()}
    return {"milliseconds": milliseconds, "ratios": ratios}


def versions() -> dict[str, str]:
    from importlib.metadata import version

    names = ("tfdiscrete", "tensorflow", "tensorflow-probability", "numpy", "torch", "vector-quantize-pytorch")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def markdown(result: dict) -> str:
    lines = ["# Times of samplers and quantizers", "", f"`{result['command']}`, {result['cores']} cores; "]
    lines[-1] += ", ".join(f"{name} {number}" for name, number in result["versions"].items()) + "."
    for part, table in result["parts"].items():
        lines += ["", f"## {part}", "", "| contender | median, ms |", "|---|---|"]
        lines += [f"| {name} | {value:.2f} |" for name, value in table["milliseconds"].items()]
        lines += ["", "| ratio of times | median | aim |", "|---|---|---|"]
        for row in table["ratios"]:
            sense = "at least" if "at least" in row else "at most"
            lines.append(f"| {row['ratio']} | {row['median']:.2f} | {sense} {row[sense]} |")
    lines += ["", f"## memory\n\n{MANY_ROWS:,} x {DIMENSION} against {MANY_CODES:,} codes: a peak of "]
    lines[-1] += f"{result['memory_mib']:.0f} MiB over what was there before (aim: below 1,024)."
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=30, help="how often each contender has its turn (default 30)")
    parser.add_argument("--calls", type=int, default=10, help="timed calls in each turn (default 10)")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="which (default: all)")
    parser.add_argument("--out", type=Path, help="where to write the tables: OUT.json and OUT.md")
    parser.add_argument("--memory", action="store_true", help="print the memory's peak alone, in MiB")
    arguments = parser.parse_args()
    if arguments.memory:
        print(peak_of_many_codes())
        return
    memory = subprocess.run(
        [sys.executable, __file__, "--memory"], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    result = {
        "command": "python " + " ".join(sys.argv),
        "cores": os.cpu_count(),
        "versions": versions(),
        "memory_mib": round(float(memory.stdout.split()[-1]), 1),
        "parts": {part: measured(part, arguments.rounds, arguments.calls) for part in arguments.parts},
    }
    print(markdown(result))
    if arguments.out:
        for path, text in (
            (arguments.out.with_suffix(".json"), json.dumps(result, indent=2) + "\n"),
            (arguments.out.with_suffix(".md"), markdown(result)),
        ):
            path.write_text(text)
            print(f"wrote {path}")


if __name__ == "__main__":
    main()
