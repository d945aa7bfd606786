"""ASE calculators by name, so that another interatomic potential plugs in without a change elsewhere."""

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes
from ase.stress import voigt_6_to_full_3x3_stress

from sselib.errors import ParameterError, nearest


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Energy in eV, forces (n, 3) in eV/Angstrom and stress (3, 3) in eV/Angstrom^3 of one crystal."""

    energy: float
    forces: np.ndarray
    stress: np.ndarray

    def results(self) -> dict[str, object]:
        """Return the ``results`` of an ASE calculator, the stress in Voigt order."""
        stress = self.stress.flat[[0, 4, 8, 5, 2, 1]]
        return {
            "energy": self.energy, "free_energy": self.energy, "forces": self.forces, "stress": stress
        }  # fmt: skip


class CHGNetFast(Calculator):
    """CHGNet's energy, forces and stress, for one crystal or for a batch, see `chgnet_batch`.

    The numbers are those of the package's own calculator (within 1e-3 eV/Angstrom and 1e-4 eV/atom for
    random crystals) in about a third of the time.
    """

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, *, model_name: str = "0.3.0") -> None:
        """Load the weights that ship with the package; ``model_name`` is 0.3.0 or r2scan."""
        super().__init__()
        from sselib.generation.chgnet_batch import chgnet_model

        chgnet_model(model_name)
        self._model_name = model_name

    def evaluate_many(self, batch: Sequence[Atoms]) -> list[Evaluation]:
        """Return the evaluation of each crystal; small ones together cost less than one by one."""
        from sselib.generation.chgnet_batch import evaluate

        return evaluate(batch, model_name=self._model_name)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill ``results``: eV, eV/Angstrom, eV/Angstrom^3 (ASE's conventions)."""
        super().calculate(atoms, properties, system_changes)
        self.results.update(self.evaluate_many([self.atoms])[0].results())


def evaluate_many(calculator: Calculator, batch: Sequence[Atoms]) -> list[Evaluation]:
    """Return energy, forces and stress of each crystal from any ASE calculator.

    A calculator with a method ``evaluate_many`` gets them all at once, another one after another.
    """
    together = getattr(calculator, "evaluate_many", None)
    if together is not None:
        return together(batch)
    found = []
    for atoms in batch:
        calculator.calculate(atoms, ["energy", "forces", "stress"], list(all_changes))
        r = calculator.results
        stress = voigt_6_to_full_3x3_stress(np.asarray(r["stress"]))
        found.append(Evaluation(energy=float(r["energy"]), forces=np.array(r["forces"]), stress=stress))
    return found


POTENTIALS: dict[str, Callable[..., Calculator]] = {"chgnet": CHGNetFast}


def make_calculator(name: str, options: Mapping[str, object] | None = None) -> Calculator:
    """Return an ASE calculator for crystals.

    ``name`` is a key of `POTENTIALS` or ``module:callable`` for any other one that gives energy,
    forces and stress, such as ``mace.calculators:mace_mp`` or ``ase.calculators.lj:LennardJones``;
    ``options`` are its keyword arguments. Raises `ParameterError` for a name that cannot be found.
    """
    if name in POTENTIALS:
        return POTENTIALS[name](**(options or {}))
    module, colon, attribute = name.partition(":")
    if not colon:
        raise ParameterError(
            f"there is no potential '{name}': expected {', '.join(POTENTIALS)} or 'module:callable' of an "
            f"ASE calculator, such as mace.calculators:mace_mp.{nearest(name, list(POTENTIALS))}"
        )
    try:
        return getattr(importlib.import_module(module), attribute)(**(options or {}))
    except (ImportError, AttributeError, TypeError) as error:
        raise ParameterError(
            f"the potential '{name}' cannot be made ({error}): expected 'module:callable' that can be "
            "imported here and takes the options given"
        ) from error
