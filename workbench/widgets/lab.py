"""The workbench in a tab of JupyterLab: what `lab.js` runs on the tab's kernel."""

from __future__ import annotations

import json
from pathlib import Path

from IPython.display import display

from .workbench import Workbench


def open_tab(asked: str) -> None:
    """Show the workbench in the tab whose kernel this is; the same again where the page was loaded anew.

    Args:
        asked: JSON, ``{"path", "root", "sample"}``: a file by its path below the folder that JupyterLab serves; or no
            path, and a sample model to make and pick, if any.
    """
    wanted = json.loads(asked)
    if wanted["path"]:
        path = Path(wanted["root"]).expanduser() / wanted["path"]
        # A kernel on another machine has its folders elsewhere; it was started in the file's.
        path = path if path.exists() else Path.cwd() / path.name
        workbench = Workbench(path, root=path.parent, picker=False)
    else:
        workbench = Workbench(picker=False)
        if wanted["sample"] and not workbench.path:
            workbench.session.start("sample", wanted["sample"])
    # Without the still copy that saved notebooks keep.
    display({"application/vnd.jupyter.widget-view+json": workbench.get_view_spec()}, raw=True)
