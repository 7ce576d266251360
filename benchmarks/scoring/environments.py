"""The other servers, each in a virtual environment of its own, outside the project's lock."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

CACHE = Path.home() / ".cache" / "loopwright-benchmarks"
_UV = Path(__file__).parents[2] / ".tools" / "bin" / "uv"
_TOLD = ("numpy", "pandas", "scikit-learn", "uvicorn", "uvloop")


def ensure(name: str, packages: Sequence[str], cache: Path) -> Path:
    """The environment's directory, made anew when its list of packages has changed."""
    place = cache / name
    wanted = "\n".join(packages)
    installed = place / "installed.txt"
    if installed.is_file() and installed.read_text() == wanted:
        return place
    print(f"installing {name}: {' '.join(packages)}", file=sys.stderr)
    _uv("venv", "--clear", "--python", sys.executable, str(place))
    _uv("pip", "install", "--compile-bytecode", "--python", str(place), *packages)
    installed.write_text(wanted)
    return place


def versions(place: Path) -> str:
    """Of the packages asked for and of those that matter for speed."""
    asked = (place / "installed.txt").read_text().splitlines()
    names = {package.split("==")[0].split("[")[0] for package in asked} | set(_TOLD)
    lines = _uv("pip", "freeze", "--python", str(place)).splitlines()
    return ", ".join(line.replace("==", " ") for line in lines if line.split("==")[0] in names)


def _uv(*arguments: str) -> str:
    done = subprocess.run([_UV, "--quiet", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"uv {' '.join(arguments)} failed:\n{done.stderr}")
    return done.stdout
