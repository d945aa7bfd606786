"""PNG files of saved plotly figures, drawn by a Chrome or Chromium where there is one.

The drawing runs in a process of its own with a time limit, so that a browser that hangs or crashes
costs pictures, never a run.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from sselib.running.processes import descendants, end

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_WIDTH_PX, _HEIGHT_PX, _SCALE = 900, 520, 1.5


def find_browser() -> str | None:
    """Return the browser named by `BROWSER_PATH`, else the first one on the search path, else None."""
    named = os.environ.get("BROWSER_PATH")
    if named:
        return named if Path(named).is_file() else None
    return next(filter(None, map(shutil.which, _BROWSERS)), None)


def export_pngs(folder: Path, *, timeout_s: float = 120.0) -> str:
    """Draw ``folder/*.json`` (plotly figures) as PNG beside them; return one line about what is missing.

    The line is empty if every figure was drawn. Figures that already have a newer PNG are left alone.
    """
    wanted = [p for p in sorted(folder.glob("*.json")) if _outdated(p)]
    if not wanted:
        return ""
    browser = find_browser()
    if browser is None:
        return (
            "no PNG of the figures: neither BROWSER_PATH nor the search path names a Chrome or Chromium "
            "(the report shows the figures without it)"
        )
    problem = _in_own_process(wanted, browser=browser, timeout_s=timeout_s)
    missing = [p.stem for p in wanted if _outdated(p)]
    return f"no PNG of {', '.join(missing)}: {problem or 'the browser drew nothing'}" if missing else ""


def _outdated(figure: Path) -> bool:
    png = figure.with_suffix(".png")
    return not png.is_file() or png.stat().st_mtime < figure.stat().st_mtime


def _in_own_process(figures: list[Path], *, browser: str, timeout_s: float) -> str:
    """Run `draw` in a child process; return why it failed, or an empty text."""
    command = [sys.executable, "-m", "sselib.running.pngs", *map(str, figures)]
    environment = os.environ | {"BROWSER_PATH": browser}
    child = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
    )
    try:
        _, errors = child.communicate(timeout=timeout_s)
    except subprocess.TimeoutExpired:
        return f"the browser took longer than {timeout_s:.0f} s"
    finally:
        end(descendants(child.pid) if child.poll() is None else [])
        child.kill()
        child.wait()
    return (errors.strip().splitlines() or ["it ended without a word"])[-1][:200] if child.returncode else ""


def draw(paths: list[str]) -> None:
    """Draw each figure aside and rename it into place; one browser for all of them."""
    import kaleido

    figures = [Path(p) for p in paths]
    aside = [p.with_name(f".{p.stem}.part.png") for p in figures]
    jobs = [_job(json.loads(p.read_text(encoding="utf-8")), q) for p, q in zip(figures, aside)]
    # mathjax=False: kaleido would fetch it from the network
    problems = kaleido.write_fig_from_object_sync(jobs, kopts={"n": 1, "mathjax": False, "timeout": 60})
    for figure, part in zip(figures, aside):
        if part.is_file():
            part.replace(figure.with_suffix(".png"))
    if problems:
        sys.exit(f"{type(problems[0]).__name__}: {problems[0]}")


def _job(figure: dict, path: Path) -> dict[str, object]:
    layout = figure.get("layout", {})
    size = {"width": layout.get("width") or _WIDTH_PX, "height": layout.get("height") or _HEIGHT_PX}
    return {"fig": figure, "path": str(path), "opts": {"format": "png", "scale": _SCALE} | size}


if __name__ == "__main__":
    draw(sys.argv[1:])
