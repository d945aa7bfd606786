"""One error that a user can act on: it names what was found, what was expected and what to do."""

from collections.abc import Sequence
from difflib import get_close_matches


class SearchError(ValueError):
    """Settings, a name or a file with which no search can be made."""


def did_you_mean(name: str, valid: Sequence[str]) -> str:
    """Return ' Did you mean 'X'?' for the valid name closest to ``name``, or an empty text."""
    match = get_close_matches(name, valid, n=1, cutoff=0.6)
    return f" Did you mean '{match[0]}'?" if match else ""
