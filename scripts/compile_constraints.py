"""Compile constraints.txt anew: the newest versions that pyproject.toml allows, with hashes, without an index address.

Run by ``make constraints``. The result is universal: one file for every Python and platform that the package supports.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
OURSELVES = "airflow-enterprise-orch"
HEADER = "# The tested set, with the hashes of every file. Compiled by `make constraints`; not edited by hand.\n"


def requirements() -> list[str]:
    """Return what the package needs with all extras, to be developed, and to be built."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())
    project = data["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values(), data["dependency-groups"]["dev"]]
    # hatchling builds editable wheels with editables; named here because the build runs without isolation.
    groups += [data["build-system"]["requires"], ["editables"]]
    return sorted({entry for group in groups for entry in group if not entry.startswith(OURSELVES)})


def main() -> int:
    """Write the file; return the exit status."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "requirements.in"), Path(folder, "constraints.txt")
        source.write_text("\n".join(requirements()) + "\n")
        command = [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal", "--python-version", "3.11"),
            *("--generate-hashes", "--no-emit-index-url", "--no-emit-find-links", "--no-header", "--no-annotate"),
            *("--output-file", str(target), str(source)),
        ]
        code = subprocess.run(command, check=False).returncode  # noqa: S603 - our own command, no shell
        if code == 0:
            (ROOT / "constraints.txt").write_text(HEADER + target.read_text())
        return code


if __name__ == "__main__":
    raise SystemExit(main())
