"""A small suite in a temporary folder: notebooks, parameter files and the marker that names it one."""

from pathlib import Path

import nbformat
from nbformat import NotebookNode, v4

IMPORTS = "import time\n\nfrom sselib.runfolder import open_run"
SECTIONS = (
    "Inputs",
    "Parameters",
    "Method",
    "Result",
    "Checks",
    "What this does not show",
    "Outputs written",
)
RUN_DIR = 'run_dir: str = ""  # run folder'


def markdown(text: str) -> NotebookNode:
    """Return a markdown cell."""
    return v4.new_markdown_cell(text)


def code(text: str, *tags: str) -> NotebookNode:
    """Return a code cell."""
    return v4.new_code_cell(text, metadata={"tags": list(tags)} if tags else {})


def notebook(name: str, *cells: NotebookNode, parameters: str = "", imports: str = IMPORTS) -> NotebookNode:
    """Return a notebook that keeps to the rules and ends with the given cells."""
    head = [
        markdown(f"# {name}\n\n## Question\n\nIs {name} *right*?"),
        code(imports),
        code(f"{RUN_DIR}\n{parameters}".strip(), "parameters"),
        code(f"run = open_run(run_dir, notebook='{name}')"),
    ]
    node = v4.new_notebook(cells=[*head, *(markdown(f"## {s}\n\nText.") for s in SECTIONS), *cells])
    node.metadata = nbformat.from_dict(
        {
            "kernelspec": {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"},
            "language_info": {"name": "python"},
        }
    )
    return node


def make(
    root: Path,
    notebooks: dict[str, NotebookNode],
    *,
    values: str = "",
    profiles: tuple[str, ...] = ("smoke", "quick", "paper", "gpu"),
) -> Path:
    """Write the notebooks and a parameter file of each in every profile; return the suite's folder."""
    for folder in ("data", "notebooks", *(f"params/{p}" for p in profiles)):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "data" / "sources.yaml").write_text("sources: {}\n")
    for name, node in notebooks.items():
        nbformat.write(node, root / "notebooks" / f"{name}.ipynb")
        for profile in profiles:
            (root / "params" / profile / f"{name}.yaml").write_text(values)
    return root
