"""The judges of ../exercises, who answer in Korean here unless WORKBENCH_LANGUAGE says otherwise.

Importing this module gives that package: the notebooks of both folders say ``from exercises import check``.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("WORKBENCH_LANGUAGE", "ko")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
del sys.modules[__name__]  # of this module; the next line finds the package, and Python hands on what is there then
__import__(__name__)
