"""What a training step costs with each gradient estimator, against the parts that it cannot do without.

    python benchmarks/estimators.py --out results/estimator_speed

A `DiscreteVAE` 784-300-(N x K) and back on binary data, batch 100, Adam, XLA. For each estimator the step is timed
beside

    t_encoder + n_f t_f + n_g t_grad_f

whose parts are timed alone and compiled alike, in turn, in one process: t_encoder the encoder's forward and backward
pass, the KL and Adam's update of all weights; t_f one evaluation of the cost f for the batch (decoder and likelihood);
t_grad_f what its backward pass adds, with respect to the decoder's weights and z. n_f and n_g, evaluations and backward
passes for each example, are counted while the step is traced; that REBAR and RELAX differentiate the gradient of f once
more is not counted. Codes that all examples share, those of one variable, count for each, though they are decoded once.
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
SIZES = ((20, 10), (20, 2), (1, 40))
OPTIONS = {
    "score_function": "num_samples=2",
    "vimco": "num_samples=5",
    "rao_blackwell": "num_exact=3",
    "stochastic_rao_blackwell": "num_samples=4",
    "unordered_set": "num_samples=4",
}
VARIANTS = ("generalized_gumbel_softmax:rao_blackwell=true", "direct_arg_max:epsilon=0.1,sign=both,num_noises=8")
FAMILIES = {"invertible_gaussian": "invertible_gaussian", "pathwise": "gaussian"}
"""Of the estimators that do not take categories."""


class Counter:
    """Counts a model's evaluations of the cost and their backward passes, for each example, while they are traced."""

    def __init__(self, model):
        """Replaces the model's cost by a counted one."""
        from tfdiscrete.estimators.base import CheckedCost

        self.forward = self.backward = 0.0
        log_likelihood, of = model.log_likelihood, model._log_likelihood_of

        def tagged(x, z, *, training=False):
            return self._tagged(log_likelihood(x, z, training=training), z.shape[0])

        def counted(x, training):
            function = of(x, training)
            neighbours = getattr(function, "neighbours", None)

            def count(z):
                self.forward += z.shape[0] * (z.shape[-2] * (z.shape[-1] - 1) + 1)
                return neighbours(z)

            if neighbours is not None:
                function.neighbours = count
            shared = getattr(function, "shared", None)
            if shared is not None:
                function.shared = lambda z: self._tagged(shared(z), z.shape[0])
            return function

        model.log_likelihood, model._log_likelihood_of = tagged, counted

        def differentiable(cost, y, whole=CheckedCost.differentiable):
            before = self.backward
            result = whole(cost, y)
            self.backward = before  # of a gradient that is looked for and not used, which the graph leaves out
            return result

        CheckedCost.differentiable = differentiable

    def _tagged(self, value, evaluations: int):
        """The value, which counts so many evaluations, and as many backward passes once it is differentiated."""
        import tensorflow as tf

        self.forward += evaluations

        @tf.custom_gradient
        def tag(value):
            def gradient(upstream):
                self.backward += evaluations
                return upstream

            return tf.identity(value), gradient

        return tag(value)


def make_model(contender: str, size, family="categorical", seed=0):
    import keras

    from tfdiscrete import families
    from tfdiscrete.experiments.gradients import estimator_of
    from tfdiscrete.models import DiscreteVAE, make_networks

    latents, categories = size
    options = {"num_categories": categories} if family != "gaussian" else {}
    family = families.get(family, **options)
    networks = make_networks(
        "mlp", data_shape=(DATA,), parameter_shape=(DATA,), num_latents=latents, family=family, seed=seed
    )
    model = DiscreteVAE(*networks, family=family, estimator=estimator_of(contender), seed=seed)
    model.compile(keras.optimizers.Adam(1e-3))
    model.optimizer.build(model.trainable_variables)
    return model


def compiled(function):
    import tensorflow as tf

    return tf.function(function, jit_compile=True, autograph=False)


