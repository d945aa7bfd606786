"""USPEX in and out: an input folder for a composition, and a finished run as tables like our own.

USPEX is licensed software that the user brings (uspex-team.org); nothing of it is here. The formats follow
the manual of versions 9.4 and 10 (INPUT.txt; results1/Individuals, origin, gatheredPOSCARS,
goodStructures). USPEX 2023 and later read another input file; only its results of the older form are read.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.core import Structure
from pymatgen.io.vasp import Poscar

from crystal_search.population import SEED
from sselib.errors import DataError, ParameterError
from sselib.runfolder import write_whole

# USPEX's name of an origin -> the name used in this suite; others stay as they are, in lower case.
ORIGINS: dict[str, str] = {
    "random": SEED,
    "randtop": SEED,
    "seeds": SEED,
    "heredity": "heredity",
    "softmutate": "soft_mutation",
    "coormutate": "rattle",
    "permutate": "permutation",
    "latmutate": "strain",
    "keptbest": "kept_best",
    "convexhull": "kept_best",
}
KEPT_BEST = "kept_best"  # carried over unchanged: no child of this generation
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_INDIVIDUAL = re.compile(
    rf"^\s*(?P<gen>\d+)\s+(?P<id>\d+)\s+(?P<origin>[A-Za-z_]+)\s+\[(?P<content>[\d\s]+)\]\s+"
    rf"(?P<enthalpy>{_NUMBER}|N/A)\s+(?P<volume>{_NUMBER})(?P<rest>.*)$"
)
_ORIGIN = re.compile(
    rf"^\s*(?P<id>\d+)\s+(?P<origin>[A-Za-z_]+)\s+(?P<enthalpy>{_NUMBER}|N/A)\s+"
    rf"(?P<parent>{_NUMBER}|N/A)\s*\[?(?P<parents>[\d\s]*)\]?\s*$"
)
_SPACE_GROUP = re.compile(r"\[[\d\s]+\]\s+(\d+)")
NO_ENTHALPY = 1e4  # USPEX writes 100000 where a relaxation failed


@dataclass(frozen=True, kw_only=True)
class UspexInput:
    """What USPEX is asked for; names after ours, with USPEX's keyword."""

    population_size: int = 20  # populationSize
    generations: int = 20  # numGenerations
    patience: int = 5  # stopCrit: generations without improvement
    pressure_gpa: float = 0.1  # ExternalPressure; Kim et al.: 1000 bar
    heredity: float = 0.5  # fracGene
    random: float = 0.2  # fracRand
    permutation: float = 0.1  # fracPerm
    soft_mutation: float = 0.1  # fracAtomsMut
    strain: float = 0.1  # fracLatMut
    parallel: int = 1  # numParallelCalcs
    potential: str = "chgnet"  # of crystal_search.potentials
    fmax_ev_angstrom: float = 0.05
    max_steps: int = 300


@dataclass(frozen=True, kw_only=True)
class UspexRun:
    """A finished USPEX run: ``table`` with one row per structure, structures by their number, rejects.

    ``rejects`` holds the lines that could not be read: file, row, reason, text.
    """

    table: pd.DataFrame
    structures: dict[int, Structure]
    rejects: pd.DataFrame


def write_input(content: Mapping[str, int], folder: Path, *, settings: UspexInput) -> list[Path]:
    """Write INPUT.txt, Specific/ and a submission script for a cell with ``content`` atoms; return them.

    USPEX starts the relaxation in Specific/ in the place of VASP (abinitioCode 1): the script relaxes
    the POSCAR with a potential through ASE and leaves CONTCAR, OSZICAR and OUTCAR as VASP would. Raises
    `ParameterError` for impossible fractions and if the folder already holds an INPUT.txt.
    """
    folder = Path(folder)
    shares = [getattr(settings, k) for k in ("heredity", "random", "permutation", "soft_mutation", "strain")]
    if min(shares) < 0 or abs(sum(shares) - 1) > 1e-6 or min(content.values()) < 1:
        raise ParameterError(
            f"shares {shares} of a USPEX run: expected none below 0 and a sum of 1; content {dict(content)}: "
            "expected at least one atom of each element"
        )
    if (folder / "INPUT.txt").exists():
        raise ParameterError(f"{folder} already holds an INPUT.txt: choose an empty folder")
    texts = {
        "INPUT.txt": _input_text(content, settings),
        "Specific/INCAR_1": f"# read by nobody: ASE relaxes\nPSTRESS = {10 * settings.pressure_gpa:g}\n",
        "Specific/relax_with_ase.py": _relax_script(settings),
        **{f"Specific/POTCAR_{element}": f"{element}: no pseudopotential needed\n" for element in content},
        "submit.sh": _submit_script(),
    }
    paths = [
        write_whole(folder / name, lambda p, t=text: p.write_text(t, encoding="utf-8"))
        for name, text in texts.items()
    ]
    (folder / "submit.sh").chmod(0o755)
    return paths


