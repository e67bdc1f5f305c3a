#!/usr/bin/env bash
# Makes the virtual environment that the Makefile works in: the tested set of packages, and this one, editable.
set -euo pipefail

venv=$1
wanted="from 3.11 to 3.13"

# A name on PATH need not be a Python that starts, so each is asked. The oldest supported comes first: it is the tested one.
find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      command -v "$candidate"
      return
    fi
  done
  return 1
}

if ! python=$(find_python); then
  echo "No Python $wanted found (python3 is $(python3 --version 2>&1 || echo missing)). Install one, or name it: make PYTHON=/path/to/python3.12" >&2
  exit 1
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
  echo "$python cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2
  exit 1
fi

# One that an older or broken Python left is made anew; one that works is only brought up to date.
if ! "$venv/bin/python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
  rm -rf "$venv"
  echo "Making $venv with $("$python" --version); the first time this downloads some 200 packages."
  "$python" -m venv "$venv"
fi
export PIP_DISABLE_PIP_VERSION_CHECK=1
"$venv/bin/python" -m pip install --quiet --use-pep517 --require-hashes -r constraints.txt
# Its dependencies are there, and so is its build backend: nothing more is looked up.
"$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation --editable .
