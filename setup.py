"""Build the hot modules; everything else about the project is in pyproject.toml.

RINGTAP_CHECKED=1 selects the checked profile of the tests: bounds checked, asserts kept, no optimiser surprises.
The two profiles differ in nothing else, and no source file overrides a directive that is set here.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

CHECKED = os.environ.get("RINGTAP_CHECKED") == "1"
PROFILE = "checked" if CHECKED else "release"
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": CHECKED,
    "wraparound": False,
    "initializedcheck": CHECKED,
    "cdivision": not CHECKED,
    "embedsignature": False,
}
FLAGS = ["-O1", "-g", "-UNDEBUG"] if CHECKED else ["-O3", "-g1", "-DNDEBUG", "-fno-omit-frame-pointer"]


def extensions() -> list[Extension]:
    """Return one extension for each .pyx of the four packages."""
    return [
        Extension(
            ".".join(source.with_suffix("").parts),
            [str(source)],
            extra_compile_args=[*FLAGS, "-Wno-unused-function"],
        )
        for package in ("capture", "assemble", "emit", "pipeline")
        for source in sorted(Path(package).glob("*.pyx"))
    ]


setup(
    ext_modules=cythonize(
        extensions(),
        compiler_directives=DIRECTIVES,
        build_dir=f"build/cython-{PROFILE}",
        nthreads=os.cpu_count() or 1,
        quiet=True,
    )
)
