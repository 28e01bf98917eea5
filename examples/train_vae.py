"""A `model.fit` script: train, look, save and export a categorical VAE with a learned prior.

python examples/train_vae.py --out runs/example            # about a minute; --smoke for a trial
"""

import argparse
from pathlib import Path

import keras
import tensorflow as tf

from tfdiscrete.estimators import StraightThroughGumbelSoftmax
from tfdiscrete.models import DiscreteVAE, make_networks
from tfdiscrete.priors import Learned
from tfdiscrete.serving import export_saved_model
from tfdiscrete.training import ExponentialAnnealing, data
from tfdiscrete.training.pictures import samples_figure, save_figure


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/example"), help="where the files go")
    parser.add_argument("--smoke", action="store_true", help="one epoch, to see that it runs")
    arguments = parser.parse_args()

    digits = data.load("digits", binarize="threshold")
    encoder, decoder = make_networks(
        "mlp", data_shape=(8, 8), parameter_shape=(8, 8), num_latents=10, num_categories=10
    )
    temperature = ExponentialAnnealing(1.0, rate=1e-4, minimum=0.3, every=100)
    estimator = StraightThroughGumbelSoftmax(temperature=temperature)
    vae = DiscreteVAE(encoder, decoder, estimator=estimator, prior=Learned(), seed=0)
    vae.compile(keras.optimizers.Adam(3e-3))
    vae.fit(
        digits.train.x,
        validation_data=(digits.valid.x,),
        epochs=1 if arguments.smoke else 200,
        batch_size=100,
        verbose=2,
    )
    figures = vae.evaluate(digits.test.x, return_dict=True, verbose=0)
    print(f"test: -log p(x) <= {figures['loss']:.2f} nats = {figures['rate']:.2f} + {figures['distortion']:.2f}")

    arguments.out.mkdir(parents=True, exist_ok=True)
    picture = save_figure(samples_figure(vae.sample(64, tf.constant([0, 0])).numpy()), arguments.out / "samples.png")
    vae.save(arguments.out / "model.keras")
    print(f"wrote {picture}, {arguments.out / 'model.keras'} and {export_saved_model(vae, arguments.out / 'exported')}")


if __name__ == "__main__":
    main()
