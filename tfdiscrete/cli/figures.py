"""A run's figures as a table in the terminal."""


def print_figures(recipe, metrics: dict, title: str) -> None:
    """Prints a run's figures; imports rich first."""
    from rich.console import Console

    from tfdiscrete.runs import metrics_table

    Console().print(metrics_table(recipe, metrics, title))
