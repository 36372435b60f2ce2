"""The files that a deployment starts from load, agree with each other, and hold no secrets."""

import re
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from rag_pipeline.settings import ServerStoreSettings, load_settings

ROOT = Path(__file__).parents[2]
DASHES = re.compile(r"\$\{(\w+)(:[-?])?")


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text(encoding="utf-8"))


@pytest.fixture
def instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    (tmp_path / "dagster.yaml").write_text((ROOT / "rag_pipeline" / "dagster.yaml").read_text(encoding="utf-8"))
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.get() as found:
        yield found


def test_the_instance_keeps_its_records_in_its_own_folder(instance: Any, tmp_path: Path) -> None:
    assert (tmp_path / "history" / "runs.db").is_file()


def test_one_run_at_a_time_writes_a_collection_or_a_bucket(instance: Any) -> None:
    limits = instance.get_concurrency_config().run_queue_config.tag_concurrency_limits
    assert {limit["key"]: limit["limit"] for limit in limits} == {"rag_pipeline/collection": 1, "dagster/partition": 1}
    assert all(limit["value"] == {"applyLimitPerUniqueValue": True} for limit in limits)


def test_runs_end_slots_are_freed_and_only_crashed_workers_are_tried_again(instance: Any) -> None:
    assert instance.run_monitoring_enabled
    assert instance.run_monitoring_max_runtime_seconds > 0
    assert instance.run_monitoring_settings["free_slots_after_run_end_seconds"] > 0
    assert instance.run_retries_enabled
    assert not instance.run_retries_retry_on_asset_or_op_failure


def test_telemetry_is_off(instance: Any) -> None:
    assert instance.telemetry_enabled is False


def test_the_root_has_the_packaged_dagster_settings() -> None:
    assert (ROOT / "dagster.yaml").resolve() == ROOT / "rag_pipeline" / "dagster.yaml"


def test_the_postgres_variant_differs_in_storage_alone() -> None:
    variant = read("deploy/dagster.postgres.yaml")
    added = {name: variant.pop(name) for name in ("storage", "local_artifact_storage", "compute_logs")}
    assert variant == read("rag_pipeline/dagster.yaml")
    assert added["storage"]["postgres"]["postgres_db"]["password"] == {"env": "DAGSTER_POSTGRES_PASSWORD"}


