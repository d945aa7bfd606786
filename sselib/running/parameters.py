"""Values of notebook parameters: reading parameter files and checking them against a notebook."""

import contextlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import yaml
from pydantic import TypeAdapter, ValidationError

from sselib.errors import ParameterError, nearest
from sselib.paths import project_root
from sselib.running.notebooks import Notebook, Parameter, read_parameters

PROFILES: tuple[str, ...] = ("smoke", "quick", "paper", "gpu")
RUN_DIR = "run_dir"  # set by the runner, never by a parameter file
_KINDS = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict, "None": None}


class _UniqueKeys(yaml.SafeLoader):
    """YAML that refuses a key given twice, where plain YAML takes the last without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Return the mapping of a node; raises `ParameterError` for a key given twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        twice = sorted({str(key) for key in keys if keys.count(key) > 1})
        if twice:
            raise ParameterError(f"{node.start_mark.name}: '{twice[0]}' is given twice: keep one")
        return super().construct_mapping(node, deep)


def parameter_file(notebook: str, profile: str) -> Path:
    """Return the path of a notebook's parameter file; it may not exist."""
    return project_root() / "params" / profile / f"{notebook}.yaml"


def check_profile(profile: str) -> str:
    """Return the profile if there is one of that name. Raises `ParameterError` otherwise."""
    if profile not in PROFILES:
        raise ParameterError(
            f"there is no profile '{profile}': expected one of {', '.join(PROFILES)}."
            f"{nearest(profile, list(PROFILES))}"
        )
    return profile


def read_values(path: Path) -> dict[str, object]:
    """Read a parameter file. Raises `ParameterError` if it is missing, no YAML or no mapping of names."""
    try:
        with path.open(encoding="utf-8") as stream:
            values = yaml.load(stream, Loader=_UniqueKeys)
    except FileNotFoundError as error:
        raise ParameterError(
            f"there is no parameter file {path.name} for the profile '{path.parent.name}': "
            f"expected {path} (an empty file means the notebook's defaults)"
        ) from error
    except yaml.YAMLError as error:
        raise ParameterError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from error
    if values is not None and not isinstance(values, dict):
        raise ParameterError(f"{path} holds a {type(values).__name__}: expected lines 'name: value'")
    return {str(name): value for name, value in (values or {}).items()}


def parse_assignment(text: str) -> tuple[str, object]:
    """Read ``name=value`` or ``04.name=value``; the value is a YAML literal. Raises `ParameterError`."""
    name, sign, value = text.partition("=")
    if not sign or not name.strip():
        raise ParameterError(f"'-p {text}' is no parameter: expected -p name=value")
    try:
        return name.strip(), yaml.load(value, Loader=_UniqueKeys)
    except yaml.YAMLError as error:
        raise ParameterError(
            f"'-p {text}': the value is not valid YAML: {' '.join(str(error).split())}"
        ) from error


def check_value(parameter: Parameter, value: object, *, where: str) -> object:
    """Return the value if it has the parameter's type; an integer serves where a float is expected.

    Raises `ParameterError` naming ``where``, both types and the remedy.
    """
    wanted = _wanted(parameter)
    try:
        return TypeAdapter(wanted).validate_python(value, strict=True)
    except ValidationError as error:
        raise ParameterError(
            f"{where}: parameter '{parameter.name}' is {value!r} ({type(value).__name__}), expected "
            f"{parameter.kind or wanted.__name__} such as {parameter.default!r}"
            f"{_remedy(value, wanted)}"
        ) from error


def _wanted(parameter: Parameter) -> object:
    """Return the type of a parameter: its annotation, else the type of its default."""
    if not parameter.kind:
        return type(parameter.default)
    try:
        return eval(parameter.kind, {"__builtins__": {}}, dict(_KINDS))
    except (NameError, TypeError, SyntaxError, AttributeError) as error:
        raise ParameterError(
            f"parameter '{parameter.name}' has the type '{parameter.kind}': expected one built from "
            f"{', '.join(_KINDS)}, such as list[str] or float | None"
        ) from error


def _remedy(value: object, wanted: object) -> str:
    if isinstance(value, str) and ("float" in str(wanted) or "int" in str(wanted)):
        with contextlib.suppress(ValueError):  # no number at all
            with_point = np.format_float_scientific(float(value), trim="0", exp_digits=1)
            written = with_point if "e" in value.lower() else value
            return f": YAML reads {value} as a text, write {written}"
    if isinstance(value, bool) and "str" in str(wanted):
        return ": YAML reads yes, no, on and off as true and false, put the word in quotes"
    return ""


def check_values(
    values: Mapping[str, object], parameters: Mapping[str, Parameter], *, where: str
) -> dict[str, object]:
    """Return the values checked against the parameters. Raises `ParameterError` for an unknown name."""
    for name in values:
        if name not in parameters:
            raise ParameterError(
                f"{where}: there is no parameter '{name}', papermill would ignore it: expected one of "
                f"{', '.join(parameters)}.{nearest(name, list(parameters))}"
            )
    return {name: check_value(parameters[name], value, where=where) for name, value in values.items()}


def values_of_profile(notebook: Notebook, profile: str) -> dict[str, object]:
    """Return the checked content of a notebook's parameter file.

    Raises `ParameterError` if the notebook has no `run_dir`, without which `sse run` cannot tell it
    where to write, or if the file sets it.
    """
    parameters = read_parameters(notebook)
    if RUN_DIR not in parameters:
        raise ParameterError(
            f"{notebook.name} has no parameter 'run_dir': add 'run_dir: str = \"\"  # run folder' "
            "to its parameters cell and open it with sselib.runfolder.open_run"
        )
    path = parameter_file(notebook.name, profile)
    values = check_values(read_values(path), parameters, where=f"{path.parent.name}/{path.name}")
    if RUN_DIR in values:
        raise ParameterError(
            f"{path.parent.name}/{path.name} sets 'run_dir': remove it, sse run --out sets it"
        )
    return values


def resolve(notebooks: list[Notebook], *, profile: str, overrides: list[str]) -> dict[str, dict[str, object]]:
    """Return the values of every notebook: the profile's file, then the overrides (``name=value``).

    ``04.name=value`` addresses one notebook, ``name=value`` every notebook that has the parameter.
    Raises `ParameterError` if no selected notebook knows an override.
    """
    values = {n.name: values_of_profile(n, check_profile(profile)) for n in notebooks}
    known = {n.name: read_parameters(n) for n in notebooks}
    for text in overrides:
        address, value = parse_assignment(text)
        prefix, dot, rest = address.partition(".")
        name, targets = (rest, [n for n in known if prefix in (n, n[:2])]) if dot else (address, list(known))
        if name == RUN_DIR:
            raise ParameterError(f"-p {text}: the run folder is given with --out")
        users = [n for n in targets if name in known[n]]
        if not users:
            everything = sorted({p for n in (targets or known) for p in known[n]})
            raise ParameterError(
                f"-p {text}: no selected notebook ({', '.join(known)}) has a parameter '{name}'."
                f"{nearest(name, everything)}"
            )
        for notebook in users:
            values[notebook][name] = check_value(known[notebook][name], value, where=f"-p {text}")
    return values
