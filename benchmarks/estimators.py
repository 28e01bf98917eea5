"""What a training step costs with each gradient estimator, against the parts that it cannot do without.

    python benchmarks/estimators.py --out results/estimator_speed

A `DiscreteVAE` 784-300-(N x K) and back on binary data, batch 100, Adam, XLA. For each estimator the step is timed
beside

    t_encoder + n_f t_f + n_g t_grad_f

whose parts are timed alone and compiled alike, in turn, in one process: t_encoder the encoder's forward and backward
pass, the KL and Adam's update of all weights; t_f one evaluation of the cost f for the batch (decoder and likelihood);
t_grad_f what its backward pass adds, with respect to the decoder's weights and z. n_f and n_g, evaluations and backward
passes for each example, are counted while the step is traced; that REBAR and RELAX differentiate the gradient of f once
more is not counted.
"""

import argparse
import json
import os
import platform
import statistics
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

DATA, BATCH = 784, 100
SIZES = ((20, 10), (20, 2))
OPTIONS = {
    "score_function": {"num_samples": 2},
    "vimco": {"num_samples": 5},
    "rao_blackwell": {"num_exact": 3},
    "stochastic_rao_blackwell": {"num_samples": 4},
    "unordered_set": {"num_samples": 4},
}


class Counter:
    """Counts a model's evaluations of the cost and their backward passes, for each example, while they are traced."""

    def __init__(self, model):
        """Replaces the model's cost by a counted one."""
        import tensorflow as tf

        from tfdiscrete.estimators.base import CheckedCost

        self.forward = self.backward = 0.0
        log_likelihood, of = model.log_likelihood, model._log_likelihood_of

        def tagged(x, z, *, training=False):
            self.forward += z.shape[0]

            @tf.custom_gradient
            def tag(value):
                def gradient(upstream):
                    self.backward += z.shape[0]
                    return upstream

                return tf.identity(value), gradient

            return tag(log_likelihood(x, z, training=training))

        def counted(x, training):
            function = of(x, training)
            neighbours = getattr(function, "neighbours", None)

            def count(z):
                self.forward += z.shape[0] * (z.shape[-2] * (z.shape[-1] - 1) + 1)
                return neighbours(z)

            if neighbours is not None:
                function.neighbours = count
            return function

        model.log_likelihood, model._log_likelihood_of = tagged, counted

        def differentiable(cost, y, whole=CheckedCost.differentiable):
            before = self.backward
            result = whole(cost, y)
            self.backward = before  # of a gradient that is looked for and not used, which the graph leaves out
            return result

        CheckedCost.differentiable = differentiable


def make_model(name: str, size, seed=0):
    import keras

    from tfdiscrete import estimators
    from tfdiscrete.models import DiscreteVAE, make_networks

    networks = make_networks(
        "mlp", data_shape=(DATA,), parameter_shape=(DATA,), num_latents=size[0], num_categories=size[1], seed=seed
    )
    estimator = estimators.get(name, **OPTIONS.get(name, {}))
    model = DiscreteVAE(*networks, estimator=estimator, seed=seed)
    model.compile(keras.optimizers.Adam(1e-3))
    model.optimizer.build(model.trainable_variables)
    return model


def compiled(function):
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)


def parts(x, size) -> dict:
    """The parts of every step, each compiled alone."""
    import numpy as np
    import tensorflow as tf

    from tfdiscrete.ops import gumbel_max, perturb

    model = make_model("straight_through_gumbel_softmax", size)
    z = gumbel_max(perturb(tf.zeros([BATCH, *size]), 1, [0, 1]))
    cotangent = tf.constant(np.random.default_rng(0).normal(size=(BATCH, *size)).astype("float32"))
    decoder_gradients = [tf.ones_like(variable) for variable in model.decoder.trainable_variables]

    def encoder():
        variables = model.encoder.trainable_variables
        with tf.GradientTape() as tape:
            q = model.posterior(x, training=True)
            loss = tf.reduce_mean(model.prior.kl_divergence(q)) + tf.reduce_sum(q.logits * cotangent)
        gradients = [*tape.gradient(loss, variables), *decoder_gradients]
        model.optimizer.apply_gradients(zip(gradients, [*variables, *model.decoder.trainable_variables], strict=True))
        return loss

    def cost():
        return model.log_likelihood(x, z, training=True)

    def cost_and_gradient():
        with tf.GradientTape() as tape:
            tape.watch(z)
            value = tf.reduce_mean(model.log_likelihood(x, z, training=True))
        return value, tape.gradient(value, [z, *model.decoder.trainable_variables])

    return {"encoder": compiled(encoder), "cost": compiled(cost), "cost_and_gradient": compiled(cost_and_gradient)}