def _input_text(content: Mapping[str, int], settings: UspexInput) -> str:
    """Return INPUT.txt: fixed composition, bulk crystal, enthalpy."""
    lines = [
        "USPEX : calculationMethod",
        "300 : calculationType",
        "1 : optType",
        *("% atomType", " ".join(content), "% EndAtomType"),
        *("% numSpecies", " ".join(map(str, content.values())), "% EndNumSpecies"),
        f"{settings.population_size} : populationSize",
        f"{settings.generations} : numGenerations",
        f"{settings.patience} : stopCrit",
        f"{settings.heredity:g} : fracGene",
        f"{settings.random:g} : fracRand",
        f"{settings.permutation:g} : fracPerm",
        f"{settings.soft_mutation:g} : fracAtomsMut",
        f"{settings.strain:g} : fracLatMut",
        f"{settings.pressure_gpa:g} : ExternalPressure",
        *("% abinitioCode", "1", "% ENDabinit"),
        *("% KresolStart", "0.2", "% Kresolend"),
        *("% commandExecutable", "python relax_with_ase.py > log", "% EndExecutable"),
        "1 : whichCluster",
        f"{settings.parallel} : numParallelCalcs",
    ]
    return "\n".join(lines) + "\n"


def _relax_script(settings: UspexInput) -> str:
    """Return the script that stands in for VASP in USPEX's calculation folder."""
    return f'''"""Relax POSCAR with a potential through ASE; leave what USPEX reads of VASP."""

from pathlib import Path

from ase.io import read, write

from crystal_search.potentials import make_calculator
from crystal_search.relaxation import RelaxationSettings, relax

SETTINGS = RelaxationSettings(
    pressure_gpa={settings.pressure_gpa!r},
    fmax_ev_angstrom={settings.fmax_ev_angstrom!r},
    max_steps={settings.max_steps!r},
)
result = relax(
    read("POSCAR", format="vasp"), calculator=make_calculator({settings.potential!r}), settings=SETTINGS
)
n_atoms = len(result.atoms)
failed = result.status == "failed"
enthalpy = 100000.0 if failed else result.enthalpy_ev_atom * n_atoms
write("CONTCAR", result.atoms, format="vasp", direct=True, sort=False)
Path("OSZICAR").write_text(f"   1 F= {{enthalpy:.8E}} E0= {{enthalpy:.8E}}  d E =0.0\\n")
Path("OUTCAR").write_text(
    f"  enthalpy is  TOTEN    = {{enthalpy:18.8f}} eV\\n"
    f"  energy  without entropy= {{enthalpy:18.8f}}  energy(sigma->0) = {{enthalpy:18.8f}}\\n"
    " reached required accuracy - stopping structural energy minimisation\\n"
    "                            Voluntary context switches: 0\\n"
)
print(result.status, result.reason, result.n_evaluations, "energy evaluations")
'''


def _submit_script() -> str:
    return (
        "#!/bin/sh\n"
        "# Calls USPEX until it is done; adapt to your queue. Needs USPEX in the path, and this suite's\n"
        "# Python (with the extra `generation`) as `python`.\n"
        "while [ ! -f ./USPEX_IS_DONE ]; do\n"
        "    USPEX -r >> uspex.log 2>&1\n"
        "    sleep 60\n"
        "done\n"
    )


def read_run(folder: Path) -> UspexRun:
    """Read a finished run: ``folder`` is results1 (or what contains it).

    Enthalpies become eV/atom. Where an ``origin`` file is there the parents come from it. Structures are
    those of gatheredPOSCARS, else of goodStructures_POSCARS. Raises `DataError` without an Individuals
    file or a readable line.
    """
    folder = _results_folder(Path(folder))
    rejects: list[dict[str, object]] = []
    rows = _read_lines(folder / "Individuals", _INDIVIDUAL, rejects, header_lines=2)
    if not rows:
        raise DataError(f"{folder / 'Individuals'} has no readable line: {_first_reason(rejects)}")
    origin = folder / "origin"
    lines = _read_lines(origin, _ORIGIN, rejects, header_lines=1) if origin.is_file() else []
    origins = {int(m["id"]): m for m in lines}
    table = pd.DataFrame([_row(m, origins) for m in rows])
    structures = _read_structures(folder, rejects)
    _check_sizes(table, structures, rejects)
    reject_table = pd.DataFrame(rejects, columns=["file", "row", "reason", "text"])
    return UspexRun(table=table, structures=structures, rejects=reject_table)


