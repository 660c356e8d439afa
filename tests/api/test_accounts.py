"""Log-in with email and password, and what the session's token opens, over the real application.

The account is on a database of its own, whose clock the tests set; the services are those of the other tests.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from starlette.types import ASGIApp

from engine.api import build_application
from engine.api.schema.accounts import OpenedSession
from engine.directory.accounts import Accounts, create_account
from engine.directory.credentials import create_api_key
from engine.store import Store
from tests.api.conftest import Running
from tests.database import all_octets, new_database_url
from tests.in_process import InProcessClient

LOG_IN = "/auth/account/emailpass"
EMAIL = "alice@example.com"
PASSWORD = "correct horse battery"
WRONG = "wrong horse battery"
STORE = "/v1/test.tenant1.x509-store-1/x509-store-api/certificates/ids"
REFUSAL = "The email and the password are not those of an account that may log in now."
CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)


@dataclass
class Clock:
    """Stands still until it is moved."""

    now: datetime = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@dataclass
class House:
    """The application over a database with one account, an issuer of `test.tenant1`."""

    store: Store
    application: ASGIApp
    client: InProcessClient
    folder: Path
    clock: Clock

    def log_in(self, email: object = EMAIL, password: object = PASSWORD) -> httpx.Response:
        return self.client.post(LOG_IN, json={"email": email, "password": password})

    def get(self, path: str, secret: str) -> httpx.Response:
        return self.client.get(path, headers={"authorization": f"Bearer {secret}"})


@pytest.fixture
def build(running: Running, tmp_path: Path) -> Iterator[Callable[..., House]]:
    """A house whose log-in has these settings."""
    opened: list[Callable[[], None]] = []

    def built(**settings: Any) -> House:
        clock = Clock()
        store = Store.open(new_database_url(tmp_path), now=clock)
        opened.append(store.close)
        create_account(
            store, email=EMAIL, password=PASSWORD, scope="test.tenant1", roles=["issuer"], hasher=settings["hasher"]
        )
        accounts = Accounts(store, session_hours=12, **settings)
        directory = replace(running.engine.directory, store=store, accounts=accounts)
        application = build_application(directory)
        client = InProcessClient(application, {})
        opened.extend([accounts.close, lambda: client.__exit__(None, None, None)])
        return House(store, application, client, tmp_path, clock)

    yield built
    for close in reversed(opened):
        close()


@pytest.fixture
def house(build: Callable[..., House]) -> House:
    return build(hasher=CHEAP)


def test_the_right_password_opens_a_session_in_the_documented_shape(house: House) -> None:
    response = house.log_in()
    assert response.status_code == 200
    assert set(response.json()) == {"session_id", "status", "token"}
    assert response.json()["status"] == "OK"
    assert response.headers["cache-control"] == "no-store"
    OpenedSession.model_validate(response.json())
    assert house.get(STORE, response.json()["token"]).status_code == 200


def test_every_session_has_a_token_of_its_own(house: House) -> None:
    first, second = house.log_in().json(), house.log_in().json()
    assert first["token"] != second["token"]
    assert first["session_id"] != second["session_id"]
    assert len(first["token"]) == 43
    assert house.get(STORE, first["token"]).status_code == house.get(STORE, second["token"]).status_code == 200


def test_a_refused_log_in_is_one_answer_whatever_is_wrong(house: House) -> None:
    def told(response: httpx.Response) -> tuple[int, str, dict[str, Any]]:
        assert response.headers["www-authenticate"] == "Bearer"
        return response.status_code, response.headers["content-type"], {**response.json(), "requestId": ""}

    wrong = told(house.log_in(password=WRONG))
    unknown = told(house.log_in("nobody@example.com"))
    no_email = told(house.log_in("alice"))
    empty = told(house.log_in("", ""))
    for _ in range(4):
        house.log_in(password=WRONG)
    locked = told(house.log_in())
    house.store.enable_account(EMAIL)
    house.store.disable_account(EMAIL)
    disabled = told(house.log_in())
    assert wrong[0] == 401
    assert wrong[2]["message"] == REFUSAL
    assert wrong == unknown == no_email == empty == locked == disabled


def test_five_wrong_passwords_lock_the_account_and_further_ones_for_longer(house: House) -> None:
    for seconds in (32, 64, 128):
        for _ in range(5 if seconds == 32 else 1):
            assert house.log_in(password=WRONG).status_code == 401
        house.clock.now += timedelta(seconds=seconds - 1)
        assert house.log_in().status_code == 401  # the right one is not even tried
        house.clock.now += timedelta(seconds=1)
    assert house.log_in().status_code == 200
    for _ in range(4):
        house.log_in(password=WRONG)
    assert house.log_in().status_code == 200


def test_guesses_sent_together_are_counted_like_guesses_sent_one_by_one(house: House) -> None:
    bodies = [{"email": EMAIL, "password": f"{WRONG} {number}"} for number in range(30)]
    assert {response.status_code for response in house.client.post_together(LOG_IN, bodies)} == {401}
    (row,) = house.store.list_accounts()
    assert row.failures == 5
    assert house.log_in().status_code == 401


def test_the_right_password_among_too_many_guesses_is_not_told_from_them(house: House) -> None:
    for _ in range(5):
        house.log_in(password=WRONG)
    bodies = [{"email": EMAIL, "password": password} for password in (WRONG, PASSWORD, WRONG)]
    assert [one.status_code for one in house.client.post_together(LOG_IN, bodies)] == [401] * 3


def test_a_session_ends_after_its_hours(house: House) -> None:
    token = house.log_in().json()["token"]
    house.clock.now += timedelta(hours=12) - timedelta(seconds=1)
    assert house.get(STORE, token).status_code == 200
    house.clock.now += timedelta(seconds=1)
    refused = house.get(STORE, token)
    assert refused.status_code == 401
    assert refused.json()["message"] == "The presented API key or session token is not known."


def test_disabling_an_account_ends_its_sessions_at_once_and_enabling_does_not_bring_them_back(house: House) -> None:
    token = house.log_in().json()["token"]
    assert house.get(STORE, token).status_code == 200
    house.store.disable_account(EMAIL)
    assert house.get(STORE, token).status_code == 401
    house.store.enable_account(EMAIL)
    assert house.get(STORE, token).status_code == 401
    assert house.log_in().status_code == 200


def test_a_revoked_api_key_is_refused_at_once(house: House) -> None:
    secret = create_api_key(house.store, credential_id="deployer", scope="test", roles=["reader"])
    assert house.get(STORE, secret).status_code == 200
    house.store.revoke_credential("deployer")
    refused = house.get(STORE, secret)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")


@pytest.mark.parametrize(
    "path",
    [
        "/v1/test.tenant2.x509-store-1/x509-store-api/certificates/ids",
        "/v1/other.tenant1.x509-store/x509-store-api/certificates/ids",
        "/v1/test.tenant1.nothing/x509-store-api/certificates/ids",
    ],
)
def test_a_session_opens_its_account_s_scope_and_says_of_the_rest_that_it_is_not_there(house: House, path: str) -> None:
    assert house.get(path, house.log_in().json()["token"]).status_code == 404


def test_a_session_may_do_what_its_account_s_roles_allow(house: House, running: Running) -> None:
    signatures = running.signatures
    headers = {"authorization": f"Bearer {house.log_in().json()['token']}"}
    path = "/v1/test.tenant1.kms1.x/kms-service-api/keys/adopt"
    response = house.client.post(path, json={"label": "x"}, headers=headers)
    assert response.status_code == 403
    assert "'manage-keys'" in response.json()["message"]
    assert running.signatures == signatures


def test_the_hash_of_a_token_or_of_a_password_opens_nothing(house: House) -> None:
    token = house.log_in().json()["token"]
    assert house.get(STORE, token.swapcase()).status_code == 401
    assert house.get(STORE, PASSWORD.replace(" ", "")).status_code == 401
    assert house.get(STORE, f"account:{EMAIL}").status_code == 401


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"email": EMAIL}, "missing member password"),
        ({}, "missing members email, password"),
        ({"email": EMAIL, "password": PASSWORD, "remember": True}, "unknown member remember"),
        ({"email": EMAIL, "password": 12}, "password: expected a string"),
        ({"email": None, "password": PASSWORD}, "email: expected a string"),
    ],
)
def test_a_body_with_other_members_is_refused_without_counting_an_attempt(
    house: House, body: dict[str, Any], sentence: str
) -> None:
    response = house.client.post(LOG_IN, json=body)
    assert response.status_code == 400
    assert sentence in response.json()["message"]
    (row,) = house.store.list_accounts()
    assert row.failures == 0


@pytest.mark.parametrize("content_type", ["application/x-www-form-urlencoded", "text/plain", None])
def test_a_body_that_is_not_labelled_json_is_refused(house: House, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    content = json.dumps({"email": EMAIL, "password": PASSWORD}).encode()
    response = house.client.post(LOG_IN, content=content, headers=headers)
    assert response.status_code == 400
    assert "Content-Type" in response.json()["message"]


def test_the_body_may_hold_the_longest_password_and_little_more(house: House) -> None:
    longest = "\N{GRINNING FACE}" * 256
    create_account(house.store, email="b@example.com", password=longest, scope="test", roles=["reader"], hasher=CHEAP)
    assert house.log_in("b@example.com", longest).status_code == 200
    response = house.log_in(password="x" * 4096)
    assert response.status_code == 400
    assert "at most 4096 octets" in response.json()["message"]


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE"])
def test_log_in_is_a_post_so_that_no_password_is_in_a_url(house: House, method: str) -> None:
    response = house.client.request(method, f"{LOG_IN}?email={EMAIL}&password=x")
    assert (response.status_code, response.headers["allow"]) == (405, "POST")


def test_a_flood_of_log_ins_is_refused_while_the_engine_goes_on(build: Callable[..., House]) -> None:
    """The passwords are looked at with the parameters of a real engine: 64 MiB each."""
    house = build(hasher=PasswordHasher(), waiting=3)
    secret = create_api_key(house.store, credential_id="machine", scope="test", roles=["reader"])
    order: list[str] = []

    async def flood() -> tuple[list[httpx.Response], httpx.Response]:
        transport = httpx.ASGITransport(house.application)
        async with httpx.AsyncClient(transport=transport, base_url="http://engine.test") as client:

            async def log_in(number: int) -> httpx.Response:
                response = await client.post(LOG_IN, json={"email": f"{number}@example.com", "password": WRONG})
                order.append(str(response.status_code))
                return response

            async def read() -> httpx.Response:
                response = await client.get(STORE, headers={"authorization": f"Bearer {secret}"})
                order.append("read")
                return response

            *log_ins, reading = await asyncio.gather(*(log_in(number) for number in range(20)), read())
            return log_ins, reading

    log_ins, reading = asyncio.run(flood())
    refused = [response for response in log_ins if response.status_code == 503]
    assert [response.status_code for response in log_ins].count(401) == 4
    assert len(refused) == 16
    assert {response.headers["retry-after"] for response in refused} == {"1"}
    assert refused[0].json()["id"] == "EngineBusy"
    assert reading.status_code == 200
    assert order.index("read") < len(order) - 1, "the read waited for every log-in"
    assert house.log_in().status_code == 200


def test_passwords_and_tokens_are_in_no_answer_no_log_and_no_file(
    house: House, caplog: pytest.LogCaptureFixture
) -> None:
    answers: list[httpx.Response] = []
    with caplog.at_level(logging.DEBUG):
        session = house.log_in()
        token = session.json()["token"]
        answers += [
            house.get(STORE, token),
            house.get("/v1/test.tenant2/x509-store-api/certificates", token),
            house.get("/v1/test.tenant1.x509-store-1/x509-store-api/no-such-call", token),
            house.log_in(password=WRONG),
            house.log_in(PASSWORD, PASSWORD),
            house.client.post(LOG_IN, json={"email": EMAIL, "password": PASSWORD, "remember": PASSWORD}),
            house.client.post(LOG_IN, json={"email": EMAIL, "password": [PASSWORD]}),
            house.client.post(
                LOG_IN, content=f'{{"password": "{PASSWORD}"', headers={"content-type": "application/json"}
            ),
        ]
        house.clock.now += timedelta(hours=13)
        answers.append(house.get(STORE, token))
    printed = caplog.text + "".join(f"{one.headers}{one.text}" for one in answers if one.request.content != b"")
    octets = all_octets(house.folder)
    for secret in (PASSWORD, WRONG, token):
        assert secret not in printed
        assert secret.encode() not in octets
