"""One real session: JupyterLab in headless Chromium runs notebook 01 and uses its panel.

Needs the extra ``lab`` and chromium with chromedriver; skipped with the reason where they are missing. The
screenshots lie in pytest's temporary folder (``--basetemp``).
"""

import base64
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import requests

from sselib.paths import project_root

pytestmark = pytest.mark.slow
_TOKEN = "only-for-this-test"
# A page without focus has no current widget: the notebook is looked up, then brought forward.
_OPEN = """
const app = window.jupyterapp, panels = app ? [...app.shell.widgets("main")] : [];
const notebook = panels.find(w => w.context && w.context.path.endsWith("01_curation.ipynb"));
if (!notebook || !notebook.context.isReady || !notebook.sessionContext.isReady) return false;
if (app.shell.currentWidget !== notebook) {
  app.shell.activateById(notebook.id);
  notebook.content.node.focus();
}
return app.shell.currentWidget === notebook;
"""
_RUN_ALL = "window.jupyterapp.commands.execute('notebook:run-all-cells')"
_TO_LAST = """
const content = window.jupyterapp.shell.currentWidget.content;
content.scrollToItem(content.widgets.length - 1, 'start');
"""
_FIGURE = "return document.querySelectorAll('.widget-vbox .js-plotly-plot .scatterlayer path.point').length"
_STATUS = """
const found = [...document.querySelectorAll('.widget-html-content b')].map((b) => b.textContent);
return found.find((text) => / of .* rows$/.test(text)) || '';
"""
_TITLE = "const h = document.querySelector('.widget-html-content h3'); return h ? h.textContent : ''"
_STRUCTURE = "return document.querySelectorAll('.widget-vbox .js-plotly-plot .gl-container canvas').length"
_ERRORS = (
    "return [...document.querySelectorAll('.jp-RenderedText[data-mime-type*=error]')].map(e => e.textContent)"
)


@dataclass(frozen=True)
class Browser:
    """A chromium that chromedriver steers, through W3C WebDriver's REST interface."""

    session: str

    def call(self, method: str, command: str, **body: object) -> object:
        """Return the value that the driver answers; the driver's message if it refuses."""
        answer = requests.request(
            method, f"{self.session}/{command}", json=body if method == "POST" else None, timeout=120
        ).json()
        if isinstance(answer["value"], dict) and "error" in answer["value"]:
            raise AssertionError(answer["value"]["message"])
        return answer["value"]

    def script(self, text: str) -> object:
        """Run JavaScript in the page and return its value."""
        return self.call("POST", "execute/sync", script=text, args=[])

    def wait(self, text: str, *, seconds: float, until: Callable[[object], bool] = bool) -> object:
        """Return the script's value as soon as ``until`` holds for it; fail after ``seconds``."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.script(text)
            if until(value):
                return value
            time.sleep(0.25)
        raise AssertionError(f"after {seconds} s the page still gives {value!r} for: {text.strip()}")

    def find(self, css: str) -> str:
        """Return the reference of the first element of a CSS selector."""
        found = self.call("POST", "element", using="css selector", value=css)
        return next(iter(found.values()))

    def press(self, css: str, keys: str) -> None:
        """Send keys to an element."""
        self.call("POST", f"element/{self.find(css)}/value", text=keys)

    def click(self, css: str) -> None:
        """Click an element."""
        self.script(f"document.querySelector({css!r}).scrollIntoView({{block: 'center'}})")
        self.call("POST", f"element/{self.find(css)}/click")

    def screenshot(self, path: Path) -> Path:
        """Write the visible page as PNG."""
        path.write_bytes(base64.b64decode(self.call("GET", "screenshot")))
        return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _until_up(url: str, process: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + 300
    while time.monotonic() < end and process.poll() is None:
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.2)  # not listening yet
    raise AssertionError(f"{url} did not come up: {log.read_text()[-2000:]}")


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Return a function that starts a server and waits for its URL; all are ended after the test."""
    processes = []

    def started(command: list[str], *, url: str, env: dict[str, str] | None = None) -> None:
        log = tmp_path / f"{Path(command[0]).name}-{len(processes)}.log"
        with log.open("w") as out:
            process = subprocess.Popen(command, env=env, stdout=out, stderr=out, cwd=tmp_path)
        processes.append(process)
        _until_up(url, process, log)

    yield started
    for process in reversed(processes):
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()


