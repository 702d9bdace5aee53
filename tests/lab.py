"""A real JupyterLab on a folder of its own, for the browser tests."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.request import urlopen

ROOT = Path(__file__).parent.parent


@contextmanager
def jupyter_lab(folder: Path, base_url: str = "/user/ada/") -> Iterator[str]:
    """Serve `folder`; yields the address with its token, ``{address}`` taking a path: ``…/{}?token=…``.

    Below a prefix, as on Binder and JupyterHub, unless said otherwise: whoever forgets it in an address is found out.
    """
    home = folder.parent / f"{folder.name}-home"
    profile = home / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    # What was typed in tests is nobody's history; and where a test fills the disk, the history's cry is not its.
    (profile / "ipython_config.py").write_text("c.HistoryManager.enabled = False\n")
    # A home of its own: the tester's JupyterLab settings and workspaces stay out, and untouched.
    environment = {
        **os.environ,
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
    }
    log = (home / "log").open("wb")
    server = subprocess.Popen(
        [
            sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--port=0", "--ip=127.0.0.1",
            f"--ServerApp.root_dir={folder}", "--LabApp.news_url=", "--LabApp.check_for_updates_class="
            "jupyterlab.NeverCheckForUpdate", f"--ServerApp.base_url={base_url}",
        ],
        env=environment, stdout=log, stderr=log,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline:
            infos = list((home / "runtime").glob("jpserver-*.json"))
            if infos and (text := infos[0].read_text()):
                info = json.loads(text)
                break
            if server.poll() is not None:
                break
            time.sleep(0.1)
        else:
            info = None
        assert infos, (home / "log").read_text()
        while server.poll() is None and time.monotonic() < deadline:  # its file is there before it listens
            with suppress(OSError), urlopen(f"{info['url']}api?token={info['token']}", timeout=60):
                break
            time.sleep(0.1)
        yield f"{info['url']}{{}}?token={info['token']}"
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
        log.close()


def notebooks_in(folder: Path) -> Path:
    """A copy of the notebooks to work on."""
    shutil.copytree(ROOT / "notebooks", folder, ignore=shutil.ignore_patterns("models", ".ipynb_checkpoints"))
    return folder
