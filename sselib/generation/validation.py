"""Is a generated crystal plausible, and is it the known one? Distances, charges, symmetry, matches."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
import yaml
from ase.data import covalent_radii
from pymatgen.analysis.structure_matcher import StructureMatcher
from pymatgen.core import Composition, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from crystal_search.ionic import ionic_radius
from crystal_search.population import MATCHER
from sselib.materials.oxidation import assign_oxidation_states
from sselib.paths import project_root

CUTOFF_ANGSTROM = 4.0  # Angstrom, within which distances are looked at
SHORTEST_ALLOWED = 0.7  # of the sum of covalent radii
LARGEST_IMBALANCE = 0.05  # elementary charges per atom
SYMMETRY_PRECISION_ANGSTROM = 0.1  # Angstrom
LENGTHS = ("short_angstrom", "middle_angstrom", "long_angstrom")  # of a cell, sorted
WIDE = {"ltol": 0.5, "stol": 1.0, "angle_tol": 15}  # tolerances that let Kim et al.'s pairs through


def closest_pair(structure: Structure) -> dict[str, object]:
    """Return the pair of neighbours that is closest for its kind in an ordered structure, images included.

    ``closest_pair`` and its ``closest_distance_angstrom``; ``covalent_ratio`` and ``ionic_ratio`` are
    distances over sums of covalent and of ionic radii; the ionic one is of the closest cation-anion pair and
    NaN where a radius is unknown.
    """
    i, j, _, d = structure.get_neighbor_list(CUTOFF_ANGSTROM)
    keys = ("closest_pair", "closest_distance_angstrom", "covalent_ratio", "ionic_ratio")
    if not len(d):
        return dict(zip(keys, ("", np.inf, np.inf, np.nan), strict=True))
    symbols = [site.specie.symbol for site in structure]
    covalent = covalent_radii[np.array(structure.atomic_numbers)]
    ratio = d / (covalent[i] + covalent[j])
    k = int(ratio.argmin())
    states = assign_oxidation_states(structure.composition.element_composition).states
    charge, ionic = np.array([(states[s], ionic_radius(s, states[s])) for s in symbols]).T
    ionic_ratio = (d / (ionic[i] + ionic[j]))[charge[i] * charge[j] < 0]
    lowest = float(np.nanmin(ionic_ratio)) if np.isfinite(ionic_ratio).any() else np.nan
    pair = "-".join(sorted((symbols[i[k]], symbols[j[k]])))
    return dict(zip(keys, (pair, float(d[k]), float(ratio[k]), lowest), strict=True))


def match(structure: Structure, reference: Structure | None) -> dict[str, object]:
    """Compare a structure with a reference by pymatgen's StructureMatcher; nothing known without a reference.

    ``matches`` within its default tolerances (site tolerance 0.3). ``rms`` is divided by (V/N)^(1/3),
    ``rms_angstrom`` is in Angstrom; both come from wide tolerances where the default ones find no mapping,
    NaN where none is found at all. Kim et al. print 0.320 and 0.521 of such an rms as Angstrom.
    """
    if reference is None:
        return {"matches": None, "rms": np.nan, "rms_angstrom": np.nan}
    found = MATCHER.get_rms_dist(structure, reference)
    near = found or StructureMatcher(**WIDE).get_rms_dist(structure, reference)
    rms = float(near[0]) if near else np.nan
    length = float(np.mean([s.volume / len(s) for s in (structure, reference)])) ** (1 / 3)
    return {"matches": found is not None, "rms": rms, "rms_angstrom": rms * length}


def validation_record(
    structure: Structure, *, energy_ev_atom: float, reference: Structure | None = None
) -> dict[str, object]:
    """Return one row of the validation table; columns with match are missing without a reference.

    ``plausible`` means: no pair below 0.7 of its covalent radii, and charges balanced within 0.05 per
    atom. ``space_group`` is found with 0.1 Angstrom.
    """
    pair = closest_pair(structure)
    charge = assign_oxidation_states(structure.composition.element_composition)
    analyser = SpacegroupAnalyzer(structure, symprec=SYMMETRY_PRECISION_ANGSTROM)
    found = match(structure, reference)
    return {
        "formula": structure.composition.reduced_formula,
        "n_atoms": len(structure),
        "energy_ev_atom": energy_ev_atom,
        "volume_angstrom3_atom": structure.volume / len(structure),
        "density_g_cm3": float(structure.density),
        "space_group": analyser.get_space_group_symbol(),
        "space_group_number": analyser.get_space_group_number(),
        **pair,
        "charge_imbalance_per_atom": charge.imbalance_per_atom,
        "plausible": pair["covalent_ratio"] >= SHORTEST_ALLOWED
        and charge.imbalance_per_atom <= LARGEST_IMBALANCE,
        "matches_reference": found["matches"],
        "rms": found["rms"],
        "rms_angstrom": found["rms_angstrom"],
    }


def lattice_comparison(pairs: Mapping[str, tuple[Structure, Structure | None]]) -> pd.DataFrame:
    """Return generated and reference lattices side by side, as in Kim et al.'s Table 6.

    Lengths of the primitive cells (theirs have as many atoms), Niggli-reduced, in Angstrom; sorted, because
    the order of the axes means nothing; volume per atom in Angstrom^3; rms from `match`. Without a reference
    the generated one stands alone.
    """
    rows = []
    for name, (generated, reference) in pairs.items():
        agreement = match(generated, reference)
        for which, structure in (("generated", generated), ("reference", reference)):
            if structure is not None:
                rows.append({"compound": name, "structure": which, **_lattice(structure), **agreement})
    return pd.DataFrame(rows)


def _lattice(structure: Structure) -> dict[str, object]:
    """Return atoms, space group and sorted lengths of the reduced primitive cell, and the volume per atom."""
    cell = SpacegroupAnalyzer(structure, symprec=SYMMETRY_PRECISION_ANGSTROM)
    reduced = cell.find_primitive().get_reduced_structure()
    return {
        "n_atoms": len(reduced),
        "space_group": cell.get_space_group_symbol(),
        **dict(zip(LENGTHS, sorted(reduced.lattice.abc), strict=True)),
        "volume_angstrom3_atom": structure.volume / len(structure),
    }


def published_lattices(formulas: Sequence[str]) -> pd.DataFrame:
    """Return the lattices of Kim et al.'s Table 6 (`data/kim_table6.yaml`) for these reduced formulas.

    Columns as in `lattice_comparison` where the paper gives them; no rows for other formulas.
    """
    text = (project_root() / "data" / "kim_table6.yaml").read_text(encoding="utf-8")
    rows = [
        {**row, **dict(zip(LENGTHS, sorted(row["lengths_angstrom"]), strict=True))}
        for row in yaml.safe_load(text)
        if Composition(row["compound"]).reduced_formula in formulas
    ]
    return pd.DataFrame(rows, columns=["compound", "structure", "n_atoms", *LENGTHS])