@pytest.fixture
def browser(tmp_path: Path, start: Callable[..., None]) -> Iterator[Browser]:
    """Return a headless chromium of 1500 by 1100 pixels."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs chromium and chromedriver")
    base = f"http://127.0.0.1:{_free_port()}"
    start([driver, f"--port={base.rsplit(':', 1)[1]}"], url=f"{base}/status")
    arguments = ["--headless", "--no-sandbox", "--no-first-run", "--disable-background-networking"]
    arguments += ["--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--window-size=1500,1100"]
    arguments += [f"--user-data-dir={tmp_path / 'chromium'}"]
    wish = {"alwaysMatch": {"goog:chromeOptions": {"binary": chromium, "args": arguments}}}
    answer = requests.post(f"{base}/session", json={"capabilities": wish}, timeout=60).json()["value"]
    found = Browser(f"{base}/session/{answer['sessionId']}")
    # Newer headless pages have no focus, and JupyterLab then has no current widget.
    focus = {"cmd": "Emulation.setFocusEmulationEnabled", "params": {"enabled": True}}
    found.call("POST", "goog/cdp/execute", **focus)
    yield found
    requests.delete(found.session, timeout=30)


@pytest.fixture
def lab(tmp_path: Path, start: Callable[..., None]) -> str:
    """Return the address of a JupyterLab whose folder holds a copy of notebook 01."""
    if importlib.util.find_spec("jupyterlab") is None:
        pytest.skip("needs the extra lab (jupyterlab)")
    folder = tmp_path / "lab"
    folder.mkdir()
    shutil.copy(project_root() / "notebooks" / "01_curation.ipynb", folder)
    base = f"http://127.0.0.1:{_free_port()}"
    options = {
        "ServerApp.port": base.rsplit(":", 1)[1],
        "IdentityProvider.token": _TOKEN,
        "ServerApp.root_dir": folder,
        "ServerApp.allow_root": True,
        "LabApp.expose_app_in_browser": True,
    }
    command = [
        sys.executable,
        "-m",
        "jupyterlab",
        "--no-browser",
        *(f"--{k}={v}" for k, v in options.items()),
    ]
    notices = (
        tmp_path / "settings" / "@jupyterlab" / "apputils-extension" / "notification.jupyterlab-settings"
    )
    notices.parent.mkdir(parents=True)
    notices.write_text('{"fetchNews": "false", "checkForUpdates": false}')
    ours = {"JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings")}
    ours |= {"JUPYTER_CONFIG_DIR": str(tmp_path / "config"), "SSE_CACHE": str(tmp_path / "cache")}
    ours |= {"SSE_HOME": str(tmp_path / "home"), "PYTHONPATH": os.pathsep.join(sys.path)}
    _project_home(tmp_path / "home")
    env = {k: v for k, v in os.environ.items() if k not in ("SSE_PROGRESS", "SSE_PANELS", "PLOTLY_RENDERER")}
    start(command, url=f"{base}/api/status?token={_TOKEN}", env=env | ours)
    return f"{base}/lab/tree/01_curation.ipynb?token={_TOKEN}"


def _project_home(home: Path) -> None:
    """Make a folder that holds the suite's data and parameters, so that runs/smoke is written there."""
    home.mkdir()
    for name in ("data", "params", "notebooks", "pyproject.toml"):
        (home / name).symlink_to(project_root() / name)


def test_notebook_01_runs_in_jupyterlab_and_its_panel_follows(
    lab: str, browser: Browser, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    begin = time.monotonic()
    browser.call("POST", "url", url=lab)
    browser.wait(_OPEN, seconds=300)
    opened = time.monotonic() - begin
    browser.script("window.jupyterapp.commands.execute('application:toggle-left-area')")
    browser.script(_RUN_ALL)
    browser.script(_TO_LAST)
    browser.wait(_STATUS, seconds=240)
    points = browser.wait(_FIGURE, seconds=180, until=lambda n: n > 20)
    first = time.monotonic() - begin
    record_property("seconds_until_notebook_open", round(opened, 1))
    record_property("seconds_until_first_interactive_figure", round(first, 1))
    print(f"notebook open after {opened:.1f} s, first interactive figure after {first:.1f} s")
    browser.wait(_STRUCTURE, seconds=180)
    assert browser.script(_ERRORS) == []
    browser.script(_TO_LAST)
    time.sleep(2)  # for the picture only
    browser.screenshot(tmp_path / "panel.png")

    before = browser.script(_STATUS)
    browser.press(".noUi-handle-lower", "\ue014" * 40)  # 40 steps of 0.25 log units to the right
    moved = browser.wait(_STATUS, seconds=120, until=lambda text: text != before)
    shown = browser.wait(_FIGURE, seconds=120, until=lambda n: n < points)
    assert int(moved.split()[0]) < int(before.split()[0]) and shown < points
    browser.screenshot(tmp_path / "slider.png")

    browser.click(".sse-tile[title^='Sulfur']")
    fewer = browser.wait(_STATUS, seconds=120, until=lambda text: text != moved)
    assert 0 < int(fewer.split()[0]) < int(moved.split()[0])
    title = browser.script(_TITLE)
    browser.click(".sse-table tbody tr:not(.selected)")
    assert browser.wait(_TITLE, seconds=120, until=lambda text: text != title)
    browser.wait("return document.querySelectorAll('.sse-table tr.selected').length", seconds=60)
    time.sleep(3)  # the 3D figure is drawn after the text
    assert browser.screenshot(tmp_path / "compound.png").stat().st_size > 50_000