def parts(x, size, family) -> dict:
    """The parts of every step, each compiled alone."""
    import numpy as np
    import tensorflow as tf

    estimators_of = {own: name for name, own in FAMILIES.items()}
    model = make_model(estimators_of.get(family, "straight_through_gumbel_softmax"), size, family)
    z = model.family.hard(model.posterior(x)).sample(1, seed=[0, 1])
    shape = (BATCH, *model.encoder.output_shape[1:])
    cotangent = tf.constant(np.random.default_rng(0).normal(size=shape).astype("float32"))
    decoder_gradients = [tf.ones_like(variable) for variable in model.decoder.trainable_variables]

    def encoder():
        variables = model.encoder.trainable_variables
        with tf.GradientTape() as tape:
            parameters = model.encoder(x, training=True)
            rate = model.prior.kl_divergence(model.family.distribution(parameters))
            loss = tf.reduce_mean(rate) + tf.reduce_sum(parameters * cotangent)
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


def measure(size, family: str, names, rounds: int, calls: int) -> list[dict]:
    """One row for each estimator that a posterior of this size and family allows."""
    import numpy as np
    import tensorflow as tf

    from tfdiscrete.errors import InputError

    x = tf.constant(np.random.default_rng(1).integers(2, size=(BATCH, DATA)).astype("float32"))
    contenders, counters = dict(parts(x, size, family)), {}
    for run in contenders.values():
        run()
    for name in names:
        try:
            model = make_model(name, size, family)
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
                "family": family,
                "estimator": name.partition(":")[0],
                "options": name.partition(":")[2],
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
    print(f"{size[0]}x{size[1]} {family}, parts in ms: {timings}")
    for row in sorted(rows, key=lambda row: row["milliseconds"]):
        print(
            f"  {row['estimator']:34s} {row['options']:36s} {row['milliseconds']:8.2f} ms  "
            f"n_f {row['evaluations']:5g}  n_g {row['backward_passes']:3g}  step / parts {row['ratio']:.2f}"
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
    groups: dict[tuple, list[dict]] = {}
    for row in rows:
        groups.setdefault((row["latents"], row["categories"], row["family"]), []).append(row)
    for (latents, categories, family), chosen in groups.items():
        kind = "" if family == "categorical" else f", {family.replace('_', ' ')} variables"
        lines += ["", f"## {latents}x{categories}, batch {BATCH}{kind}", ""]
        lines += ["| estimator | options | ms | steps/s | n_f | n_g | ratio |", "|---" * 7 + "|"]
        for row in sorted(chosen, key=lambda row: row["milliseconds"]):
            cells = [row["estimator"], row["options"].replace(",", ", ")]
            cells += [f"{row['milliseconds']:.2f}", f"{row['steps_per_second']:.0f}"]
            cells += [f"{row['evaluations']:g}", f"{row['backward_passes']:g}", f"{row['ratio']:.2f}"]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append(f"\nParts, in ms: {chosen[0]['parts_ms']}.")
    return "\n".join(lines) + "\n"


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", help="write OUT.json and OUT.md")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--calls", type=int, default=20)
    parser.add_argument("--estimators", nargs="+", metavar="NAME[:OPTIONS]", help="default: all, and variants of two")
    parsed = parser.parse_args(arguments)

    import tensorflow as tf

    from tfdiscrete import estimators
    from tfdiscrete.distributions import Family

    of_categories = [name for name, cls in estimators.REGISTRY.items() if cls.takes is Family]
    default = [
        *(f"{name}:{OPTIONS[name]}" if name in OPTIONS else name for name in of_categories),
        *VARIANTS,
        *FAMILIES,
    ]
    names = parsed.estimators or default
    by_family: dict[str, list[str]] = {}
    for name in names:
        by_family.setdefault(FAMILIES.get(name.partition(":")[0], "categorical"), []).append(name)
    rows = []
    for size in SIZES:
        for family, members in by_family.items():
            if family == "categorical" or size == SIZES[0]:
                rows += measure(size, family, members, parsed.rounds, parsed.calls)
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
