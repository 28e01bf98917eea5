"""The runs behind a table: each row is a `Recipe`, trained once, continued if it was cut off, and read again."""

import fnmatch
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

from tfdiscrete.errors import InputError
from tfdiscrete.runs import Recipe, RunFolder, recipes, train


def finished_rows(
    configs: Mapping[str, Callable[[], Recipe]],
    runs_folder: Path,
    table: Path,
    only: str | None = None,
    *,
    continues: Mapping[str, str] | None = None,
) -> list[dict]:
    """Trains what is not yet trained.

    Args:
        configs: the settings of each row by its name, in the table's order.
        runs_folder: where the runs are, `TABLE-ROW`.
        table: the JSON file that the rows are written to, whose name is the table's.
        only: a pattern such as "20x2-*"; other rows are read if they are finished. Those without a finished run stay
            as they are in the file if their settings are the same, and are left out if not.
        continues: rows that begin as a copy of another, finished one, and are resumed with their own settings.

    Returns:
        For each finished row its name, its command, its metrics and what `RunFolder.read_record` gives.

    Raises:
        InputError: for a pattern without a row, or a folder with a run of other settings.
    """
    prefix = table.stem
    chosen = fnmatch.filter(configs, only or "*")
    if not chosen:
        raise InputError(f"no row of {prefix} is like {only!r}. Known: {', '.join(configs)}.")
    earlier = _earlier_rows(table)
    rows = []
    for name, config_of in configs.items():
        folder, config = _folder(runs_folder, prefix, name), config_of()
        first = (continues or {}).get(name)
        # A copy that was interrupted before it went on.
        stale = first is not None and folder.is_finished and folder.read_recipe() != config
        if name not in chosen and (stale or not folder.is_finished):
            if name in earlier and _has_settings(earlier[name], config):
                rows.append(earlier[name])
            continue
        if first is not None and not folder.is_run:
            _copy(_folder(runs_folder, prefix, first), configs[first](), folder)
            stale = True
        if stale or not folder.is_finished:
            train(config, folder.path, resume=folder.is_run)
        if folder.read_recipe() != config:
            raise InputError(
                f"{folder.path} holds a run with other settings than this table's. Remove it, or name another --runs."
            )
        record = folder.read_record()
        rows.append({"row": name, "command": command(record["config"]), **record, "metrics": folder.read_metrics()})
    return rows


def _earlier_rows(table: Path) -> dict[str, dict]:
    """The rows of the table as it was written last."""
    if not table.is_file():
        return {}
    try:
        return {row["row"]: row for row in json.loads(table.read_text())["rows"]}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{table} is not a table of this experiment ({type(error).__name__}: {error}). Remove it, or name another "
            f"--out."
        ) from error


def _has_settings(row: dict, config: Recipe) -> bool:
    try:
        return recipes.from_json(row["config"]) == config
    except InputError:  # settings that exist no longer
        return False


def _folder(runs_folder: str | os.PathLike, prefix: str, row: str) -> RunFolder:
    return RunFolder(Path(runs_folder) / f"{prefix}-{row}")


def _copy(first: RunFolder, config: Recipe, folder: RunFolder) -> None:
    """Copies a run, which is trained if it is not finished; beside the place, and then renamed."""
    if folder.path.exists():
        raise InputError(f"{folder.path} exists and is not a run. Remove it, or name another --runs.")
    if not first.is_finished:
        train(config, first.path, resume=first.is_run)
    if not any(first.backup.glob("epoch-*")):
        raise InputError(f"{first.path} has no backups to go on from. Remove it to train it anew.")
    partial = folder.path.with_name(f"{folder.path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(first.path, partial)
    os.replace(partial, folder.path)


def command(config: dict) -> str:
    """The command line that repeats a run."""
    options = " ".join(f"--{name.replace('_', '-')} {value}" for name, value in config.items() if value != "")
    return f"tfdiscrete train {options}"
