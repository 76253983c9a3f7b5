"""One script for a bare machine: ``python make.py demo``, ``python make.py test``. Python and pip are all it needs.

It makes an environment in ``.venv``, installs the package with the versions of ``constraints.txt``, and runs the command:

demo   the whole road on the tiny models that come with the project; prints where the report is. Run again, it goes on.
test   lint, types, tests (without those marked slow or gpu; browser tests where Chromium is installed).
slow   the tests that take longer.
"""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).resolve().parent
ENVIRONMENT = Path(os.environ.get("PAIRWRIGHT_VENV", HERE / ".venv"))
BIN = ENVIRONMENT / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
TORCH = "torch==2.13.0"

COMMANDS: dict[str, list[list[str]]] = {
    "demo": [["pairwright", "run", "tiny"]],
    "test": [
        ["ruff", "check", "."],
        ["ruff", "format", "--check", "."],
        ["mypy"],
        ["pytest", "-n", "2", "-m", "not slow and not gpu"],
    ],
    "slow": [["pytest", "-m", "slow and not gpu"]],
}


def main() -> None:
    """Install, then run the command named on the command line."""
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        sys.exit(__doc__)
    if sys.version_info < (3, 11):  # noqa: UP036 - this script is what an older Python is told by
        sys.exit(f"Python 3.11 or newer is needed; this is {platform.python_version()} ({sys.executable})")
    install()
    for tool, *arguments in COMMANDS[sys.argv[1]]:
        module = {"pairwright": "pairwright.cli"}.get(tool, tool)
        print(f"\n$ {tool} {' '.join(arguments)}", flush=True)
        try:
            done = subprocess.run([str(PYTHON), "-m", module, *arguments], cwd=HERE, check=False, env=surroundings(tool))
        except KeyboardInterrupt:  # the command has had it too, and has said what is to be said
            sys.exit(130)
        if done.returncode:
            sys.exit(done.returncode)


def surroundings(tool: str) -> dict[str, str]:
    """The environment of a tool: two test processes whose two threads each wait for each other take three times as long."""
    return ({"OMP_NUM_THREADS": "1"} if tool == "pytest" else {}) | os.environ


def install() -> None:
    """Bring the environment up to date; nothing is done where it is already."""
    said = "".join((HERE / name).read_text() for name in ("pyproject.toml", "constraints.txt", "make.py"))
    wanted = hashlib.sha256(said.encode()).hexdigest()
    mark = ENVIRONMENT / "installed.txt"
    if mark.is_file() and mark.read_text() == wanted:
        return
    if not PYTHON.exists() or subprocess.run([str(PYTHON), "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        print(f"making an environment in {ENVIRONMENT}", flush=True)
        venv.create(ENVIRONMENT, with_pip=True, clear=True)  # what a killed attempt left would lack pip
    print("installing (once; torch is the large part)", flush=True)
    install_torch()
    pip("--constraint", str(HERE / "constraints.txt"), "--editable", f"{HERE}[dev]", needed=True)
    mark.write_text(wanted)


def install_torch() -> None:
    """A machine without an NVIDIA GPU gets the CPU build: on Linux the default one brings several GB of CUDA."""
    plain = platform.system() != "Linux" or shutil.which("nvidia-smi") is not None
    if plain or not (pip(f"{TORCH}+cpu") or pip(TORCH, "--index-url", "https://download.pytorch.org/whl/cpu")):
        pip(TORCH, needed=True)


def pip(*arguments: str, needed: bool = False) -> bool:
    """Run ``pip install``; whether it succeeded."""
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, cwd=HERE, check=False, stderr=None if needed else subprocess.DEVNULL)
    if needed and done.returncode:
        sys.exit(done.returncode)
    return done.returncode == 0


if __name__ == "__main__":
    main()