def test_compose_listens_on_this_machine_only() -> None:
    ports = [port for service in read("docker-compose.yml")["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_compose_lets_nobody_reach_the_web_ui_but_through_its_proxy() -> None:
    services = read("docker-compose.yml")["services"]
    assert "ports" not in services["webserver"]
    proxy = (ROOT / "deploy" / "Caddyfile").read_text(encoding="utf-8")
    assert re.search(r"basic_auth \{\s+\{\$UI_USER\} \{\$UI_PASSWORD_HASH\}\s+\}\s+reverse_proxy webserver:3000", proxy)
    assert services["proxy"]["environment"].keys() == {"UI_USER", "UI_PASSWORD_HASH"}


def test_compose_has_no_default_for_a_secret_and_the_example_no_value() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    uses = {name: operator for name, operator in DASHES.findall(text)}
    assert {name for name, operator in uses.items() if operator == ":?"} == {
        "DOCUMENTS",
        "POSTGRES_PASSWORD",
        "QDRANT_API_KEY",
        "UI_PASSWORD_HASH",
        "UI_USER",
    }
    lines = (ROOT / "deploy" / "env.example").read_text(encoding="utf-8").splitlines()
    assert {line.removesuffix("=") for line in lines if line and not line.startswith("#")} == set(uses)


def test_compose_names_exact_images_and_watches_every_service() -> None:
    services = read("docker-compose.yml")["services"]
    assert all(re.search(r":v?\d+\.\d+", service["image"]) for service in services.values())
    watched = {name for name, service in services.items() if "healthcheck" in service}
    assert watched == set(services) - {"code"}
    assert "HEALTHCHECK" in (ROOT / "Dockerfile").read_text(encoding="utf-8")


def test_the_settings_of_compose_load() -> None:
    ledger_url = "postgresql+psycopg2://rag@postgres/rag_pipeline"
    settings = load_settings(ROOT / "deploy" / "rag_pipeline.compose.yaml", {"RAG__LEDGER_URL": ledger_url})
    assert isinstance(settings.store, ServerStoreSettings)
    assert settings.ledger_url == ledger_url


@pytest.mark.parametrize("path", ["workspace.yaml", "deploy/workspace.compose.yaml"])
def test_workspaces_name_one_code_location(path: str) -> None:
    (location,) = read(path)["load_from"]
    (target,) = location.values()
    assert target["location_name"] == "rag_pipeline"


def test_the_ray_variant_differs_in_storage_launcher_and_limits_alone() -> None:
    variant, packaged = read("deploy/dagster.ray.yaml"), read("rag_pipeline/dagster.yaml")
    added = {name: variant.pop(name) for name in ("storage", "run_launcher", "compute_logs")}
    assert added["storage"] == read("deploy/dagster.postgres.yaml")["storage"]
    assert variant["concurrency"]["runs"].pop("max_concurrent_runs") > packaged["concurrency"]["runs"].pop("max_concurrent_runs")
    assert variant["run_monitoring"].pop("start_timeout_seconds") > packaged["run_monitoring"].pop("start_timeout_seconds")
    assert variant == packaged


def test_ray_is_told_no_secret() -> None:
    names = read("deploy/dagster.ray.yaml")["run_launcher"]["config"]["ray"]["env_vars"]
    assert not [name for name in names if "=" in name or re.search("KEY|PASSWORD|SECRET|LEDGER_URL", name)]


def test_the_settings_of_a_cluster_load_and_share_out_their_buckets() -> None:
    environment = {"RAG__LEDGER_URL": "postgresql+psycopg2://rag@postgres/rag_pipeline", "QDRANT_API_KEY": "key"}
    settings = load_settings(ROOT / "deploy" / "rag_pipeline.cluster.yaml", environment)
    assert isinstance(settings.store, ServerStoreSettings)
    assert settings.buckets_per_run is not None
    assert settings.buckets % settings.buckets_per_run == 0


def test_runs_on_kubernetes_are_queued_watched_and_tried_again_as_elsewhere() -> None:
    daemon, packaged = read("deploy/kubernetes.values.yaml")["dagsterDaemon"], read("rag_pipeline/dagster.yaml")
    limits = daemon["runCoordinator"]["config"]["queuedRunCoordinator"]["tagConcurrencyLimits"]
    assert limits == packaged["concurrency"]["runs"]["tag_concurrency_limits"]
    assert daemon["runMonitoring"]["maxRuntimeSeconds"] == packaged["run_monitoring"]["max_runtime_seconds"]
    assert daemon["runRetries"]["maxRetries"] == packaged["run_retries"]["max_retries"]


def test_every_deployment_names_the_driver_that_is_installed() -> None:
    schemes = {
        read("deploy/kubernetes.values.yaml")["postgresql"]["postgresqlScheme"],
        *(read(f"deploy/dagster.{name}.yaml")["storage"]["postgres"]["postgres_db"]["scheme"] for name in ("postgres", "ray")),
    }
    assert schemes == {"postgresql+psycopg2"}


def test_on_kubernetes_the_folder_of_the_settings_can_be_written() -> None:
    (deployment,) = read("deploy/kubernetes.values.yaml")["dagster-user-deployments"]["deployments"]
    (mount,) = deployment["volumeMounts"]
    assert mount["mountPath"] == deployment["env"]["RAG_CONFIG"] == f"/etc/rag_pipeline/{mount['subPath']}"


@pytest.mark.deep
def test_the_launcher_of_kubernetes_takes_its_settings() -> None:
    from dagster._config import process_config, resolve_to_config_type
    from dagster_k8s import K8sRunLauncher

    values = read("deploy/kubernetes.values.yaml")["runLauncher"]["config"]["k8sRunLauncher"]
    known = {
        "load_incluster_config": values["loadInclusterConfig"],
        "resources": values["resources"],
        "run_k8s_config": {
            "job_spec_config": {"ttl_seconds_after_finished": values["runK8sConfig"]["jobSpecConfig"]["ttlSecondsAfterFinished"]},
            "pod_spec_config": {
                "termination_grace_period_seconds": values["runK8sConfig"]["podSpecConfig"]["terminationGracePeriodSeconds"]
            },
        },
        "service_account_name": "dagster",
        "instance_config_map": "dagster-instance",
        "dagster_home": "/opt/dagster",
    }
    result = process_config(resolve_to_config_type(K8sRunLauncher.config_type()), known)
    assert result.success, result.errors
