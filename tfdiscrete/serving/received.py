"""What was received, as a message shows it: in a few words, without a walk through all of it, however long or deep."""

from collections.abc import Iterable
from itertools import islice

_MOST_NAMES = 10
_MOST_CHARACTERS = 80


def brief(value: object) -> str:
    """A decoded JSON value: what it is, where it is a list or an object, and else its beginning."""
    if isinstance(value, list) and value:
        return f"a list of {len(value)}"
    if isinstance(value, dict) and value:
        return f"an object of {len(value)}"
    return clip(str(value))


def clip(text: str) -> str:
    """Its beginning."""
    return text if len(text) <= _MOST_CHARACTERS else f"{text[:_MOST_CHARACTERS]}..."


def names(received: Iterable[str]) -> str:
    """Names in brackets, in order; of very many some."""
    shown = list(islice(received, _MOST_NAMES + 1))
    listed = ", ".join(sorted(repr(clip(name)) for name in shown[:_MOST_NAMES]))
    return f"[{listed}{', ...' if len(shown) > _MOST_NAMES else ''}]"
