"""The audit finds what it is there for."""

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from rag_pipeline.cli.diagnosis import SERVER_VERSION_MIN

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def audit() -> Any:
    spec = importlib.util.spec_from_file_location("audit", ROOT / "audit" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_is_installed_is_not_below_a_floor(audit: Any) -> None:
    floors = audit.yaml.safe_load(audit.FLOORS.read_text())
    packages = [row for row in floors if "package" in row]
    assert len(packages) >= 9
    assert list(audit.below_floor(packages)) == []
    assert list(audit.images_below_floor(floors, [ROOT / "docker-compose.yml"])) == []


def test_older_version_is_a_finding(audit: Any) -> None:
    row = {"package": "lxml", "floor": "9999", "advisory": "CVE-0", "because": "a test"}
    (finding,) = audit.below_floor([row, {**row, "package": "no-such-package"}])
    assert "lxml" in finding
    assert "CVE-0" in finding


def test_the_doctor_asks_for_the_server_that_the_audit_asks_for(audit: Any) -> None:
    floors = audit.yaml.safe_load(audit.FLOORS.read_text())
    assert [str(row["floor"]) for row in floors if row.get("image") == "qdrant/qdrant"] == [SERVER_VERSION_MIN]


def test_older_image_is_a_finding(audit: Any, tmp_path: Path) -> None:
    compose = tmp_path / "compose.yml"
    compose.write_text("services:\n  a:\n    image: qdrant/qdrant:v1.18.1\n  b:\n    image: postgres:17.5-bookworm\n")
    row = {"image": "qdrant/qdrant", "floor": "1.19.0", "advisory": "CVE-0", "because": "a test"}
    (finding,) = audit.images_below_floor([row], [compose])
    assert "compose.yml: qdrant/qdrant 1.18.1 is older than 1.19.0" in finding


def test_weights_that_run_code_are_a_finding(audit: Any, tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    assert list(audit.runnable_weights(tmp_path)) == []
    (tmp_path / "pytorch_model.bin").touch()
    (tmp_path / "modeling").mkdir()
    (tmp_path / "modeling" / "modeling_x.py").touch()
    assert len(list(audit.runnable_weights(tmp_path))) == 2
    assert len(list(audit.runnable_weights(tmp_path / "modeling"))) == 1
