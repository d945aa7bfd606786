"""Normalised families: every string of the sources is mapped on purpose."""

import pytest

from sselib.materials.families import (
    Family,
    family_from_composition,
    is_known_family,
    normalise_family,
)

OBELIX = {
    "NASICON": Family.NASICON,
    "garnet": Family.GARNET,
    "perovskites": Family.PEROVSKITE,
    "argyrodites": Family.ARGYRODITE,
    "LGPS": Family.LGPS,
    "oxides": Family.OXIDE_OTHER,
    "thio-LISICON": Family.THIO_LISICON,
    "LISICON": Family.LISICON,
    "sulfides": Family.SULFIDE_OTHER,
    "phosphates": Family.PHOSPHATE,
    "halides": Family.HALIDE,
    "molybdates": Family.OXIDE_OTHER,
    "pyrochlore": Family.OXIDE_OTHER,
    "chlorides": Family.HALIDE,
    "thio-phosphate": Family.SULFIDE_OTHER,
    "antiperovskite": Family.ANTIPEROVSKITE,
    "Lanthanumlithiumoxide": Family.OXIDE_OTHER,
    "hydrides": Family.HYDRIDE,
    "nitrides": Family.PNICTIDE,
    "hexaoxometalates": Family.OXIDE_OTHER,
    "Borophosphates": Family.PHOSPHATE,
    "boron nitride": Family.PNICTIDE,
    "Chalcogenidotetrelates": Family.THIO_LISICON,
    "garnet-like": Family.GARNET,
    "Tavorite": Family.PHOSPHATE,
    "diphosphate": Family.PHOSPHATE,
    "copper pyroborate": Family.OXIDE_OTHER,
    "Halide": Family.HALIDE,
    "zirconates": Family.OXIDE_OTHER,
    "fluorides": Family.HALIDE,
    "pyrophosphate": Family.PHOSPHATE,
    "fluorooxoborate": Family.OXIDE_OTHER,
    "argyrodite": Family.ARGYRODITE,
    "nitride": Family.PNICTIDE,
    "LIPON": Family.PHOSPHATE,
    "nitridosilicates": Family.PNICTIDE,
    "fluorophosphates": Family.PHOSPHATE,
    "silicates": Family.OXIDE_OTHER,
    "sugilites": Family.OXIDE_OTHER,
    "cholorides": Family.HALIDE,
    "boracites": Family.OXIDE_OTHER,
}
LIION = {
    "NASICON": Family.NASICON,
    "Garnet": Family.GARNET,
    "Perovskite": Family.PEROVSKITE,
    "Glass": Family.GLASS,
    "Thio-LISICON": Family.THIO_LISICON,
    "LISICON": Family.LISICON,
    "Argyrodite": Family.ARGYRODITE,
    "Zircon": Family.PHOSPHATE,
    "Anti-Perovskite": Family.ANTIPEROVSKITE,
    "Phenakite": Family.OXIDE_OTHER,
    "Lysonite": Family.OXIDE_OTHER,
}
ANYTHING = "Li2Al2Si2P2O9S2Cl2N2H2"  # holds every anion, so that no string contradicts it


@pytest.mark.parametrize(("raw", "family"), [*OBELIX.items(), *LIION.items()])
def test_strings_of_the_sources(raw, family):
    assert normalise_family(raw, ANYTHING) is family


@pytest.mark.parametrize(
    ("raw", "formula", "family"),
    [
        ("layered", "Li0.6Li0.2Sn0.8S2", Family.SULFIDE_OTHER),
        ("Rocksalt", "Li2SnS3", Family.SULFIDE_OTHER),
        ("Rocksalt", "LiI", Family.HALIDE),
        ("Rocksalt", "Li1.9Mg0.1TiO3.05", Family.OXIDE_OTHER),
        ("Olivine", "LiFePO4", Family.PHOSPHATE),
        ("Other", "LiBH4", Family.HYDRIDE),
        ("Other", "Li5NI2", Family.HALIDE),
        ("Other", "La0.29Li0.12NbO3", Family.PEROVSKITE),
        ("Glass-Ceramic", "(Li2S)70 (P2S5)30", Family.SULFIDE_OTHER),
        ("Glass-Ceramic", "Li3Fe2P3O12", Family.NASICON),
    ],
)
def test_strings_without_chemistry_leave_it_to_the_composition(raw, formula, family):
    assert is_known_family(raw) and normalise_family(raw, formula) is family


@pytest.mark.parametrize(
    ("raw", "formula", "family"),
    [
        ("phosphates", "Li3P", Family.PNICTIDE),
        ("phosphates", "Li8GeP4", Family.PNICTIDE),
        ("argyrodites", "LiCe(BH4)3Cl", Family.HYDRIDE),
        ("halides", "Li2O", Family.OXIDE_OTHER),
    ],
)
def test_a_formula_that_contradicts_its_string_decides(raw, formula, family):
    assert normalise_family(raw, formula) is family


@pytest.mark.parametrize(
    ("formula", "family"),
    [
        ("Li7La3Zr2O12", Family.GARNET),
        ("Li5.4La3Nb1.8Y0.75O12", Family.GARNET),
        ("Li3Nd3Te2O12", Family.GARNET),
        ("Li1.3Al0.3Ti1.7(PO4)3", Family.NASICON),
        ("Li0.33La0.56TiO3", Family.PEROVSKITE),
        ("Li6PS5Cl", Family.ARGYRODITE),
        ("Li10GeP2S12", Family.LGPS),
        ("Li3PS4", Family.THIO_LISICON),
        ("Li4GeSe4", Family.THIO_LISICON),
        ("Li3OCl", Family.ANTIPEROVSKITE),
        ("Li2OHCl", Family.ANTIPEROVSKITE),
        ("Li3PO4", Family.LISICON),
        ("Li14ZnGe4O16", Family.LISICON),
        ("Li3YCl6", Family.HALIDE),
        ("Li3N", Family.PNICTIDE),
        ("LiAlH4", Family.HYDRIDE),
        ("Li2O", Family.OXIDE_OTHER),
        ("Li2S", Family.SULFIDE_OTHER),
        ("Li4P2O7", Family.PHOSPHATE),
        ("LiLaTiO4", Family.OXIDE_OTHER),
        ("LiClC3H7NO", Family.OTHER),
        ("Li", Family.OTHER),
    ],
)
def test_composition_alone(formula, family):
    assert family_from_composition(formula) is family
    assert normalise_family(None, formula) is family
    assert normalise_family(float("nan"), formula) is family
    assert normalise_family("my own words", formula) is family


def test_an_unmapped_string_is_reported_as_such():
    assert not is_known_family("my own words") and is_known_family("") and is_known_family(None)


@pytest.mark.parametrize("family", list(Family))
def test_normalised_names_are_understood(family):
    assert is_known_family(family.value)


@pytest.mark.mirror
def test_every_raw_string_of_the_mirror_is_mapped(mirror):
    import pandas as pd

    obelix = pd.read_csv(mirror / "obelix" / "all.csv")
    liion = pd.read_csv(mirror / "lion" / "LiIonDatabase.csv", encoding="utf-8-sig")
    strings = {*obelix["Family"].dropna(), *liion["family"].dropna()}
    assert len(strings) > 50
    assert [s for s in sorted(strings) if not is_known_family(s)] == []
    families = [
        normalise_family(raw, formula)
        for raw, formula in zip(obelix["Family"], obelix["True Composition"], strict=True)
    ]
    assert families.count(Family.OTHER) == 1  # LiCl dimethylformamide, an organic salt