def _results_folder(folder: Path) -> Path:
    for candidate in (folder, folder / "results1"):
        if (candidate / "Individuals").is_file():
            return candidate
    raise DataError(f"no file Individuals in {folder} or its results1: expected a finished USPEX run")


def _read_lines(
    path: Path, pattern: re.Pattern, rejects: list[dict[str, object]], *, header_lines: int
) -> list[re.Match]:
    """Return the lines that fit the pattern; others go to the rejects, except headers and empty ones."""
    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        match = pattern.match(line)
        if match:
            found.append(match)
        elif line.strip() and (number > header_lines or re.match(r"\s*\d", line)):
            rejects.append(_reject(path, number, "the line does not have the form of this file", line))
    return found


def _reject(path: Path, row: int, reason: str, text: str) -> dict[str, object]:
    return {"file": path.name, "row": row, "reason": reason, "text": text[:200]}


def _first_reason(rejects: list[dict[str, object]]) -> str:
    return f"line {rejects[0]['row']}: {rejects[0]['text']!r}" if rejects else "it is empty"


def _row(m: re.Match, origins: Mapping[int, re.Match]) -> dict[str, object]:
    """Return one row of the table from a line of Individuals and the matching line of origin."""
    n_atoms = sum(map(int, m["content"].split()))
    enthalpy = _number(m["enthalpy"])
    origin = origins.get(int(m["id"]))
    parents = origin["parents"].split() if origin else []
    parent = _number(origin["parent"]) if parents else np.nan
    group = _SPACE_GROUP.search(m["rest"])
    name = m["origin"].lower()
    failed = not np.isfinite(enthalpy) or enthalpy >= NO_ENTHALPY
    per_atom = parent * _origin_scale(enthalpy, n_atoms, origin) if parents else np.nan
    return {
        "number": int(m["id"]),
        "generation": int(m["gen"]),
        "operator": ORIGINS.get(name, name),
        "parents": " ".join(parents),
        "n_atoms": n_atoms,
        "enthalpy_ev_atom": np.nan if failed else enthalpy / n_atoms,
        "parent_enthalpy_ev_atom": per_atom,
        "volume_angstrom3_atom": float(m["volume"]) / n_atoms,
        "space_group": int(group[1]) if group else 0,
        "status": "failed" if failed else "converged",
    }


def _origin_scale(enthalpy: float, n_atoms: int, origin: re.Match) -> float:
    """Return 1 where `origin` gives enthalpies per atom, 1/n where per cell: its own column tells which."""
    own = _number(origin["enthalpy"])
    return 1.0 if abs(own - enthalpy / n_atoms) < abs(own - enthalpy) else 1.0 / n_atoms


def _number(text: str) -> float:
    return float("nan") if text == "N/A" else float(text)


def _read_structures(folder: Path, rejects: list[dict[str, object]]) -> dict[int, Structure]:
    """Return the structures by number; each begins with a line such as ``EA33 ... Sym.group: 62``."""
    names = ("gatheredPOSCARS", "goodStructures_POSCARS")
    path = next((folder / n for n in names if (folder / n).is_file()), None)
    if path is None:
        return {}
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    starts = [i for i, line in enumerate(lines) if re.match(r"\s*EA\s*\d+", line)]
    found = {}
    for begin, end in zip(starts, [*starts[1:], len(lines)], strict=True):
        number = int(re.match(r"\s*EA\s*(\d+)", lines[begin])[1])
        try:
            found[number] = Poscar.from_str("\n".join(lines[begin:end]) + "\n").structure
        except (ValueError, IndexError, KeyError) as error:
            why = " ".join(str(error).split()) or type(error).__name__
            rejects.append(_reject(path, begin + 1, f"the structure cannot be read ({why})", lines[begin]))
    return found


def _check_sizes(
    table: pd.DataFrame, structures: dict[int, Structure], rejects: list[dict[str, object]]
) -> None:
    """Drop structures whose number of atoms is not that of their line, with a reject."""
    sizes = dict(zip(table["number"], table["n_atoms"], strict=True))
    for number in [n for n, s in structures.items() if len(s) != sizes.get(n)]:
        reason = f"EA{number}: its number of atoms is not that of Individuals"
        rejects.append({"file": "gatheredPOSCARS", "row": None, "reason": reason, "text": ""})
        del structures[number]
