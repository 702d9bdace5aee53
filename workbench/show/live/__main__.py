"""``python -m workbench.show.live``: bring ONNX Runtime Web, so that reports can answer."""

import sys

from ...errors import WorkbenchError
from .runtime import install

try:
    print(install())
except WorkbenchError as error:
    sys.exit(f"workbench: {error}")
