# Copyright 2026 the longconv authors. SPDX-License-Identifier: Apache-2.0
"""The build backend (PEP 517): scikit-build-core, and nothing else.

longconv must be built with ``--no-build-isolation``, so that the build sees the PyTorch it is for; but pip then installs
no build requirements either. So that an environment with PyTorch, g++ and CMake is enough, scikit-build-core is fetched
into a temporary folder for this one build where the environment lacks it.
"""

import atexit
import importlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile

REQUIREMENT = "scikit-build-core>=0.10"  # also in pyproject.toml, for isolated builds (sdist)

if importlib.util.find_spec("scikit_build_core") is None:
    _folder = tempfile.mkdtemp(prefix="longconv-build-")
    atexit.register(shutil.rmtree, _folder, ignore_errors=True)
    _install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", _folder]
    if subprocess.run([*_install, REQUIREMENT], check=False).returncode != 0:
        raise SystemExit(f"longconv: building needs {REQUIREMENT}, and pip could not fetch it: install it first")
    sys.path.insert(0, _folder)
    importlib.invalidate_caches()

from scikit_build_core.build import (  # noqa: E402
    build_editable,
    build_sdist,
    build_wheel,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
    prepare_metadata_for_build_wheel,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
    "prepare_metadata_for_build_wheel",
]
