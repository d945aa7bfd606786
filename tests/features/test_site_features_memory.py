"""Memory of large cells: 500 sites stay below 4 GiB, 2,000 sites are a reject with its reason."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

pytest.importorskip("torch", reason="torch is not installed: pip install -e '.[atomsets]'")

from sselib.features.site_features import site_sets

LIMIT_GIB = 4.0
_MEASURE = """
import json, resource, sys
from pymatgen.core import Structure
from sselib.features.site_features import site_sets
structure = Structure.from_file(sys.argv[1])
found = site_sets({"a": structure}, parent=sys.argv[2], cache_dir=sys.argv[3])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"gib": peak, "sites": len(structure), "done": len(found.sets)}))
"""


def disordered_glass(n_sites: int) -> Structure:
    """Mixed and partly filled sites without any symmetry, 12 cubic Angstrom each: nothing repeats."""
    rng = np.random.default_rng(0)
    per_edge = int(np.ceil(n_sites ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(per_edge)] * 3), axis=-1).reshape(-1, 3)[:n_sites] / per_edge
    places = grid + rng.normal(scale=0.15 / per_edge, size=grid.shape)
    kinds = [{"Li": 0.5}, {"P": 0.9, "Ge": 0.1}, {"S": 1.0}, {"S": 0.6, "Cl": 0.4}]
    return Structure(Lattice.cubic(per_edge * 12 ** (1 / 3)), [kinds[k % 4] for k in range(n_sites)], places)


@pytest.mark.slow
@pytest.mark.mirror
def test_five_hundred_sites_need_less_than_four_gib(tmp_path: Path, mirror: Path) -> None:
    path = tmp_path / "glass.cif"
    disordered_glass(500).to(filename=str(path), fmt="cif")
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, str(path), "formation_energy", str(tmp_path)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.strip().splitlines()[-1])
    print(f"{found['sites']} sites, peak {found['gib']:.2f} GiB")
    assert found["sites"] == 500 and found["done"] == 1
    assert found["gib"] < LIMIT_GIB


@pytest.mark.mirror
def test_two_thousand_sites_are_a_reject_that_says_what_to_do(tmp_path: Path, mirror: Path) -> None:
    found = site_sets({"a": disordered_glass(2000)}, parent="formation_energy", cache_dir=tmp_path)
    assert not found.sets and found.rejects["id"].tolist() == ["a"]
    assert "2000 sites: expected at most 1000; use a smaller cell" in found.rejects["reason"][0]