def medians(contenders: dict, rounds: int, calls: int) -> dict[str, list[float]]:
    """Seconds a call: for each contender, in turn, `rounds` means of `calls`."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, run in contenders.items():
            run()
            start = time.perf_counter()
            for _ in range(calls):
                run()
            seconds[name].append((time.perf_counter() - start) / calls)
    return seconds


def measure(size, names, rounds: int, calls: int) -> list[dict]:
    """One row for each estimator that a categorical posterior of this size allows."""
    import numpy as np
    import tensorflow as tf

    from tfdiscrete.errors import InputError

    x = tf.constant(np.random.default_rng(1).integers(2, size=(BATCH, DATA)).astype("float32"))
    contenders, counters = dict(parts(x, size)), {}
    for run in contenders.values():
        run()
    for name in names:
        try:
            model = make_model(name, size)
            counters[name] = Counter(model)
            step = compiled(lambda model=model: model.train_step(x))
            step()
        except InputError as error:
            print(f"{size[0]}x{size[1]} {name}: left out, {error}")
            counters.pop(name, None)
            continue
        contenders[name] = step
    seconds = medians(contenders, rounds, calls)
    rows = []
    for name, counter in counters.items():
        n_f, n_g = counter.forward, counter.backward
        ratios = [
            step / (encoder + n_f * f + n_g * max(both - f, 0.0))
            for step, encoder, f, both in zip(
                *(seconds[part] for part in (name, "encoder", "cost", "cost_and_gradient")), strict=True
            )
        ]
        rows.append(
            {
                "latents": size[0],
                "categories": size[1],
                "estimator": name,
                "options": OPTIONS.get(name, {}),
                "milliseconds": round(1e3 * statistics.median(seconds[name]), 3),
                "steps_per_second": round(1.0 / statistics.median(seconds[name]), 1),
                "evaluations": n_f,
                "backward_passes": n_g,
                "ratio": round(statistics.median(ratios), 3),
            }
        )
    timings = {
        part: round(1e3 * statistics.median(seconds[part]), 3) for part in ("encoder", "cost", "cost_and_gradient")
    }
    print(f"{size[0]}x{size[1]}, parts in ms: {timings}")
    for row in sorted(rows, key=lambda row: row["milliseconds"]):
        print(
            f"  {row['estimator']:34s} {row['milliseconds']:8.2f} ms  n_f {row['evaluations']:5g}  n_g "
            f"{row['backward_passes']:3g}  step / parts {row['ratio']:.2f}"
        )
    return [{**row, "parts_ms": timings} for row in rows]


def table(rows: list[dict], about: dict) -> str:
    """The rows as Markdown."""
    lines = [
        "# What a training step costs with each estimator",
        "",
        f"Made by `{about['command']}` on {about['machine']}, TensorFlow {about['tensorflow']}. Ratio: the step's",
        "time over t_encoder + n_f t_f + n_g t_grad_f, medians within rounds; the script's head says what they are.",
    ]
    for size in dict.fromkeys((row["latents"], row["categories"]) for row in rows):
        lines += ["", f"## {size[0]}x{size[1]}, batch {BATCH}", ""]
        lines += ["| estimator | options | ms | steps/s | n_f | n_g | ratio |", "|---" * 7 + "|"]
        chosen = [row for row in rows if (row["latents"], row["categories"]) == size]
        for row in sorted(chosen, key=lambda row: row["milliseconds"]):
            options = ", ".join(f"{key}={value}" for key, value in row["options"].items())
            lines.append(
                f"| {row['estimator']} | {options} | {row['milliseconds']:.2f} | {row['steps_per_second']:.0f} | "
                f"{row['evaluations']:g} | {row['backward_passes']:g} | {row['ratio']:.2f} |"
            )
        lines.append(f"\nParts, in ms: {chosen[0]['parts_ms']}.")
    return "\n".join(lines) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="write OUT.json and OUT.md")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--estimators", nargs="+", metavar="NAME", help="default: all")
    parsed = parser.parse_args(arguments)

    import tensorflow as tf

    from tfdiscrete import estimators
    from tfdiscrete.distributions import Family

    names = parsed.estimators or [name for name, cls in estimators.REGISTRY.items() if cls.takes is Family]
    rows = [row for size in SIZES for row in measure(size, names, parsed.rounds, parsed.calls)]
    about = {
        "command": f"python benchmarks/estimators.py --rounds {parsed.rounds} --calls {parsed.calls}",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
        "tensorflow": tf.__version__,
    }
    if parsed.out:
        out = Path(parsed.out)
        out.parent.mkdir(parents=True, exist_ok=True)
        out.with_suffix(".json").write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")
        out.with_suffix(".md").write_text(table(rows, about))
        print(f"wrote {out.with_suffix('.json')} and {out.with_suffix('.md')}")


if __name__ == "__main__":
    main()
