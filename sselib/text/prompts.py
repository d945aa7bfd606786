"""Prompts: what a language model is told about a material, in the four cases of Kim et al.

The texts lie in `data/prompts.yaml` with a version. Case 1 is the formula, case 2 adds the space group,
case 3 the disorder class, case 4 both (Kim et al., Tables 3 and 4).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd
import spglib
import yaml
from pymatgen.core import Element

from sselib.columns import Curated, Entry, StructureTable
from sselib.errors import ParameterError, nearest
from sselib.features.symmetry import space_group_of
from sselib.materials.composition import parse_formula
from sselib.materials.structures import structure_from_json
from sselib.paths import project_root

UNKNOWN = "unknown"
CASES: tuple[str, ...] = ("case1_formula", "case2_symmetry", "case3_disorder", "case4_both")


@dataclass(frozen=True)
class PromptSet:
    """One way to put a material into words.

    ``system`` states the task (empty for an encoder), ``cases`` maps a case to its template, ``decimals``
    is the number of decimals of an answer.
    """

    name: str
    version: int
    source: str
    system: str
    cases: Mapping[str, str]
    decimals: int

    def render(self, fields: Mapping[str, str], *, case: str) -> str:
        """Return the user's text for one material. Raises `ParameterError` for an unknown case."""
        require_cases([case])
        return self.cases[case].format(**fields)


def require_cases(cases: Sequence[str]) -> None:
    """Raise `ParameterError` for a prompt case that does not exist."""
    for case in cases:
        if case not in CASES:
            raise ParameterError(
                f"prompt case {case!r} is unknown: expected one of {', '.join(CASES)}."
                f"{nearest(case, list(CASES))}"
            )


def load_prompts(name: str) -> PromptSet:
    """Return the prompts named ``tagged`` (Kim et al.) or ``spelled`` (for encoders)."""
    document = yaml.safe_load((project_root() / "data" / "prompts.yaml").read_text(encoding="utf-8"))
    known = document["prompts"]
    if name not in known:
        raise ParameterError(
            f"prompts {name!r} are unknown: expected one of {', '.join(known)}.{nearest(name, list(known))}"
        )
    return PromptSet(name=name, version=int(document["version"]), **known[name])


def spelled_amounts(formula: str) -> str:
    """Return mole percent and names of the elements, largest first: "60 chlorine, 30 lithium, 10 yttrium"."""
    fractions = parse_formula(formula).fractional_composition.get_el_amt_dict()
    ordered = sorted(fractions.items(), key=lambda item: (-round(100 * item[1]), item[0]))
    return ", ".join(f"{round(100 * x)} {Element(symbol).long_name.lower()}" for symbol, x in ordered)


def prompt_fields(table: pd.DataFrame, structures: pd.DataFrame) -> pd.DataFrame:
    """Return formula, amounts, symmetry and disorder of each row, as texts, indexed by id.

    ``table`` is curated rows, ``structures`` the structures table. The space group is that of the source's
    table by its number, else what spglib finds in the structure, else "unknown"; the disorder class is read
    off the structure's occupancies in notebook 01, "unknown" without a structure. Quotes in a formula are
    dropped.
    """
    disorder = table[Curated.DISORDER_CLASS].astype(object)
    return pd.DataFrame(
        {
            "formula": table[Entry.FORMULA].str.replace(r"[\"'\s]", "", regex=True).to_numpy(),
            "amounts": [spelled_amounts(f) for f in table[Entry.COMPOSITION]],
            "symmetry": [space_group_symbol(n) for n in space_groups(table, structures)],
            "disorder": disorder.where(disorder.notna(), UNKNOWN).to_numpy(),
        },
        index=pd.Index(table[Entry.ID], name=Entry.ID),
    )


@lru_cache(maxsize=1)
def _symbols() -> Mapping[int, str]:
    """Return the short Hermann-Mauguin symbol of each space group in its first setting."""
    types = [spglib.get_spacegroup_type(hall) for hall in range(1, 531)]
    return {t.number: t.international_short.replace("_", "") for t in reversed(types)}


def space_group_symbol(number: int) -> str:
    """Return the short symbol of a space group, for example "P-3m1" for 164; "unknown" for 0."""
    return _symbols()[number] if number else UNKNOWN


def space_groups(table: pd.DataFrame, structures: pd.DataFrame) -> list[int]:
    """Return the space-group number of each row, 0 where neither the table nor a structure tells it."""
    texts = structures.set_index(StructureTable.STRUCTURE_ID)[StructureTable.STRUCTURE_JSON]
    given = table[Entry.SPACE_GROUP_NUMBER].fillna(0).astype(int)
    return [
        space_group_of(structure_from_json(texts[key])) if not number and key in texts.index else number
        for number, key in zip(given, table[Entry.STRUCTURE_ID], strict=True)
    ]


def render_all(fields: pd.DataFrame, *, prompts: PromptSet, case: str) -> list[str]:
    """Return the user's text of every row of `prompt_fields`, in order."""
    return [prompts.render(row, case=case) for row in fields.to_dict("records")]
