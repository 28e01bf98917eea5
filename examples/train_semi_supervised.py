"""A classifier of digits from a few labels, and a generative model with it: train, evaluate, look, save and export.

python examples/train_semi_supervised.py --out runs/labels                         # 8x8 digits, about a minute
python examples/train_semi_supervised.py --dataset mnist --labels 100 --networks conv --epochs 60
python examples/train_semi_supervised.py --attributes --labels 200                 # even, at least five, inverted

--estimator enumeration sums over all labels; direct_arg_max, best with --task-loss, and gumbel_softmax sample them.
--smoke is a trial.
"""

import argparse
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from tfdiscrete import estimators
from tfdiscrete.models import LABEL_NETWORKS, SemiSupervisedVAE, make_label_networks
from tfdiscrete.objectives import CrossEntropy, TaskLoss
from tfdiscrete.serving import export_saved_model
from tfdiscrete.training import PartiallyLabelledBatches, RandomAffine, data, digit_attributes, hide_labels
from tfdiscrete.training.pictures import label_rows_figure, save_figure

# Other names are taken too, with their default settings.
OPTIONS = {
    # Towards lower cost; a larger epsilon follows the decoder too far while it still confuses labels.
    "direct_arg_max": {"epsilon": 0.1, "sign": -1},
    "gumbel_softmax": {"temperature": 0.5},
}


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/labels"), help="where the files go")
    parser.add_argument("--dataset", choices=("digits", "mnist", "fashion_mnist"), default="digits")
    parser.add_argument("--labels", type=int, default=50, help="how many examples keep their label")
    parser.add_argument("--estimator", default="enumeration")
    parser.add_argument("--task-loss", action="store_true", help="known labels enter the estimator's cost")
    parser.add_argument("--networks", choices=sorted(LABEL_NETWORKS), default="dense")
    parser.add_argument("--style-size", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--attributes", action="store_true", help="three binary labels instead of ten classes")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--smoke", action="store_true", help="one epoch, to see that it runs")
    return parser.parse_args()


def main():
    arguments = parse()
    digits = data.load(arguments.dataset, binarize="threshold")
    if arguments.attributes:
        (x, y), (test_x, test_y) = digit_attributes(digits.train, seed=0), digit_attributes(digits.test, seed=1)
        shape = {"num_classes": 2, "num_attributes": 3}
        # What is outside of an inverted image is not 0.
        augment = None
    else:
        (x, y), (test_x, test_y) = ((split.x, split.y.astype(int)) for split in (digits.train, digits.test))
        shape = {"num_classes": 10}
        augment = RandomAffine(shift=x.shape[1] / 14, degrees=10.0, zoom=0.1, shear=0.1)
    batches = PartiallyLabelledBatches(
        x,
        hide_labels(y, arguments.labels, seed=arguments.seed),
        labelled=20,
        unlabelled=100,
        seed=arguments.seed,
        augment=augment,
    )
    epochs = 1 if arguments.smoke else arguments.epochs
    networks = make_label_networks(
        arguments.networks,
        data_shape=x.shape[1:],
        parameter_shape=x.shape[1:],
        style_size=arguments.style_size,
        seed=arguments.seed,
        **shape,
    )
    estimator = estimators.get(arguments.estimator, **OPTIONS.get(arguments.estimator, {}))
    supervision = TaskLoss() if arguments.task_loss else CrossEntropy(50.0)
    vae = SemiSupervisedVAE(*networks, estimator=estimator, supervision=supervision, seed=arguments.seed)
    decay = keras.optimizers.schedules.CosineDecay(1e-3, epochs * batches.steps_per_epoch)
    vae.compile(keras.optimizers.Adam(decay))
    vae.fit(batches.dataset, epochs=epochs, callbacks=[batches], shuffle=False, verbose=2)

    figures = vae.evaluate(test_x, test_y, return_dict=True, verbose=0)
    hits = vae.predict(test_x, verbose=0).argmax(-1) == test_y
    print(f"test: -log p(x) <= {figures['loss']:.2f} nats, accuracy {100 * hits.mean():.2f} %")
    if arguments.attributes:
        print("accuracy of even, at least five and inverted:", np.round(100 * hits.mean(0), 2))

    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = vae.rows(10, tf.constant([arguments.seed, 0]))
    picture = save_figure(label_rows_figure(rows), arguments.out / "rows.png")
    vae.save(arguments.out / "model.keras")
    exported = export_saved_model(vae, arguments.out / "exported")
    print(f"wrote {picture} (a row for each label, each column in one style), {arguments.out / 'model.keras'} and")
    print(f"{exported}, whose signatures are classify, decode and sample")


if __name__ == "__main__":
    main()
