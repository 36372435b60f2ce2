"""The web UI in a real browser: a backfill of two buckets and one asset materialised again, as a person does it."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
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


def run_rag(folder: Path, *arguments: str) -> None:
    command = [sys.executable, "-c", "from rag_pipeline.cli import main; main()", *arguments]
    subprocess.run(command, cwd=folder, env=plain_environment(), check=True, capture_output=True)


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
    with dg.DagsterInstance.from_config(str(home / ".rag" / "dagster")) as instance:
        runs = instance.get_runs()
    assert not [run for run in runs if run.status == dg.DagsterRunStatus.FAILURE]
    return [run for run in runs if run.status == dg.DagsterRunStatus.SUCCESS]


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


def test_asset_graph_shows_the_path_of_a_document(page: Page) -> None:
    page.open("/asset-groups")
    for name in ("source_manifest", "documents", "chunks", "embeddings", "collection", "live_collection"):
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
