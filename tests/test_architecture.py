"""The house's rules: imports point down, and the public names are what the documents promise."""

import ast
from pathlib import Path

import pytest

import tfdiscrete

PACKAGE = Path(tfdiscrete.__file__).parent
LEVELS = {
    "errors": -1,
    "version": -1,
    "ops": 0,
    "bijectors": 1,
    "distributions": 2,
    "estimators": 3,
    "families": 3,
    "layers": 3,
    "priors": 4,
    "objectives": 4,
    "metrics": 4,
    "models": 5,
    "training": 6,
    "serving": 6,
    "runs": 7,
    "experiments": 8,
    "cli": 9,
    "__main__": 10,
    "__init__": 11,
}


def imported_parts(source: str) -> set[str]:
    """The parts of the package that a file imports, wherever in it the import stands."""
    parts = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "tfdiscrete":
            below = node.module.split(".")[1:]
            parts |= {below[0]} if below else {alias.name for alias in node.names}
        elif isinstance(node, ast.Import):
            names = (alias.name.split(".") for alias in node.names)
            parts |= {name[1] for name in names if name[0] == "tfdiscrete" and len(name) > 1}
    return parts


def upward_imports(part: str, source: str) -> set[str]:
    return {other for other in imported_parts(source) if other != part and LEVELS[other] >= LEVELS[part]}


def files():
    return [path for path in sorted(PACKAGE.rglob("*.py")) if path.name != "__init__.py" or path.parent != PACKAGE]


@pytest.mark.parametrize("path", files(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path):
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert upward_imports(part, path.read_text()) == set()


@pytest.mark.parametrize(
    "source", ["from tfdiscrete.models import DiscreteVAE", "import tfdiscrete.cli", "from tfdiscrete import runs"]
)
def test_an_upward_import_is_found(source):
    assert upward_imports("layers", f"def f():\n    {source}\n")


def test_sideways_imports_count_as_upward():
    assert upward_imports("training", "from tfdiscrete.serving import serve") == {"serving"}


def test_every_part_has_a_level():
    parts = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").is_file()}
    assert parts == set(LEVELS)
