"""USPEX: the input that is written, and runs in its documented format that are read."""

import subprocess
import sys
from pathlib import Path

import pytest

from sselib.errors import DataError, ParameterError
from sselib.generation import uspex

INDIVIDUALS = """\
Gen   ID    Origin   Composition    Enthalpy   Volume  Density   Fitness   KPOINTS  SYMM  Q_entr A_order
                                      (eV)     (A^3)  (g/cm^3)
  1    1   Random    [  2  1  ]    -10.500   36.000   2.100   -10.500 [ 4  4  4] 225 0.100 1.200
  1    2   Random    [  2  1  ]  100000.000  36.000   2.100       N/A [ 4  4  4]   1 0.100 1.200
  2    3  Heredity   [  2  1  ]    -10.800   35.100   2.150   -10.800 [ 4  4  4]  62 0.100 1.200
  2    4 softmutate  [  2  1  ]    -10.200   35.100   2.150   -10.200 [ 4  4  4]   1 0.100 1.200
  2    5  keptBest   [  2  1  ]    -10.500   36.000   2.100   -10.500 [ 4  4  4] 225 0.100 1.200
  3 this line was cut
"""
ORIGIN = """\
   ID   Origin    Enthalpy   Parent-E   Parent-ID
   1 Random      -3.500    -3.500   [   ]
   3 Heredity    -3.600    -3.450   [  1  2 ]
   4 softmutate  -3.400    -3.500   [  1 ]
"""
POSCARS = """\
EA1   3.8  3.8  3.8  60.0  60.0  60.0 Sym.group: 225
1.0
  0.0 2.0 2.0
  2.0 0.0 2.0
  2.0 2.0 0.0
 Li S
   2    1
Direct
  0.25 0.25 0.25
  0.75 0.75 0.75
  0.0 0.0 0.0
EA3   3.8  3.8  3.8  60.0  60.0  60.0 no SG
1.0
  0.0 2.0 2.0
  2.0 0.0 broken
"""


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    results = tmp_path / "results1"
    results.mkdir()
    (results / "Individuals").write_text(INDIVIDUALS)
    (results / "origin").write_text(ORIGIN)
    (results / "gatheredPOSCARS").write_text(POSCARS)
    return tmp_path


def test_a_finished_run_is_read_with_parents_and_origins(finished: Path) -> None:
    table = uspex.read_run(finished).table.set_index("number")
    assert list(table["operator"]) == ["seed", "seed", "heredity", "soft_mutation", "kept_best"]
    assert table.loc[1, "enthalpy_ev_atom"] == pytest.approx(-3.5)
    assert table.loc[3, "parent_enthalpy_ev_atom"] == pytest.approx(-3.45)
    assert table.loc[3, "parents"] == "1 2" and table.loc[3, "space_group"] == 62
    assert table.loc[2, "status"] == "failed" and table["volume_angstrom3_atom"].iloc[0] == pytest.approx(12)


def test_origin_files_per_cell_give_the_same_parents(finished: Path) -> None:
    per_cell = ORIGIN.replace("-3.600    -3.450", "-10.800   -10.350").replace(
        "-3.400    -3.500", "-10.200   -10.5"
    )
    (finished / "results1" / "origin").write_text(per_cell)
    table = uspex.read_run(finished).table.set_index("number")
    assert table.loc[3, "parent_enthalpy_ev_atom"] == pytest.approx(-3.45)
    assert table.loc[4, "parent_enthalpy_ev_atom"] == pytest.approx(-3.5)


def test_what_cannot_be_read_is_rejected_with_its_reason(finished: Path) -> None:
    run = uspex.read_run(finished)
    assert set(run.structures) == {1} and run.structures[1].composition.reduced_formula == "Li2S"
    assert list(run.rejects["file"]) == ["Individuals", "gatheredPOSCARS"]
    assert run.rejects["row"].tolist() == [8, 12]


def test_structures_that_do_not_belong_to_the_run_are_rejected(finished: Path) -> None:
    other = INDIVIDUALS.replace("Random    [  2  1  ]", "Random    [  2  2  ]")
    (finished / "results1" / "Individuals").write_text(other)
    run = uspex.read_run(finished)
    assert not run.structures and run.rejects["reason"].str.contains("number of atoms").any()


def test_a_folder_without_a_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Individuals"):
        uspex.read_run(tmp_path)
    (tmp_path / "Individuals").write_text("Gen ID\n")
    with pytest.raises(DataError, match="no readable line"):
        uspex.read_run(tmp_path)


def test_input_names_composition_shares_and_pressure(tmp_path: Path) -> None:
    paths = uspex.write_input({"Li": 8, "Si": 2, "S": 8}, tmp_path / "in", settings=uspex.UspexInput())
    text = (tmp_path / "in" / "INPUT.txt").read_text()
    lines = text.splitlines()
    assert lines[lines.index("% atomType") + 1] == "Li Si S"
    assert lines[lines.index("% numSpecies") + 1] == "8 2 8"
    assert "0.1 : ExternalPressure" in lines and "5 : stopCrit" in lines
    assert {p.name for p in paths} >= {"INCAR_1", "POTCAR_Li", "relax_with_ase.py", "submit.sh"}
    with pytest.raises(ParameterError, match="already holds"):
        uspex.write_input({"Li": 1}, tmp_path / "in", settings=uspex.UspexInput())
    with pytest.raises(ParameterError, match="sum of 1"):
        uspex.write_input({"Li": 1}, tmp_path / "b", settings=uspex.UspexInput(heredity=0.9))


def test_the_relaxation_script_leaves_what_uspex_reads(tmp_path: Path) -> None:
    settings = uspex.UspexInput(potential="ase.calculators.emt:EMT", pressure_gpa=0.0)
    uspex.write_input({"Cu": 1}, tmp_path, settings=settings)
    work = tmp_path / "Specific"
    (work / "POSCAR").write_text("Cu\n1.0\n0 1.9 1.9\n1.9 0 1.9\n1.9 1.9 0\nCu\n1\nDirect\n0 0 0\n")
    subprocess.run([sys.executable, "relax_with_ase.py"], cwd=work, check=True, capture_output=True)
    energy = float((work / "OSZICAR").read_text().split("E0=")[1].split()[0])
    assert energy == pytest.approx(-0.007, abs=0.01)  # EMT's zero is the crystal at rest
    assert "Voluntary context switches" in (work / "OUTCAR").read_text()
    assert "Cu" in (work / "CONTCAR").read_text()
