"""`tfdiscrete fit-pmf`."""

import argparse

from tfdiscrete.cli.parser import add_command


def add(commands) -> argparse.ArgumentParser:
    """Describes the command."""
    parser = add_command(
        commands,
        "fit-pmf",
        run,
        "Fit relaxed families to a discrete law; draw the fits and print their total variation.",
        "  tfdiscrete fit-pmf                                  # three laws, into fit-pmf/\n"
        "  tfdiscrete fit-pmf binomial --temperature 0.5\n"
        "  tfdiscrete fit-pmf 10,1,5,1 --families gumbel_softmax invertible_gaussian",
    )
    parser.add_argument(
        "laws",
        metavar="LAW",
        nargs="*",
        help="binomial, eleven_points or negative_binomial, or weights such as 10,1,5,1 (default: the three)",
    )
    parser.add_argument(
        "--families",
        metavar="NAME",
        nargs="+",
        help="gumbel_softmax, invertible_gaussian, stick_breaking (default: all)",
    )
    parser.add_argument("--temperature", type=float, default=0.1, help="of the relaxed samples (default 0.1)")
    parser.add_argument("--num-samples", type=int, default=1000, help="samples drawn in each panel (default 1000)")
    parser.add_argument("--seed", type=int, default=0, help="of the fit and the samples (default 0)")
    parser.add_argument("--out", default="fit-pmf", help="the pictures' folder (default fit-pmf)")
    return parser


def run(parsed) -> None:
    """Runs it."""
    from rich.console import Console
    from rich.table import Table

    from tfdiscrete.experiments import fit_pmf

    results = fit_pmf.run(
        parsed.laws or fit_pmf.LAWS,
        families=parsed.families or fit_pmf.FAMILIES,
        out=parsed.out,
        temperature=parsed.temperature,
        num_samples=parsed.num_samples,
        seed=parsed.seed,
    )
    table = Table("law", "family", "total variation", title="fits to a discrete law")
    for path, fits in results:
        for fit in fits:
            table.add_row(path.stem, fit.family, f"{fit.total_variation:.1e}")
    Console().print(table)
    for path, _ in results:
        print(f"wrote {path}")
