"""What an installation puts beside the package: JupyterLab's extension, for the suffixes of our own formats, and the
kernel of its tabs, which imports nothing from the folder it starts in: a stranger's model may lie there."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NAME = "onnx-workbench"

# The formats' records need nothing but Python, and nothing else is there while a wheel is built: hence without the
# package's own __init__, and in a process that sees no installed package.
ASK = """
import json, sys, types
package = sys.modules["workbench"] = types.ModuleType("workbench")
package.__path__ = [sys.argv[1]]
from workbench.files.registry import model_suffixes
print(json.dumps(model_suffixes()))
"""


class LabExtension(BuildHookInterface[Any]):
    """Makes ``share/jupyter/labextensions/onnx-workbench`` of `workbench/widgets/lab.js`, and the kernel beside it."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        package = Path(self.root, "workbench")
        ask = [sys.executable, "-I", "-S", "-B", "-c", ASK, str(package)]
        suffixes = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.strip()
        script = (package / "widgets" / "lab.js").read_text("utf-8")
        script = f"globalThis.workbenchSuffixes = {suffixes};\n{script}"
        load = f"static/lab.{hashlib.sha256(script.encode()).hexdigest()[:12]}.js"  # another name for browsers' caches
        described = {
            "name": NAME,
            "version": self.metadata.version,
            "description": self.metadata.core.description,
            "license": self.metadata.core.license,
            "jupyterlab": {"extension": True, "_build": {"load": load, "extension": "./extension"}},
        }
        kernel = {
            "argv": ["python", "-P", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "Python 3 (a model's tab)",
            "language": "python",
        }
        extension, kernels = f"labextensions/{NAME}", f"kernels/{NAME}"
        files = {
            f"{extension}/{load}": script,
            f"{extension}/package.json": json.dumps(described, indent=2),
            f"{extension}/install.json": json.dumps({"packageManager": "python", "packageName": NAME}, indent=2),
            f"{kernels}/kernel.json": json.dumps(kernel, indent=2),
        }
        self.made = tempfile.TemporaryDirectory()
        for name, text in files.items():
            path = Path(self.made.name, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
            build_data["shared_data"][str(path)] = f"share/jupyter/{name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self.made.cleanup()
