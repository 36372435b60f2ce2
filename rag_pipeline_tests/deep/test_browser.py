"""The web UI in a real browser, as a person uses it: backfills of buckets, and a new model built, approved and taken back."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.request import urlopen

import dagster as dg
import pytest
from selenium import webdriver
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from rag_pipeline_tests.projects import article, fill, write_settings

pytestmark = pytest.mark.deep
PICTURES = Path(__file__).resolve().parents[2] / "test-output" / "browser"
WAIT_S = 180
Found = TypeVar("Found")


class Page:
    """A browser on the UI; keeps a picture of each step."""

    def __init__(self, driver: webdriver.Chrome, address: str) -> None:
        self._driver = driver
        self._address = address

    def open(self, path: str) -> None:
        self._driver.get(self._address + path)

    def find(self, xpath: str) -> WebElement:
        return wait_for(lambda: next((e for e in self._driver.find_elements(By.XPATH, xpath) if e.is_displayed()), None), xpath)

    def click(self, xpath: str) -> None:
        def clicked() -> bool:
            try:
                self.find(xpath).click()
            except WebDriverException:
                return False
            return True

        wait_for(clicked, xpath)

    def is_checked(self, xpath: str) -> bool:
        return self._driver.find_element(By.XPATH, xpath).is_selected()

    def picture(self, name: str) -> None:
        PICTURES.mkdir(parents=True, exist_ok=True)
        self._driver.save_screenshot(str(PICTURES / f"{name}.png"))


def wait_for(look: Callable[[], Found | None], what: str) -> Found:
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        found = look()
        if found:
            return found
        time.sleep(0.5)
    raise AssertionError(f"not seen within {WAIT_S} s: {what}")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ui")
    write_settings(folder)
    fill(folder / "docs", {f"topic{i}.md": article(f"topic{i}") for i in range(12)})
    run_rag(folder, "index")
    return folder


@pytest.fixture(scope="module")
def address(home: Path) -> Iterator[str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from rag_pipeline.cli import main; main()", "ui", "--port", str(port)]
    with (home / "ui.log").open("w") as log:
        server = subprocess.Popen(command, cwd=home, env=plain_environment(), stdout=log, stderr=log, start_new_session=True)
    try:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: answers(url), url)
        yield url
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)


@pytest.fixture(scope="module")
def page(address: str) -> Iterator[Page]:
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1600,1000", "--no-first-run"):
        options.add_argument(flag)
    for flag in ("--disable-background-networking", "--disable-component-update", "--disable-sync"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    yield Page(driver, address)
    driver.quit()


def run_rag(folder: Path, *arguments: str) -> str:
    command = [sys.executable, "-c", "from rag_pipeline.cli import main; main()", *arguments]
    return subprocess.run(command, cwd=folder, env=plain_environment(), check=True, capture_output=True, text=True).stdout


def plain_environment() -> dict[str, str]:
    """Without settings of whoever runs the tests."""
    return {key: value for key, value in os.environ.items() if not key.startswith(("RAG_", "DAGSTER_"))}


def answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except (URLError, OSError):
        return False


def finished_runs(home: Path) -> list[dg.DagsterRun]:
    """Those that were started by hand, not by a schedule or sensor; the newest first."""
    with dg.DagsterInstance.from_config(str(home / ".rag" / "dagster")) as instance:
        runs = instance.get_runs()
    assert not [run for run in runs if run.status == dg.DagsterRunStatus.FAILURE]
    by_hand = [run for run in runs if run.job_name.startswith("__ASSET_JOB")]
    return [run for run in by_hand if run.status == dg.DagsterRunStatus.SUCCESS]


def materialised(home: Path, asset: str, run: dg.DagsterRun) -> set[str | None]:
    with dg.DagsterInstance.from_config(str(home / ".rag" / "dagster")) as instance:
        records = instance.fetch_materializations(dg.AssetKey(asset), limit=100).records
    return {record.partition_key for record in records if record.run_id == run.run_id}


def launch(page: Page, asset: str, buckets: tuple[str, ...]) -> None:
    page.open(f"/assets/{asset}")
    page.click("//button[contains(., 'Materialize')]")
    page.click("//*[text()='Select a partition or create one']")
    for bucket in buckets:
        page.click(f"//*[@role='menuitem' or @role='option' or contains(@class, 'menu')]//*[text()='{bucket}']")
    page.picture(f"{asset}-choose-buckets")
    page.click("//*[contains(text(), 'Launch runs to materialize')]")
    page.click("//button[contains(., 'Launch') and not(@disabled)]")


def assert_materialised(page: Page, home: Path, asset: str, buckets: tuple[str, ...]) -> None:
    before = len(finished_runs(home))
    launch(page, asset, buckets)
    runs = wait_for(lambda: r if len(r := finished_runs(home)) > before else None, "a finished run")
    page.open(f"/runs/{runs[0].run_id}")
    page.find("//*[contains(text(), 'Success')]")
    time.sleep(2)
    page.picture(f"{asset}-run")
    assert materialised(home, asset, runs[0]) == set(buckets)


def read_status(home: Path) -> dict[str, Any]:
    return dict(json.loads(run_rag(home, "status", "--json")))


def state_of(home: Path, collection: str) -> tuple[str, int]:
    """State, and how many buckets are built."""
    return next((row["state"], row["buckets"]) for row in read_status(home)["collections"] if row["name"] == collection)


def stop(page: Page, sensor: str) -> None:
    """As one does who wants to start everything by hand."""
    page.open(f"/locations/rag_pipeline.definitions/sensors/{sensor}")
    page.click("//td[.='Running']/..//label")
    wait_for(lambda: not page.is_checked("//td[.='Running']/..//input"), f"{sensor} turned off")


def test_asset_graph_shows_the_path_of_a_document(page: Page) -> None:
    page.open("/asset-groups")
    for name in ("source_manifest", "documents", "chunks", "embeddings", "collection", "candidate_collection", "live_collection"):
        page.find(f"//*[text()='{name}']")
    time.sleep(3)
    page.picture("asset-graph")


def test_two_buckets_are_backfilled(page: Page, home: Path) -> None:
    assert_materialised(page, home, "collection", ("01", "02"))


def test_one_asset_of_one_bucket_is_materialised_again(page: Page, home: Path) -> None:
    assert_materialised(page, home, "chunks", ("03",))


def test_asset_page_shows_counts_and_the_histogram(page: Page) -> None:
    page.open("/assets/chunks")
    page.find("//*[text()='longest_tokens']")
    page.picture("chunks-metadata")


def test_candidate_is_backfilled_by_ranges_and_approved_by_hand(page: Page, home: Path) -> None:
    before = read_status(home)["live"]
    for sensor in ("index_spec_changes", "release_candidate"):
        stop(page, sensor)
    write_settings(home, embedding={"document_prompt": "passage: "}, release={"mode": "approval"})
    assert_materialised(page, home, "candidate_collection", ("00", "01"))
    candidate = read_status(home)["candidate"]
    assert state_of(home, candidate) == ("building", 2)
    assert_materialised(page, home, "candidate_collection", ("02", "03"))
    assert state_of(home, candidate) == ("validated", 4)  # the checks ran behind the last range
    assert read_status(home)["live"] == before
    approve(page, home)
    assert read_status(home)["live"] == candidate
    assert read_status(home)["retired"] == [before]


def approve(page: Page, home: Path) -> None:
    """Materialises ``live_collection``, and sees in the UI that it was the switch."""
    done = len(finished_runs(home))
    page.open("/assets/live_collection")
    page.click("//button[contains(., 'Materialize')]")
    wait_for(lambda: len(finished_runs(home)) > done, "a finished run")
    page.open("/assets/live_collection")
    page.find("//*[text()='gate_retrieval']")
    page.picture("live_collection-approved")
