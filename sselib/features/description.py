"""What a feature is: its group, its unit, a sentence, and whether Kim et al. used it."""

from dataclasses import dataclass
from enum import StrEnum


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
