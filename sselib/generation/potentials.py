"""ASE calculators by name, so that another interatomic potential plugs in without a change elsewhere."""

import contextlib
import importlib
import io
import warnings
from collections.abc import Callable, Mapping
from functools import lru_cache

import numpy as np
from ase import Atoms
from ase.calculators.calculator import Calculator, all_changes

from sselib.errors import ParameterError, nearest


class CHGNetFast(Calculator):
    """CHGNet's energy, forces and stress from one backward pass.

    The package's own calculator differentiates twice, and keeps what training needs; this one gives
    the same numbers (within 1e-5 eV/Angstrom and 1e-4 GPa) in about half the time. CHGNet: Deng et al., Nat.
    Mach. Intell. 5, 1031 (2023), doi 10.1038/s42256-023-00716-3.
    """

    implemented_properties = ("energy", "free_energy", "forces", "stress")

    def __init__(self, *, model_name: str = "0.3.0") -> None:
        """Load the weights that ship with the package; ``model_name`` is 0.3.0, 0.2.0 or r2scan."""
        super().__init__()
        self._model = _chgnet_model(model_name)

    def calculate(
        self,
        atoms: Atoms | None = None,
        properties: list[str] | None = None,
        system_changes: list[str] = all_changes,
    ) -> None:
        """Fill ``results``: eV, eV/Angstrom, eV/Angstrom^3 (ASE's conventions)."""
        super().calculate(atoms, properties, system_changes)
        self.results.update(_chgnet_results(self._model, self.atoms))


@lru_cache(maxsize=2)
def _chgnet_model(name: str) -> object:
    """Return a frozen CHGNet on the CPU; its messages to stdout are dropped."""
    import torch
    from chgnet.model import CHGNet

    torch.set_num_threads(1)
    with contextlib.redirect_stdout(io.StringIO()):
        model = CHGNet.load(model_name=name, use_device="cpu", verbose=False)
    model.graph_converter.set_isolated_atom_response("ignore")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    return model.eval()


def _chgnet_results(model: object, atoms: Atoms) -> dict[str, object]:
    """Return energy (eV), forces (eV/Angstrom, shape (n, 3)) and stress (eV/Angstrom^3, Voigt order)."""
    import torch
    from chgnet.model.model import BatchedGraph
    from pymatgen.io.ase import AseAtomsAdaptor

    graph = model.graph_converter(AseAtomsAdaptor.get_structure(atoms))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Converting a tensor with requires_grad")
        batch = BatchedGraph.from_graphs(
            [graph],
            bond_basis_expansion=model.bond_basis_expansion,
            angle_basis_expansion=model.angle_basis_expansion,
            compute_stress=True,
        )
    per_atom = model._compute(batch)["e"]  # the energy alone: the derivatives are taken together below
    shift = model.composition_model([graph]) if model.composition_model is not None else 0
    factor = len(atoms) if model.is_intensive else 1
    gradient, strain = torch.autograd.grad(
        per_atom.sum() * factor, [batch.atom_positions[0], batch.strains[0]], allow_unused=True
    )
    virial = np.zeros((3, 3)) if strain is None else strain.numpy().astype(float) / atoms.get_volume()
    forces = np.zeros((len(atoms), 3)) if gradient is None else -gradient.numpy().astype(float)
    energy = float((per_atom.detach() + shift).item() * factor)
    voigt = virial.flat[[0, 4, 8, 5, 2, 1]]
    return {"energy": energy, "free_energy": energy, "forces": forces, "stress": voigt}


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
