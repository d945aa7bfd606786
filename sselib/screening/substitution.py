"""New candidates by replacing ions in known structures, judged by data-mined substitution probabilities.

A host keeps its lithium; one or two of its other ions are replaced, everywhere, by an ion of the same
charge, so that the charge stays balanced. The probability is the product of the conditional probabilities
of Hautier et al., Inorg. Chem. 50, 656 (2011), doi 10.1021/ic102031h, as shipped with pymatgen. The cell is
scaled by ionic radii (reference lattice scaling, Chu et al., Comput. Mater. Sci. 146, 184 (2018),
doi 10.1016/j.commatsci.2018.01.040): a starting geometry, not a relaxed one.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import combinations, product
from math import prod

import pandas as pd
from pymatgen.analysis.prototypes import AFLOW_PROTOTYPE_LIBRARY
from pymatgen.core import Composition, Element, Species, Structure
from pymatgen.core.structure_prediction.substitution_probability import SubstitutionProbability

from sselib.columns import Entry
from sselib.errors import FormulaError
from sselib.materials.composition import parse_formula
from sselib.materials.element_data import element_facts
from sselib.materials.oxidation import IMBALANCED, METALLIC, assign_oxidation_states
from sselib.screening.candidates import Material, formula_of, formula_of_amounts

MOBILE_ION = "Li"
LIKE_LITHIUM: tuple[str, ...] = ("Na", "K", "Cu", "Ag")  # ions of prototypes that lithium may replace
# Radioactive elements and noble gases are never proposed.
EXCLUDED: frozenset[str] = frozenset(
    {s for s, facts in element_facts().items() if facts.is_radioactive} | {"He", "Ne", "Ar", "Kr", "Xe"}
)
_WHOLE = 0.01  # an average oxidation state this close to a whole number counts as whole


@dataclass(frozen=True)
class Host:
    """A known material that others are made from.

    ``states`` are whole oxidation states by element, of those elements that have one; ``probability`` is
    what making the host itself cost (below 1 for a prototype in which lithium replaced another ion).
    """

    id: str
    formula: str
    states: Mapping[str, int]
    structure: Structure
    probability: float = 1.0
    change: str = ""


def hosts_from_table(table: pd.DataFrame, crystals: Mapping[str, Structure]) -> Iterator[Host]:
    """Yield the labelled materials with a structure that contains lithium and has balanced charges.

    ``crystals`` are the structures of notebook 01 by id.
    """
    known = table.dropna(subset=Entry.STRUCTURE_ID).drop_duplicates(Entry.STRUCTURE_ID)
    columns = [Entry.ID, Entry.STRUCTURE_ID, Entry.FORMULA]
    for row_id, key, formula in known[columns].itertuples(index=False, name=None):
        if key in crystals:
            crystal = crystals[key]
            host = _host(str(row_id), crystal, formula=_per_formula_unit(crystal, formula))
            if host:
                yield host


def _per_formula_unit(crystal: Structure, formula: str) -> str:
    """Return the composition of the cell, per formula unit as the table writes it where the two agree."""
    amounts = crystal.composition.element_composition.get_el_amt_dict()
    try:
        ratio = sum(amounts.values()) / parse_formula(formula).num_atoms
    except FormulaError:  # a table's own notation, such as a hydrate
        return formula_of(crystal)
    if round(ratio) < 1 or abs(ratio / round(ratio) - 1) > 0.05:
        return formula_of(crystal)
    return formula_of_amounts({el: x / round(ratio) for el, x in amounts.items()})


@lru_cache(maxsize=1)
def prototype_hosts(max_sites: int = 60) -> tuple[Host, ...]:
    """Return hosts from the AFLOW prototypes that ship with pymatgen: those with Li, or with an ion like it.

    Na, K, Cu or Ag of charge +1 is replaced by lithium, which costs the probability of that replacement.
    Source of the prototypes: Mehl et al., Comput. Mater. Sci. 136, S1 (2017),
    doi 10.1016/j.commatsci.2017.01.017.
    """
    hosts = []
    for entry in AFLOW_PROTOTYPE_LIBRARY:
        crystal, name = entry["snl"].structure, f"aflow:{entry['tags']['aflow']}"
        if len(crystal) > max_sites or not crystal.is_ordered:
            continue
        crystal = Structure.from_sites(crystal.copy().remove_oxidation_states())
        if MOBILE_ION in crystal.symbol_set:
            hosts.append(_host(name, crystal))
        hosts += [_lithiated(name, crystal, ion) for ion in LIKE_LITHIUM if ion in crystal.symbol_set]
    return tuple(h for h in hosts if h)


def _lithiated(name: str, crystal: Structure, ion: str) -> Host | None:
    """Return the prototype with lithium in place of ``ion``, None where that ion is not +1."""
    if MOBILE_ION in crystal.symbol_set or _whole_states(crystal.composition).get(ion) != 1:
        return None
    with_lithium = replaced(crystal, {ion: MOBILE_ION}, _whole_states(crystal.composition))
    cost = substitution_probability(MOBILE_ION, 1, ion, 1)
    return _host(f"{name}:{ion}", with_lithium, probability=cost, change=f"{ion}→{MOBILE_ION}")


def _host(
    name: str, crystal: Structure, *, formula: str = "", probability: float = 1.0, change: str = ""
) -> Host | None:
    """Return the host, None without lithium or without balanced charges."""
    states = _whole_states(crystal.composition)
    if states.get(MOBILE_ION) != 1:
        return None
    return Host(name, formula or formula_of(crystal), states, crystal, probability, change)


def _whole_states(composition: Composition) -> dict[str, int]:
    """Return the elements with a whole oxidation state; empty where the charge is not balanced."""
    found = assign_oxidation_states(composition)
    if found.rule in (IMBALANCED, METALLIC):
        return {}
    return {el: round(q) for el, q in found.states.items() if abs(q - round(q)) < _WHOLE and round(q)}


_probabilities = lru_cache(maxsize=1)(SubstitutionProbability)


def substitution_probability(new: str, new_state: int, old: str, old_state: int) -> float:
    """Return how probable the ion ``new`` is in place of ``old``, 0 for ions not in the table."""
    table = _probabilities()
    ions = Species(new, new_state), Species(old, old_state)
    if not all(ion in table.species for ion in ions):
        return 0.0
    return float(table.cond_prob(*ions))


@lru_cache(maxsize=2000)
def partners(old: str, old_state: int, *, shift: int, threshold: float) -> tuple[tuple[str, float], ...]:
    """Return elements that may replace an ion, most probable first, with their probability.

    Their charge is ``old_state + shift``; anions are replaced by anions, cations by cations. Lithium and
    `EXCLUDED` elements are left out.
    """
    state = old_state + shift
    if state * old_state <= 0:
        return ()
    symbols = {ion.symbol for ion in _probabilities().species if ion.oxi_state == state}
    symbols -= {old, MOBILE_ION} | EXCLUDED
    found = [(s, substitution_probability(s, state, old, old_state)) for s in sorted(symbols)]
    return tuple(sorted((f for f in found if f[1] >= threshold), key=lambda f: (-f[1], f[0])))


def substituted(
    hosts: Iterable[Host],
    *,
    threshold: float = 0.005,
    max_replaced: int = 2,
    source: str = "substitution",
) -> Iterator[Material]:
    """Yield every host with one, or up to ``max_replaced``, of its ions replaced by ions of equal charge.

    The probability of the whole (host included) is at least ``threshold``; the host itself is not
    yielded, unless lithium was put into it. Candidates whose oxidation states do not come out as meant
    are left out: their charge would not be balanced in the way that the probability presumes.
    """
    for host in hosts:
        if host.change and host.probability >= threshold:
            yield _candidate(host, {}, host.probability, source)
        for n in range(1, max_replaced + 1):
            for olds in combinations(sorted(set(host.states) - {MOBILE_ION}), n):
                yield from _replacements(host, olds, threshold, source)


def _replacements(host: Host, olds: Sequence[str], threshold: float, source: str) -> Iterator[Material]:
    """Yield the host with all of these elements replaced, in every way probable enough."""
    limit = threshold / host.probability
    choices = [partners(old, host.states[old], shift=0, threshold=limit) for old in olds]
    for picks in product(*choices):
        probability = host.probability * prod(p for _, p in picks)
        news = [symbol for symbol, _ in picks]
        if probability >= threshold and len(set(news)) == len(news) and not set(news) & set(olds):
            mapping = dict(zip(olds, news, strict=True))
            candidate = _candidate(host, mapping, probability, source)
            if _as_meant(candidate.formula, host, mapping):
                yield candidate


def _candidate(host: Host, mapping: Mapping[str, str], probability: float, source: str) -> Material:
    amounts: dict[str, float] = {}
    for el, x in Composition(host.formula).get_el_amt_dict().items():
        amounts[mapping.get(el, el)] = amounts.get(mapping.get(el, el), 0.0) + x
    formula = formula_of_amounts(amounts)
    return Material(
        id=f"{source}:{host.id}:{'-'.join(mapping.values()) or 'Li'}:{formula}",
        formula=formula,
        source=source,
        parent=host.id,
        change=", ".join(filter(None, [host.change, *(f"{a}→{b}" for a, b in mapping.items())])),
        probability=probability,
        structure=partial(replaced, host.structure, mapping, host.states),
    )


def _as_meant(formula: str, host: Host, mapping: Mapping[str, str]) -> bool:
    """Return whether the composition is balanced with the charges that the substitution presumes."""
    found = _whole_states(Composition(formula))
    return all(found.get(new) == host.states[old] for old, new in mapping.items())


def replaced(structure: Structure, mapping: Mapping[str, str], states: Mapping[str, int]) -> Structure:
    """Return the structure with elements replaced everywhere and its cell scaled by ionic radii."""
    if not mapping:
        return structure
    new = structure.copy()
    new.replace_species(dict(mapping))
    new_states = {mapping.get(el, el): q for el, q in states.items()}
    ratio = _length(new.composition, new_states) / _length(structure.composition, states)
    new.scale_lattice(structure.volume * ratio**3)
    return new


def _length(composition: Composition, states: Mapping[str, int]) -> float:
    """Return the sum of radius times (number of ions)^(1/3), Angstrom, as in reference lattice scaling."""
    amounts = composition.element_composition.get_el_amt_dict()
    return sum(ionic_radius_angstrom(el, states.get(el, 0)) * x ** (1 / 3) for el, x in amounts.items())


@lru_cache(maxsize=500)
def ionic_radius_angstrom(symbol: str, state: int) -> float:
    """Return the ionic radius of an ion, else the average ionic or the atomic radius of its element."""
    element = Element(symbol)
    known = element.ionic_radii.get(state) or element.average_ionic_radius or element.atomic_radius
    return float(known or 1.0)
