"""Inputs as people publish them: each is read right or refused with one clear line, never wrong in silence.

The numbers are those of a collection of public bug reports and tables; the files here are our own.
"""

import random
import re
from pathlib import Path

import pytest
from pymatgen.core import Composition
from pymatgen.symmetry.groups import SpaceGroup

from sselib.columns import Entry
from sselib.errors import DataError, FormulaError, SSEError
from sselib.materials.cif import CifContent, inspect_cif
from sselib.materials.composition import canonical
from sselib.materials.formula_input import read_formula
from sselib.sources import own

# --- formulas: as written -> composition, or what the refusal says

FORMULAS = {
    1: {
        "LiPON (Li2.88PO3.73N0.14)": "Li2.88PO3.73N0.14",
        "Li14Zn(GeO4)4 (LiSICON)": "Li14ZnGe4O16",
        "LiTi2(PO4)3 (NaSICON)": "LiTi2P3O12",
        "LiSiON": "!oxynitride glass",
    },
    2: {"Li2O.2SiO2": "Li2Si2O5", "Li2O.2B2O3": "Li2B4O7", "LiCl.2AlCl3": "LiAl2Cl7"},
    4: {
        "Li3.5Si0.5P05S4": "!P0.5 or PO5",
        "LiHf2(P04)3": "!P0.4 or PO4",
        "Li03La0.557TiO3": "!Li0.3 or LiO3",
        "Li7La3Zr2012": "!Zr2012 or Li7La3Zr2O12",
    },
    5: {"Li6PS5Cl.18": "!citation", "LiCl.": "LiCl", "β-Li3PS4.": "Li3PS4"},
    8: {"Li3InCl6.2H2O": "Li3InCl6H4O2", "LiNO3.3H2O": "LiNO6H6", "Li3PS4 2": "!not clear what '2' counts"},
    37: {"0.2(Li2S) 0.8(GeS2)": "Li0.4Ge0.8S1.8", "LiTi2(PO4)3_167": "LiTi2P3O12", "Li2TiO3_15": "Li2TiO3"},
}


@pytest.mark.parametrize(
    ("text", "right"), [pair for case in FORMULAS.values() for pair in case.items()], ids=str
)
def test_a_formula_is_read_right_or_refused(text: str, right: str) -> None:
    if right.startswith("!"):
        with pytest.raises(FormulaError, match=re.escape(right[1:])):
            read_formula(text)
        return
    reading = read_formula(text)
    assert canonical(reading.composition) == canonical(Composition(right))
    assert reading.notes or text == right


# --- tables: file content -> (log10 sigma, temperature) of each row

TABLES = {
    "10 superscripts": (
        "formula,conductivity\nLiI,1.9×10⁻³ S cm⁻¹\nLiF,1.2·10−2 S/cm\n",
        [-2.72, -1.92],
        None,
    ),
    "12 factor": ("formula,Conductivity (x10-4 S/cm)\nLiI,7.2\nLiF,1.6\n", [-3.14, -3.80], None),
    "12 power": ('formula,"sigma (10^-3 S cm-1)"\nLiI,0.72\n', [-3.14], None),
    "14 kelvin": ("formula,σ (S/cm),Temperature (Kelvin)\nLiI,1e-3,298.15\n", [-3], [25.0]),
    "16 title": (
        "Table S3. Conductivities,,\nComposition,Conductivity (mS/cm),T (C)\nLiI,1,25\n",
        [-3],
        [25.0],
    ),
    "16 units": ("Composition,Conductivity,Temperature\n,mS/cm,K\nLiI,1,298.15\n", [-3], [25.0]),
    "18 spacers": ("formula,conductivity,,\nLiI,1e-4,,\nLiF,2e-3,,\n", [-4, -2.70], None),
    "20 snake": ("compound,conductivity_mS_cm\nLiI,0.5\n", [-3.30], None),
    "20 symbol": ("Composition,σ (mS/cm),T (°C)\nLiI,0.5,25\n", [-3.30], [25.0]),
    "20 log": ("formula,log10 σ (mS/cm)\nLiI,-1.5\n", [-4.5], None),
    "21 sep": ("sep=;\nComposition;Conductivity (mS/cm);T (K)\nLiI;1,9;298,15\n", [-2.72], [25.0]),
}


