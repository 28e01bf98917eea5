"""What a person reads at the end of a run."""

import shlex
import shutil
import sys
from pathlib import Path

from rich.table import Table

from tfdiscrete.runs.folder import RunFolder


def metrics_table(metrics: dict, title: str) -> Table:
    """The figures of `evaluate_model` as a table; nats per example."""
    table = Table(title=title, title_justify="left")
    table.add_column("figure")
    table.add_column("value", justify="right")
    table.add_column("what it is")
    relaxed = metrics["relaxed_elbo"]
    stderr = metrics["iwae_100_stderr"]
    rows = [
        ("discrete ELBO", _nats(metrics["discrete_elbo"]), "hard samples: a bound on log p(x)"),
        ("relaxed ELBO", "-" if relaxed is None else _nats(relaxed), "relaxed samples: not a bound"),
        (
            "IWAE-100",
            _nats(metrics["iwae_100"]) + ("" if stderr is None else f" ± {stderr:.2f}"),
            "the tightest bound on log p(x) here, ± its standard error",
        ),
        ("rate", _nats(metrics["rate"]), "KL(q(z|x) || p(z))"),
        ("distortion", _nats(metrics["distortion"]), "-E log p(x|z)"),
        ("active units", f"{metrics['active_units']} of {metrics['num_latents']}", "latent variables that depend on x"),
    ]
    if metrics["num_codes"] is not None:
        used = f"{metrics['codes_used']} of {metrics['num_codes']}"
        rows += [
            ("codes used", used, "categories of active variables that are some x's likeliest"),
            (
                "distinct codes",
                f"{metrics['distinct_codes']}",
                f"different codes for {metrics['num_examples']} examples",
            ),
        ]
    for row in rows:
        table.add_row(*row)
    return table


def _nats(value: float) -> str:
    return f"{value:.2f} nats"


def next_steps(folder: RunFolder) -> str:
    """What was written where, and what to run next."""
    path = shlex.quote(str(folder.path))
    # Commands to paste: without an activated environment they need their path.
    here = "" if shutil.which("tfdiscrete") else f"{Path(sys.executable).parent}/"
    return "\n".join(
        [
            f"Written to {path}/",
            "  reconstructions.png  samples.png   look at these first",
            "  metrics.json  config.json          the figures, and what made them",
            "  model.keras                        keras.saving.load_model, after import tfdiscrete",
            "  saved_model/1/                     signatures encode, decode, sample; needs TensorFlow alone",
            "  tensorboard/                       curves, pictures and latent usage",
            "Next:",
            f"  {here}tensorboard --logdir {path}/tensorboard",
            f"  {here}tfdiscrete sample {path} --num 100",
            f"  {here}tfdiscrete serve {path}        (needs the extra: pip install 'tfdiscrete[serve]')",
        ]
    )
