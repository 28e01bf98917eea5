"""A VQ-VAE and its prior: images become 7x7 codes, and new ones are drawn from a Transformer over those codes.

python examples/train_vq_vae.py --out runs/vq_vae       # Fashion-MNIST, about half an hour on two cores
python examples/train_vq_vae.py --data digits --epochs 60 --prior-epochs 60     # a minute; --smoke for a trial
"""

import argparse
from pathlib import Path

import keras
import tensorflow as tf

from tfdiscrete.models import VectorQuantizedVAE, make_grid_networks
from tfdiscrete.objectives import FixedGaussian
from tfdiscrete.serving import export_saved_model
from tfdiscrete.training import data
from tfdiscrete.training.pictures import code_maps_figure, reconstructions_figure, samples_figure, save_figure


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="fashion_mnist", help="fashion_mnist, mnist, digits, ...")
    parser.add_argument("--out", type=Path, default=Path("runs/vq_vae"), help="where the files go")
    parser.add_argument("--quantizer", default="vector", help="vector, product, residual, rotation, ...")
    parser.add_argument("--epochs", type=int, default=10, help="of the autoencoder")
    parser.add_argument("--prior-epochs", type=int, default=10, help="of the prior")
    parser.add_argument("--smoke", action="store_true", help="one epoch of each on digits, to see that it runs")
    arguments = parser.parse_args()
    if arguments.smoke:
        arguments.data, arguments.epochs, arguments.prior_epochs = "digits", 1, 1
    return arguments


def make_vae(image_shape, quantizer) -> VectorQuantizedVAE:
    likelihood = FixedGaussian(0.25)
    encoder, decoder = make_grid_networks(
        "residual",
        data_shape=image_shape,
        parameter_shape=likelihood.parameter_shape(image_shape),
        dimension={"finite_scalar": 3, "lookup_free": 8}.get(quantizer, 16),
    )
    vae = VectorQuantizedVAE(encoder, quantizer, decoder, likelihood=likelihood, prior="autoregressive", seed=0)
    vae.compile(keras.optimizers.Adam(1e-3))
    return vae


def main():
    arguments = parse()
    keras.utils.set_random_seed(0)
    images = data.load(arguments.data)
    vae = make_vae(images.train.x.shape[1:], arguments.quantizer)
    vae.fit(images.train.x, validation_data=(images.valid.x,), epochs=arguments.epochs, batch_size=64, verbose=2)
    vae.fit_prior(
        images.train.x, validation_data=images.valid.x, epochs=arguments.prior_epochs, batch_size=64, verbose=2
    )

    figures = vae.evaluate(images.test.x, return_dict=True, verbose=0)
    print(
        f"test: squared error {figures['reconstruction_error']:.5f} a pixel, "
        f"{100 * figures['codebook_usage']:.0f} % of the codes in use, perplexity {figures['codebook_perplexity']:.0f}"
    )
    shown = images.test.x[:10]
    between = vae.interpolate(shown[:8], shown[1:9], 8).numpy().reshape(-1, *shown.shape[1:])
    outputs = vae.predict(shown, verbose=0)
    print("the codes of the first test image:")
    print(outputs["index"][0])

    arguments.out.mkdir(parents=True, exist_ok=True)
    pictures = {
        "reconstructions": reconstructions_figure(shown, outputs["reconstruction"]),
        "codes": code_maps_figure(shown, outputs["index"], outputs["reconstruction"], vae.quantizer.num_codes),
        "samples": samples_figure(vae.sample(64, tf.constant([0, 0])).numpy()),
        "interpolation": samples_figure(between),
    }
    for name, figure in pictures.items():
        print(f"wrote {save_figure(figure, arguments.out / f'{name}.png')}")
    vae.save(arguments.out / "model.keras")
    print(f"wrote {arguments.out / 'model.keras'} and {export_saved_model(vae, arguments.out / 'exported')}")


if __name__ == "__main__":
    main()
