"""Reading certificate stores: lists, pages, single entries."""

from itertools import pairwise

import pytest

from tests.api.conftest import Running

STORE = "test.tenant1.x509-store-1"
CALL = f"/v1/{STORE}/x509-store-api/certificates"


def test_the_list_holds_every_entry_by_path(running: Running) -> None:
    response = running.client.get(CALL, headers={"content-type": "application/json"})
    assert response.headers["content-type"] == "application/json"
    entries = response.json()
    assert {f"{STORE}.ca-secp256r1", f"{STORE}.iaca-secp256r1"} <= {entry["_id"] for entry in entries}
    assert [entry["_id"] for entry in entries] == running.client.get(f"{CALL}/ids").json()
    assert all(one["_id"] < other["_id"] for one, other in pairwise(entries))


def test_one_entry_is_what_the_list_says(running: Running) -> None:
    entry = running.client.get(f"/v1/{STORE}.ca-secp256r1/x509-store-api/certificates").json()
    assert set(entry) == {"_id", "data"}
    assert set(entry["data"]) == {"type", "pem"}
    assert (entry["_id"], entry["data"]["type"]) == (f"{STORE}.ca-secp256r1", "base")
    assert entry in running.client.get(CALL).json()


@pytest.mark.parametrize("call", ["", "/ids"])
def test_pages_of_one_make_the_whole_list(running: Running, call: str) -> None:
    whole = running.client.get(f"{CALL}{call}").json()
    pages = [running.client.get(f"{CALL}{call}?limit=1&offset={at}").json() for at in range(len(whole) + 1)]
    assert pages == [[one] for one in whole] + [[]]


@pytest.mark.parametrize(
    "path",
    [
        f"/v1/{STORE}.nobody/x509-store-api/certificates",
        f"/v1/{STORE}.nobody.child/x509-store-api/certificates",
        f"/v1/{STORE}.ca-secp256r1/x509-store-api/certificates/ids",
        "/v1/test.tenant1.nowhere/x509-store-api/certificates",
        "/v1/test.tenant1.kms1/x509-store-api/certificates",
        "/v1/test.tenant1.x509-service-1/x509-store-api/certificates",
        "/v1/test/x509-store-api/certificates",
    ],
)
def test_what_is_not_there_is_404(running: Running, path: str) -> None:
    response = running.client.get(path)
    assert (response.status_code, response.json()["code"]) == (404, "404")


def test_an_empty_store_is_an_empty_list(running: Running) -> None:
    response = running.client.get("/v1/test.tenant1.x509-store-2/x509-store-api/certificates?offset=1000000")
    assert (response.status_code, response.json()) == (200, [])


def test_the_engine_is_ready(running: Running) -> None:
    response = running.client.get("/health/ready", headers={"authorization": ""})
    assert response.status_code == 200, response.text
    assert set(response.json()["parts"].values()) == {"ready"}
