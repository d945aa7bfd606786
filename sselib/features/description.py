"""What a feature is: its group, its unit, a sentence, and whether Kim et al. used it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import pandas as pd
import yaml

from sselib.errors import SchemaError
from sselib.paths import project_root

FILE = "data/features.yaml"


class Group(StrEnum):
    """The groups of features; models are trained on one or more of them."""

    STOICHIOMETRIC = "stoichiometric"  # element fractions
    ELEMENTAL = "elemental"  # statistics of element properties
    GEOMETRIC = "geometric"  # cell, density, volumes: those of Kim et al. and two more
    PORES = "pores"  # Zeo++ and the grid
    LATTICE_INVARIANT = "lattice_invariant"  # the cell, whatever its setting
    DISORDER = "disorder"
    SYMMETRY = "symmetry"
    FORMULA = "formula"  # fixed columns of any formula, see sselib.features.formula
    ENVIRONMENT = "environment"  # surroundings of the mobile ion, see sselib.features.structure


@dataclass(frozen=True)
class Feature:
    """One column of the feature table. ``unit`` is "1" for a pure number."""

    name: str
    group: Group
    unit: str
    description: str
    kim: bool = False  # True: one of the features of Kim et al.


@cache
def _listed() -> dict[str, dict[str, dict[str, object]]]:
    content = yaml.safe_load((project_root() / FILE).read_text(encoding="utf-8"))
    for group, features in content.items():
        wrong = [n for n, f in features.items() if not {"unit", "text"} <= set(f) <= {"unit", "text", "kim"}]
        if group not in list(Group) or wrong:
            raise SchemaError(f"{FILE}, {group}: {wrong}: expected a group of {list(Group)}, unit and text")
    return content


def described(*groups: Group, ion: str = "Li", probe: str = "") -> list[Feature]:
    """Return the features of `FILE` that are in these groups; ``ion`` and ``probe`` stand in their texts."""
    words = {"ion": ion, "ion_name": ion.lower(), "probe": probe}
    return [
        Feature(name.format(**words), g, f["unit"], f["text"].format(**words), f.get("kim", False))
        for g in groups
        for name, f in _listed()[g].items()
    ]


def names(*groups: Group) -> tuple[str, ...]:
    """Return the names of the features that are in these groups."""
    return tuple(f.name for f in described(*groups))


def groups_frame(features: Sequence[Feature]) -> pd.DataFrame:
    """Return one row per feature: feature, group, kim, unit, description."""
    rows = [(f.name, str(f.group), f.kim, f.unit, f.description) for f in features]
    return pd.DataFrame(rows, columns=["feature", "group", "kim", "unit", "description"])
