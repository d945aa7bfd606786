"""The text of a small CIF in P1, for the tests that read files."""


def p1_cif(*, name: str = "LiCl", element: str = "Li", a_angstrom: float = 4) -> str:
    """Return a CIF with one ``element`` and one chlorine in an orthogonal cell (b, c: 4 Angstrom)."""
    return f"""data_{name}
_cell_length_a {a_angstrom}
_cell_length_b 4
_cell_length_c 4
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'P 1'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
{element}1 {element} 0 0 0
Cl1 Cl 0.5 0.5 0.5
"""
