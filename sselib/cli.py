"""The command line `sse`: run the notebooks, render the report, look after the data, check the notebooks."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sselib import __version__
from sselib.errors import SSEError

# For a process of ours, set before NumPy is loaded; importing the package leaves a user's session alone.
# Threads of a fit that wait for each other must not spin: beside other work on the machine a fit of a second
# would take a minute. Matrices here have hundreds of rows: a second thread of BLAS makes a Gaussian process
# four times slower; fits side by side use the cores instead.
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"}
# Each command imports what it needs when it is called, so that `sse --help` answers at once.


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return 0, 1 for an error that is named, 2 for wrong usage, 130 for Ctrl-C."""
    options = _parser().parse_args(arguments)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        return options.command(options)
    except SSEError as error:
        if options.debug:
            raise
        print(f"sse: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sse: interrupted; what is finished is kept, --resume continues", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output, such as `head`, has closed it
        sys.stderr.close()
        return 1
    except (OSError, MemoryError, UnicodeError) as error:  # a full disk, a folder without permission ...
        if options.debug:
            raise
        print(f"sse: error: {_reason(error)}", file=sys.stderr)
        return 1


def _say(text: str) -> None:
    print(text, flush=True)


def _reason(error: Exception) -> str:
    """Return one line on an error of the system: the file and what is the matter with it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    why = " (not enough memory for this input)" if isinstance(error, MemoryError) else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{why}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="sse", description=__doc__.splitlines()[0])
    parser.add_argument("--version", action="version", version=f"sselib {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for add in (_add_run, _add_report, _add_predict, _add_data, _add_check):
        add(commands)
    return parser


def _command(
    commands: argparse._SubParsersAction, name: str, text: str, command: Callable[[argparse.Namespace], int]
) -> argparse.ArgumentParser:
    """Add a command with the option that all have."""
    parser = commands.add_parser(name, help=text, description=text)
    parser.add_argument("--debug", action="store_true", help="show the full traceback of an error")
    parser.set_defaults(command=command)
    return parser


def _add_run(commands: argparse._SubParsersAction) -> None:
    run = _command(commands, "run", "execute notebooks in order with the parameters of a profile", _run)
    run.add_argument(
        "notebooks", nargs="*", metavar="NOTEBOOK", help="number or name, such as 04; none means all"
    )
    run.add_argument("--profile", default="smoke", help="smoke (default), quick, paper or gpu")
    run.add_argument("--out", type=Path, required=True, metavar="RUN", help="run folder")
    run.add_argument(
        "-p",
        action="append",
        default=[],
        dest="parameters",
        metavar="NAME=VALUE",
        help="override a parameter (04.NAME=VALUE: only of notebook 04); VALUE as in YAML; repeatable",
    )
    run.add_argument("--resume", action="store_true", help="keep what is done and unchanged")
    run.add_argument("--keep-going", action="store_true", help="go on with the next notebook after a failure")
    run.add_argument("--no-png", action="store_true", help="draw no PNG files of the figures")


def _run(options: argparse.Namespace) -> int:
    from sselib.running.runner import RunRequest, run

    request = RunRequest(
        out=options.out,
        profile=options.profile,
        notebooks=tuple(options.notebooks),
        overrides=tuple(options.parameters),
        resume=options.resume,
        keep_going=options.keep_going,
        pngs=not options.no_png,
    )
    run(request, say=_say)
    _say(f"run folder: {options.out} (render it with: sse report {options.out})")
    return 0


def _add_report(commands: argparse._SubParsersAction) -> None:
    text = "render a run folder to RUN/report/index.html, readable offline"
    _command(commands, "report", text, _report).add_argument(
        "run", type=Path, metavar="RUN", help="run folder"
    )


def _report(options: argparse.Namespace) -> int:
    from sselib.reporting.report import render

    for page in render(options.run):
        _say(f"{page} ({page.stat().st_size / 1e6:.1f} MB)")
    return 0


def _add_predict(commands: argparse._SubParsersAction) -> None:
    text = "score formulas or crystal structures with the models of a run, one row each, in order"
    predict = _command(commands, "predict", text, _predict)
    source_help = (
        "CSV, TSV, .xlsx or .parquet with a column formula, list of formulas, CIF, folder of CIFs, "
        "or - (standard input)"
    )
    predict.add_argument("source", type=Path, metavar="INPUT", help=source_help)
    predict.add_argument("--run", type=Path, required=True, metavar="RUN", help="run folder with 04 (and 06)")
    predict.add_argument("--out", type=Path, required=True, metavar="CSV", help="file to write")
    predict.add_argument("--confidence", type=float, default=0.9, help="of the interval lower to upper (0.9)")
    predict.add_argument("--formula-column", default="formula", metavar="NAME", help="column of the formulas")
    predict.add_argument("--id-column", default="id", metavar="NAME", help="column of the ids, if any")
    predict.add_argument("--chunk", type=int, help="inputs scored at a time (2000 formulas, 64 structures)")
    predict.add_argument("--max-cif-mb", type=_positive, default=5.0, help="larger CIFs get a note (5)")
    predict.add_argument("--cif-seconds", type=_positive, default=20.0, help="time to read one CIF (20)")
    predict.add_argument("--resume", action="store_true", help="continue an interrupted output")


def _positive(text: str) -> float:
    """Return a number above 0; argparse turns the error into a line about wrong usage."""
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def _predict(options: argparse.Namespace) -> int:
    from sselib.materials.structure_input import CifLimits
    from sselib.prediction.predict import PredictRequest, predict

    request = PredictRequest(
        source=options.source,
        run=options.run,
        out=options.out,
        confidence=options.confidence,
        formula_column=options.formula_column,
        id_column=options.id_column,
        chunk=options.chunk,
        resume=options.resume,
        limits=CifLimits(max_bytes=int(options.max_cif_mb * 1e6), timeout_s=options.cif_seconds),
    )
    done = predict(request, say=lambda text: print(text, file=sys.stderr, flush=True))
    _say(f"{done.out}: {done.rows} rows, {done.scored} scored, {done.rows - done.scored} with a note instead")
    return 0 if done.scored else 1


def _add_data(commands: argparse._SubParsersAction) -> None:
    text = "list, fetch or verify the public data files"
    data = commands.add_parser("data", help=text, description=text)
    actions = data.add_subparsers(required=True, metavar="ACTION")
    _command(actions, "list", "every registered file and where it lies", _data_list)
    get = _command(actions, "get", "make sure that files are at hand, downloading what is not", _data_get)
    keys_help = "such as obelix/all.csv or obelix; none means all"
    get.add_argument("keys", nargs="*", metavar="KEY", help=keys_help)
    _command(actions, "verify", "check the sha256 of every file at hand", _data_verify)
    _add_data_import(actions)


def _add_data_import(actions: argparse._SubParsersAction) -> None:
    text = "check your own table and store it as a source that the notebooks find by its name"
    own = _command(actions, "import", text, _data_import)
    own.add_argument("table", metavar="TABLE", help=".csv, .tsv, .txt, .xlsx or .parquet")
    own.add_argument("--name", default="mine", help="name of the source (default: mine)")
    own.add_argument("--cifs", default="", metavar="FOLDER", help="CIFs named after an id or a formula")
    own.add_argument(
        "--map",
        nargs="+",
        action="extend",
        default=[],
        metavar="COLUMN=NAME",
        help="your column and the suite's name for it, such as 'sigma (mS/cm)=conductivity'; repeatable",
    )
    own.add_argument("--units", metavar="UNIT", help="S/cm, mS/cm, 10^-4 S/cm, log10, ...; else the header's")
    own.add_argument("--temperature-unit", metavar="UNIT", help="C or K; else from the header")
    own.add_argument("--to", default="", metavar="FOLDER", help="store it there instead (then SSE_OWN_DATA)")
    own.add_argument("--replace", action="store_true", help="overwrite an import of the same name")


def _data_import(options: argparse.Namespace) -> int:
    from sselib.sources.data_import import ImportRequest, import_table, report_lines, usage_lines

    request = ImportRequest(
        table=options.table,
        name=options.name,
        pairs=tuple(options.map),
        sigma_unit=options.units,
        temperature_unit=options.temperature_unit,
        cif_folder=options.cifs,
        to=options.to,
        replace=options.replace,
    )
    found = import_table(request)
    for line in (*report_lines(found), *usage_lines(found)):
        _say(line)
    return 0


def _data_list(_: argparse.Namespace) -> int:
    from sselib import registry
    from sselib.sources.data_import import stored_lines
    from sselib.sources.materials_project import status_line

    table = registry.status_table().replace({"origin": {"": "not at hand"}})
    _say(table.to_string(index=False, justify="left"))
    for line in (*stored_lines(), status_line()):
        _say(line)
    return 0


def _data_get(options: argparse.Namespace) -> int:
    from sselib import registry

    by_source = {s.name: [f.key for f in s.files] for s in registry.sources()}
    keys = [key for name in (options.keys or by_source) for key in by_source.get(name, [name])]
    for key in keys:
        found = registry.locate(key)
        _say(f"{found.key}: {found.path} ({found.origin}, {found.n_bytes} bytes, sha256 verified)")
    return 0


def _data_verify(_: argparse.Namespace) -> int:
    from sselib import registry

    table = registry.verify()
    _say(table.to_string(index=False, justify="left"))
    wrong = table["status"].str.startswith("wrong")
    return 1 if wrong.any() else 0


def _add_check(commands: argparse._SubParsersAction) -> None:
    text = "check notebooks and parameter files against the rules of this suite"
    check = _command(commands, "check", text, _check)
    check.add_argument(
        "paths", nargs="*", type=Path, metavar="NOTEBOOK", help="none means all and their parameters"
    )
    check.add_argument(
        "--refresh", action="store_true", help="execute, and store the outputs that nbval compares"
    )
    check.add_argument("--count", action="store_true", help="print how many cells and values nbval compares")


def _check(options: argparse.Namespace) -> int:
    from sselib.running import check

    if options.refresh:
        for path in check.refresh(options.paths, say=_say):
            _say(f"{path}: outputs of the compared cells written")
    if options.count:
        _say(check.count_text(options.paths))
        return 0
    findings = check.lint(options.paths)
    for finding in findings:
        _say(str(finding))
    _say(f"sse check: {len(findings)} finding{'s' * (len(findings) != 1)}")
    return 1 if findings else 0
