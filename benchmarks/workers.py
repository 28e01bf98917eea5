"""Examples per second of one and two workers, the bytes that they exchange, and what both say of 64 workers.

    python benchmarks/workers.py --out results/workers.json

The model is that of `training.py`: 784-300-(20x10)-300-784, 100 examples a step on each worker, and `fit` with all
defaults. Each contender runs in fresh processes, in turn, for several rounds; the median is printed:

    one core      one process without a strategy, held to one core
    one worker    a cluster of one worker, held to one core
    two workers   a cluster of two workers of this machine, each held to a core of its own

What is exchanged is the sum of the gradients, as many numbers as there are trainable weights. On CPUs TensorFlow's
collectives go round a ring: of W bytes each of N workers sends, and receives, 2 (N - 1) / N W in 2 (N - 1) messages.
On paper a step of N workers then takes

    t(N) = t(1) + 2 (N - 1) / N W / bandwidth + 2 (N - 1) latency

for a network's bandwidth and latency between two machines, and the efficiency is t(1) / t(N).
"""

import argparse
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

LATENTS, CATEGORIES, PIXELS, BATCH = 20, 10, 784, 100
CONTENDERS = {"one core": 0, "one worker": 1, "two workers": 2}


def worker(core: int, workers: int, examples: int, epochs: int) -> None:
    """Prints the examples per second of all workers, and the bytes of the gradients."""
    os.sched_setaffinity(0, {core})
    import numpy as np

    from tfdiscrete.models import DiscreteVAE, make_networks
    from tfdiscrete.training import ShuffledBatches, strategies

    strategy = strategies.get("multi_worker" if workers else "none")
    count = max(workers, 1)
    x = (np.random.default_rng(0).random((examples * count, PIXELS)) < 0.13).astype("float32")
    batches = ShuffledBatches(x, batch_size=BATCH * count, seed=0)
    with strategy.scope():
        networks = make_networks(
            "mlp", data_shape=(PIXELS,), parameter_shape=(PIXELS,), num_latents=LATENTS, num_categories=CATEGORIES
        )
        vae = DiscreteVAE(*networks, estimator="straight_through_gumbel_softmax", seed=0)
        vae.compile("adam")
    data = batches.shared(strategy) if workers else batches.dataset
    vae.fit(data, shuffle=False, verbose=0)
    start = time.perf_counter()
    vae.fit(data, epochs=epochs, shuffle=False, verbose=0)
    seconds = time.perf_counter() - start
    size = sum(int(np.prod(variable.shape)) * 4 for variable in vae.trainable_variables)
    print(json.dumps({"examples_per_second": len(x) * epochs / seconds, "gradient_bytes": size}))


def measure(workers: int, examples: int, epochs: int) -> dict:
    """One contender's run, in fresh processes."""
    cores = sorted(os.sched_getaffinity(0))
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    processes = []
    for index in range(max(workers, 1)):
        task = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, **({"TF_CONFIG": json.dumps(task)} if workers else {})}
        arguments = ["--worker", str(cores[index % len(cores)]), str(workers), str(examples), str(epochs)]
        command = [sys.executable, __file__, *arguments]
        processes.append(subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL))
    outputs = [process.communicate(timeout=600)[0] for process in processes]
    return json.loads(outputs[0].decode().splitlines()[-1])


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def ring_bytes(workers: int, size: int) -> float:
    """What each worker sends in one step."""
    return 2 * (workers - 1) / workers * size


def on_paper(workers: int, step_seconds: float, size: int, bandwidth: float, latency: float) -> dict:
    """The step of N workers: bandwidth in bytes per second, latency in seconds."""
    seconds = step_seconds + ring_bytes(workers, size) / bandwidth + 2 * (workers - 1) * latency
    return {
        "sent_by_each_bytes": ring_bytes(workers, size),
        "step_ms": 1e3 * seconds,
        "examples_per_second": workers * BATCH / seconds,
        "efficiency": step_seconds / seconds,
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="a JSON file for the figures")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=10_000, help="of each worker, in an epoch (default 10,000)")
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--gigabits", type=float, default=10.0, help="the network's on paper, per second (default 10)")
    parser.add_argument("--microseconds", type=float, default=50.0, help="of each message, on paper (default 50)")
    parser.add_argument("--worker", nargs=4, type=int, help=argparse.SUPPRESS)
    parsed = parser.parse_args()
    if parsed.worker:
        return worker(*parsed.worker)
    speeds: dict[str, list[float]] = {name: [] for name in CONTENDERS}
    for _ in range(parsed.rounds):
        for name, workers in CONTENDERS.items():
            figures = measure(workers, parsed.examples, parsed.epochs)
            speeds[name].append(figures["examples_per_second"])
    medians = {name: statistics.median(values) for name, values in speeds.items()}
    size = figures["gradient_bytes"]
    network = (parsed.gigabits * 1e9 / 8, parsed.microseconds * 1e-6)
    paper = {n: on_paper(n, BATCH / medians["one worker"], size, *network) for n in (2, 8, 64)}
    for name, median in medians.items():
        print(f"{name:<12} {median:>9.0f} examples/s  {median / BATCH / max(CONTENDERS[name], 1):>7.1f} steps/s")
    print(f"two workers: {medians['two workers'] / medians['one worker']:.2f} times one")
    print(f"gradients: {size / 1e6:.2f} MB; each of 2 workers sends {ring_bytes(2, size) / 1e6:.2f} MB a step")
    for n, figures in paper.items():
        print(
            f"on paper, {n:>2} workers, {parsed.gigabits:g} Gbit/s, {parsed.microseconds:g} us: each sends "
            f"{figures['sent_by_each_bytes'] / 1e6:.2f} MB, {figures['step_ms']:.1f} ms a step, "
            f"{figures['examples_per_second']:.0f} examples/s, {100 * figures['efficiency']:.0f} % efficient"
        )
    if parsed.out:
        record = {"machine": platform.platform(), "cores": os.cpu_count(), "speeds": speeds, "medians": medians}
        record |= {"gradient_bytes": size, "on_paper": paper}
        Path(parsed.out).write_text(json.dumps(record, indent=2) + "\n")
    return None


if __name__ == "__main__":
    main()
