"""The columns of a screening, from `data/scores.yaml`: headings with units, formats, which way is better."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import yaml

from sselib.errors import DataError
from sselib.paths import project_root


@dataclass(frozen=True)
class Score:
    """One column, as the head of the file describes it."""

    heading: str = ""
    label: str = ""
    format: str = ""
    interval: Sequence[str] = ()
    better: str = ""
    weight: float = 0.0


@cache
def described_columns(table: str = "ranked") -> Mapping[str, Score]:
    """Return the columns of a table ("ranked" or "published") in their order.

    Raises `DataError` where the file describes a column by something that `Score` has not.
    """
    found = yaml.safe_load((project_root() / "data" / "scores.yaml").read_text(encoding="utf-8"))
    try:
        return {column: Score(**about) for column, about in found[table].items()}
    except TypeError as error:
        raise DataError(f"data/scores.yaml, {table}: {error}; see the head of the file") from error
