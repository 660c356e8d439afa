"""The Swagger UI page in a browser that reaches this machine and nothing else."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support import expected_conditions as until
from selenium.webdriver.support.wait import WebDriverWait

from tests.page.checks import assert_request_verifies
from tests.page.live import LiveEngine

SECONDS = 60
BROWSER, DRIVER = "/usr/bin/chromium", "/usr/bin/chromedriver"
ARGUMENTS = (
    "--headless",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-proxy-server",
    "--window-size=1280,2400",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
CSRS = "operations-x509-service-api-postX509ServiceApiCsrs"
INSIDE = {"data", "blob", "about", "chrome", "devtools"}
"""Schemes of URLs for which a browser asks nobody."""


class Page:
    """What a person does with the page. Each step waits for what it needs, or fails saying what was missing."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def wait(self, selector: str) -> WebElement:
        """The element, visible."""
        located = until.visibility_of_element_located((By.CSS_SELECTOR, selector))
        return WebDriverWait(self.driver, SECONDS).until(located, f"the page does not show {selector}")

    def click(self, selector: str) -> None:
        located = until.element_to_be_clickable((By.CSS_SELECTOR, selector))
        found = WebDriverWait(self.driver, SECONDS).until(located, f"the page does not let {selector} be clicked")
        self.driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
        found.click()

    def authorize(self, api_key: str) -> None:
        self.click(".scheme-container .authorize")
        self.wait(".modal-ux input").send_keys(api_key)
        self.click(".modal-ux .auth-btn-wrapper .authorize")
        self.click(".modal-ux .auth-btn-wrapper .btn-done")

    def execute(self, operation: str) -> tuple[int, str]:
        """Try an operation with its first example; the status and the body that the page shows."""
        self.click(f"#{operation} .opblock-summary-control")
        self.click(f"#{operation} .try-out__btn")
        self.click(f"#{operation} .execute")
        answer = f"#{operation} .live-responses-table .response"
        status = self.wait(f"{answer} .response-col_status").text.split()[0]
        return int(status), self.wait(f"{answer} .response-col_description pre").text

    def log(self, kind: str) -> list[dict]:
        return self.driver.get_log(kind)

    def requested(self) -> list[str]:
        """Every URL that the browser asked for, from its own record of the network."""
        messages = (json.loads(entry["message"])["message"] for entry in self.log("performance"))
        return [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    if shutil.which(BROWSER) is None or shutil.which(DRIVER) is None:
        missing = f"needs {BROWSER} and {DRIVER}: apt-get install chromium chromium-driver"
        assert os.environ.get("ENGINE_REQUIRE_BROWSER") != "1", missing
        pytest.skip(missing)
    options = Options()
    options.binary_location = BROWSER
    for argument in (*ARGUMENTS, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(argument)
    if os.geteuid() == 0:
        options.add_argument("--no-sandbox")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    try:
        driver.set_page_load_timeout(SECONDS)
        yield Page(driver)
    finally:
        driver.quit()


def test_page_creates_a_certification_request_without_a_network(page: Page, live: LiveEngine) -> None:
    page.driver.get(f"{live.base_url}/swagger/")
    page.authorize(live.api_key)
    status, shown = page.execute(CSRS)
    assert status == 200, shown
    assert_request_verifies(json.loads(shown)["csrPEM"])
    urls = page.requested()
    assert f"{live.base_url}/v1/test.tenant1.x509-service-1/x509-service-api/csrs" in urls
    elsewhere = {url for url in urls if urlsplit(url).scheme not in INSIDE and not url.startswith(f"{live.base_url}/")}
    assert elsewhere == set()
    assert [entry["message"] for entry in page.log("browser") if entry["level"] == "SEVERE"] == []


def test_page_shows_the_refusal_of_who_is_not_authorised(page: Page, live: LiveEngine) -> None:
    page.driver.get(f"{live.base_url}/swagger/")
    status, shown = page.execute(CSRS)
    assert status == 401
    assert json.loads(shown)["id"] == "CredentialRequired"
