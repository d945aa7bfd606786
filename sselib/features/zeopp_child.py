"""Run Zeo++ on one structure, in a process of its own, because Zeo++ may end the process that calls it.

Called as ``python zeopp_child.py FOLDER``; the folder holds ``in.cif`` and ``radii.rad`` and receives
``spheres.res`` (diameters) and ``network.nt2`` (the Voronoi network). It imports nothing but pyzeo, so
that it starts in some hundredths of a second. Used by `sselib.features.zeopp` only.
"""

import os
import sys

from pyzeo.extension import AtomNetwork, writeNt2file


def _run(folder: str) -> None:
    """Write the sphere diameters and the Voronoi network of ``in.cif`` beside it."""
    os.chdir(folder)
    atoms = AtomNetwork.read_from_CIF("in.cif", rad_flag=True, rad_file="radii.rad")
    atoms.calculate_free_sphere_parameters("spheres.res")
    network = atoms.perform_voronoi_decomposition()[0]
    writeNt2file(b"network.nt2", network, 0.0)


if __name__ == "__main__":
    _run(sys.argv[1])