@pytest.mark.parametrize("case", TABLES)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_table_is_read_right(tmp_path: Path, case: str, encoding: str) -> None:
    text, sigma, temperature = TABLES[case]
    (tmp_path / "t.csv").write_bytes(text.encode(encoding))
    found = own.read(str(tmp_path / "t.csv"), name="lab")
    assert found.source.rejects.empty
    assert found.source.entries[Entry.LOG10_SIGMA].tolist() == pytest.approx(sigma, abs=0.01)
    if temperature:
        assert found.source.entries[Entry.TEMPERATURE_C].tolist() == pytest.approx(temperature)
    assumed = [remark for remark in found.remarks if "is assumed" in remark]
    assert bool(assumed) == (case in ("10 superscripts", "18 spacers"))


def test_windows_1252_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(
        "Composition,Conductivity (µS/cm),T (°C)\nLi3PS4,160,25\n".encode("cp1252")
    )
    row = own.read(str(tmp_path / "t.csv"), name="lab").source.entries.iloc[0]
    assert row[Entry.LOG10_SIGMA] == pytest.approx(-3.80, abs=0.01) and row[Entry.TEMPERATURE_C] == 25


def test_what_no_solid_reaches_is_rejected(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("formula,conductivity\nLiI,7.2\nLiF,1e-9\n")
    assert "Is the unit right" in own.read(str(tmp_path / "t.csv"), name="x").source.rejects["reason"][0]


# --- CIFs

PEROVSKITE = ["Li1 Li 0.5 0.5 0 1", "O1 O 0.5 0.5 0.5 1", "Cl1 Cl 0 0 0 1"]  # Li3OCl, Pm-3m


def cif(
    sites: list[str],
    *,
    symbol: str = "P m -3 m",
    extra: str = "",
    operations: bool = True,
    cell: tuple[float, ...] = (3.91, 3.91, 3.91, 90, 90, 90),
    columns: str = "label type_symbol fract_x fract_y fract_z occupancy",
) -> str:
    names = ("length_a", "length_b", "length_c", "angle_alpha", "angle_beta", "angle_gamma")
    lines = ["data_a", *(f"_cell_{n} {x}" for n, x in zip(names, cell, strict=True)), extra]
    lines += [f"_symmetry_space_group_name_H-M '{symbol}'"] if symbol else []
    if operations:
        group = SpaceGroup(re.sub(r"\s|:.*", "", symbol))
        lines += ["loop_", "_symmetry_equiv_pos_as_xyz", *(f"'{o.as_xyz_str()}'" for o in group.symmetry_ops)]
    lines += ["loop_", *(f"_atom_site_{name}" for name in columns.split()), *sites]
    return "\n".join(lines) + "\n"


def read(text: str) -> CifContent:
    return inspect_cif(text, name="x.cif")


LLTO = ["Li1 Li 0 0 0 0.33", "La1 La 0 0 0 0.557", "Ti1 Ti 0.5 0.5 0.5 1", "O1 O 0.5 0.5 0 1"]
HEXAGONAL = (3.648, 3.648, 3.875, 90, 90, 120)
LI3N = ["Li2 Li 0 0 0.5 1", "N1 N 0 0 0 1"]
MONOCLINIC = (6.41, 11.09, 6.41, 90, 109.8, 90)
LI3INCL6 = [
    "In1 In 0 0 0 1",
    "Li1 Li 0 0.33 0.5 1",
    "Li2 Li 0.5 0 0.5 1",
    "Cl1 Cl 0.24 0.16 0.22 1",
    "Cl2 Cl 0.25 0 0.78 1",
]
SPINEL = [
    "Li1 Li 0.125 0.125 0.125 1",
    "Li2 Li 0.5 0.5 0.5 0.5",
    "Mg1 Mg 0.5 0.5 0.5 0.5",
    "Cl1 Cl 0.2555 0.2555 0.2555 1",
]
CUBIC_10 = (10.4, 10.4, 10.4, 90, 90, 90)
CIFS = {
    "45 a site kept with 0": (cif([*PEROVSKITE, "Al1 Al 0.11 0.66 0.55 0.00"]), "Li3OCl", False),
    "45 another element with 0": (cif([*PEROVSKITE, "Na1 Na 0.25 0 0 0"]), "Li3OCl", False),
    "28 the default of a CIF": (cif([*PEROVSKITE[:2], "Cl1 Cl 0 0 0 ."]), "Li3OCl", False),
    "28 unknown": (cif([*PEROVSKITE[:2], "Cl1 Cl 0 0 0 ?"]), "Li3OCl", True),
    **{f"30 {v}": (cif([*LLTO, f"{v}1 {v} 0 0 0 0.113"]), "Li0.33La0.557TiO3", True) for v in
       ("Va", "Vac", "Vc", "VAC", "Vacancy", "X", "Du")},
    **{f"32 {v}": (cif([f"Li1 {v} 0.5 0.5 0 1", *PEROVSKITE[1:]]), "Li3OCl", True) for v in
       ("7Li", "6Li", "7-Li", "Li7", "Li_7", "LI_7")},
    **{f"25 {s}": (cif(LI3INCL6, symbol=s, operations=False, cell=MONOCLINIC), "Li3InCl6", False)
       for s in ("C 2/m", "C 1 2/m 1", "C2/m")},
    "25 Hall": (cif(LI3INCL6, symbol="", operations=False, cell=MONOCLINIC,
                    extra="_space_group_name_Hall '-C 2y'"), "Li3InCl6", False),
    "26 origin 2": (cif(SPINEL, symbol="F d -3 m :2", operations=False, cell=CUBIC_10), "Li2MgCl4", False),
    "26 origin Z": (cif(SPINEL, symbol="F d -3 m Z", operations=False, cell=CUBIC_10), "Li2MgCl4", False),
    "26 origin by formula": (cif(SPINEL, symbol="F d -3 m", operations=False, cell=CUBIC_10,
                                 extra="_chemical_formula_sum 'Li2 Mg Cl4'"), "Li2MgCl4", True),
    **{f"33 {x} {y}": (cif([f"Li1 Li {x} {y} 0 1", *LI3N], symbol="P 6/m m m", cell=HEXAGONAL), "Li3N", None)
       for x, y in (("0.333", "0.667"), ("0.3333", "0.6667"), ("0.33", "0.67"), ("1/3", "2/3"))},
    "35 shared": (cif(["'Li,Na' '0.6(1)Li + 0.4(1)Na' 0.5 0.5 0 1", *PEROVSKITE[1:]]), "Li1.8Na1.2OCl", False),  # noqa: E501
    "35 several blocks": (cif(PEROVSKITE) + "\n" + cif(["? ? ? ? ? ?"]), "Li3OCl", False),
    "39 dotted": (re.sub(r"_(cell|atom_site)_", r"_\1.", cif(PEROVSKITE)), "Li3OCl", False),
    "42 capitals": (cif(["LIA 0.5 0.5 0 1", "OW1 0.5 0.5 0.5 1", "CLB 0 0 0 1"],
                        columns="label fract_x fract_y fract_z occupancy"), "Li3OCl", False),
}  # fmt: skip


@pytest.mark.parametrize("case", CIFS)
def test_a_cif_is_read_right(case: str) -> None:
    text, right, noted = CIFS[case]
    found = read(text)
    assert canonical(found.structure.composition.element_composition) == canonical(Composition(right))
    assert not found.doubt and noted in (None, bool(found.notes))


DOUBTED = {
    "25 nothing": (cif(LI3INCL6, symbol="", operations=False, cell=MONOCLINIC), "P1 was assumed"),
    "41 next line": (cif(PEROVSKITE, extra="_chemical_formula_sum\n 'Li9 Cl O'"), "states the formula"),
    "41 semicolons": (cif(PEROVSKITE, extra="_chemical_formula_sum\n;\nLi9 Cl O\n;"), "states the formula"),
    "41 indented": (cif(PEROVSKITE, extra="  _chemical_formula_sum 'Li9 Cl O'"), "states the formula"),
    "41 Z": (
        cif(PEROVSKITE, extra="_chemical_formula_sum 'Li3 Cl O'\n_cell_formula_units_Z 4"),
        "states 4 x",
    ),
    "28 filled twice": (cif([*PEROVSKITE, "Al1 Al 0.1 0 0 ."]), "both filled"),
    "R15 over full": (cif([*PEROVSKITE, "Na1 Na 0 0 0 1"]), "add up to 2"),
}


@pytest.mark.parametrize("case", DOUBTED)
def test_a_cif_that_disagrees_with_itself_is_doubted(case: str) -> None:
    text, reason = DOUBTED[case]
    assert reason in read(text).doubt


REFUSED = {
    "42 no element": (
        cif(["T1 0.5 0.5 0.5 1"], columns="label fract_x fract_y fract_z occupancy"),
        "element T",
    ),
    "42 a mixed label": (
        cif(["ST1 0.5 0.5 0.5 1"], columns="label fract_x fract_y fract_z occupancy"),
        "element ST",
    ),
    "42 water": (cif([*PEROVSKITE, "W1 Wat 0.25 0.25 0.25 1"]), "a group of atoms"),
    "42 hydroxide": (cif([*PEROVSKITE, "O2 OH 0.25 0.25 0.25 1"]), "a group of atoms"),
    "26 origin unknown": (cif(SPINEL, symbol="F d -3 m", operations=False, cell=CUBIC_10), "origin"),
    "25 unknown group": (cif(PEROVSKITE, symbol="Q m m m", operations=False), "'Q m m m' is not known"),
    "R15 negative": (cif([*PEROVSKITE[:2], "Cl1 Cl 0 0 0 -1"]), "occupancy -1"),
    "R15 per cent": (cif([*PEROVSKITE[:2], "Cl1 Cl 0 0 0 100"]), "per cent"),
    "R2 nm": (cif(PEROVSKITE, cell=(0.391, 0.391, 0.391, 90, 90, 90)), "Angstrom"),
    "R3 pm": (cif(PEROVSKITE, cell=(391, 391, 391, 90, 90, 90)), "Angstrom"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_cif_that_cannot_be_read_for_certain_is_refused(case: str) -> None:
    text, reason = REFUSED[case]
    with pytest.raises(DataError, match=re.escape(reason)):
        read(text)


# --- hostile inputs: a small number here, more with a larger N

N = 300


def test_hostile_formulas_give_a_reading_or_the_one_error() -> None:
    random.seed(0)
    seeds = [text for case in FORMULAS.values() for text in case]
    odd = "0123456789.,·-*()[]{}<>/^_ +LiPSClO\u200b½₂⁺δ\"'\n\x00=@"
    for _ in range(N):
        text = list(random.choice(seeds))
        for _ in range(random.randint(1, 6)):
            text.insert(random.randrange(len(text) + 1), random.choice(odd) * random.choice([1, 1, 40]))
        try:
            reading = read_formula("".join(text))
        except FormulaError as error:
            assert "\n" not in str(error).replace("\\n", "") or len(str(error)) < 700
            continue
        assert reading.composition.num_atoms > 0


def test_mutated_cifs_give_a_structure_or_the_one_error() -> None:
    random.seed(0)
    for _ in range(N // 3):
        lines = random.choice([text for text, *_ in CIFS.values()]).splitlines()
        for _ in range(random.randint(1, 3)):
            at = random.randrange(len(lines))
            words = lines[at].split(" ")
            words[random.randrange(len(words))] = random.choice(
                ["", "?", ".", "1e9", "-3", "loop_", "'", "nan", "_x"]
            )
            lines[at] = random.choice([" ".join(words), "", lines[at] * 2])
        try:
            found = read("\n".join(lines))
        except SSEError as error:
            assert "x.cif" in str(error)
            continue
        assert len(found.structure) > 0
