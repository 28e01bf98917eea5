"""Several stochastic layers of bits, each with its own gradient estimator: train, bound, look, save and export.

python examples/train_deep_vae.py --out runs/deep                                   # 8x8 digits, about a minute
python examples/train_deep_vae.py --dataset mnist --latents 200 200 --estimator relax --epochs 20

--estimator takes any name of `tfdiscrete.estimators`, such as relax, rebar, disarm, nvil or direct_arg_max, and
--networks mlp a hidden layer in each network. --smoke is a trial.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete.families import Bernoulli
from tfdiscrete.models import DEEP_NETWORKS, DeepDiscreteVAE, make_deep_networks
from tfdiscrete.serving import export_saved_model
from tfdiscrete.training import data
from tfdiscrete.training.pictures import reconstructions_figure, samples_figure, save_figure

SAMPLES = 100


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/deep"), help="where the files go")
    parser.add_argument("--dataset", choices=("digits", "mnist", "fashion_mnist"), default="digits")
    parser.add_argument("--latents", type=int, nargs="+", default=[40, 20], help="bits of each layer, from z1 up")
    parser.add_argument("--estimator", default="disarm")
    parser.add_argument("--networks", choices=DEEP_NETWORKS, default="linear")
    parser.add_argument("--epochs", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="one epoch, to see that it runs")
    return parser.parse_args()


def importance_weighted(model, x, seed) -> np.ndarray:
    """The bound on log p(x) by 100 samples of all layers, `[B]`."""
    bound = tf.function(lambda batch, number: model.bounds(batch, seed=[seed, number], num_samples=SAMPLES))
    starts = range(0, len(x), 50)
    return np.concatenate([bound(x[i : i + 50], tf.constant(i)).importance_weighted for i in starts])


def main():
    arguments = parse()
    digits = data.load(arguments.dataset, binarize="threshold")
    shape = digits.train.x.shape[1:]
    networks = make_deep_networks(
        arguments.networks,
        data_shape=shape,
        parameter_shape=shape,
        num_latents=arguments.latents,
        family=Bernoulli(),
        seed=arguments.seed,
    )
    vae = DeepDiscreteVAE(
        *networks, families="bernoulli", estimator=arguments.estimator, prior="learned", seed=arguments.seed
    )
    vae.compile(keras.optimizers.Adam(3e-3))
    epochs = 1 if arguments.smoke else arguments.epochs
    vae.fit(digits.train.x, validation_data=(digits.valid.x,), epochs=epochs, batch_size=100, verbose=2)

    figures = vae.evaluate(digits.test.x, return_dict=True, verbose=0)
    tighter = -importance_weighted(vae, digits.test.x[: 50 if arguments.smoke else None], arguments.seed).mean()
    print(f"test: -log p(x) <= {figures['loss']:.2f} nats = {figures['rate']:.2f} + {figures['distortion']:.2f}")
    print(f"test: -log p(x) <= {tighter:.2f} nats by {SAMPLES} importance-weighted samples")

    arguments.out.mkdir(parents=True, exist_ok=True)
    shown = digits.test.x[:20]
    pictures = {
        "reconstructions": reconstructions_figure(shown, vae.predict(shown, verbose=0)["reconstruction"]),
        "samples": samples_figure(vae.sample(64, tf.constant([arguments.seed, 0])).numpy()),
    }
    written = [save_figure(figure, arguments.out / f"{name}.png") for name, figure in pictures.items()]
    vae.save(arguments.out / "model.keras")
    exported = export_saved_model(vae, arguments.out / "exported")
    print(f"wrote {', '.join(map(str, [*written, arguments.out / 'model.keras']))} and")
    print(f"{exported}, whose signatures are encode, decode and sample")


if __name__ == "__main__":
    main()
