"""Whatever a caller sends, the answer is a refusal in the documented shape or a certificate; never a fault of ours."""

import copy
import json
from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.x509.pem import load_pem, render_pem
from tests.api.bodies import certificate_body, certification_request, csr_body, ds_body, ds_csr_body, iaca_body
from tests.api.conftest import Running

BODIES = (
    ("csrs", csr_body),
    ("csrs", ds_csr_body),
    ("certificate", certificate_body),
    ("iso/iacas", iaca_body),
    ("iso/document-signers", ds_body),
)
REQUEST = certification_request()
SETTINGS = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["", " ", "US", "\x00", "a" * 70_000, "2025-05-28T12:23:01Z", "test.tenant1.kms1.leaf-secp256r1"])
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if path:
        yield path
    members = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, member in members:
        yield from places(member, (*path, name))


def check(running: Running, call: str, body: bytes) -> None:
    before = running.signatures
    path = f"/v1/test.tenant1.no-stores/x509-service-api/{call}"
    answer = running.client.post(path, content=body, headers={"content-type": "application/json"})
    assert answer.status_code < 500, (answer.text, body[:2000])
    if answer.status_code != 200:
        assert running.signatures == before
        problem = answer.json()
        assert problem["exception"] is True
        assert problem["code"] == str(answer.status_code)


@SETTINGS
@given(data=st.data())
def test_a_body_with_one_member_replaced_never_causes_a_fault(running: Running, data: st.DataObject) -> None:
    call, new_body = data.draw(st.sampled_from(BODIES))
    body = copy.deepcopy(new_body())
    *path, last = data.draw(st.sampled_from(list(places(body))))
    target = body
    for name in path:
        target = target[name]
    target[last] = data.draw(values)
    check(running, call, json.dumps(body).encode())


@SETTINGS
@given(body=st.binary(max_size=400) | values.map(lambda value: json.dumps(value).encode()))
def test_any_octets_as_a_body_never_cause_a_fault(running: Running, body: bytes) -> None:
    check(running, "certificate", body)


@SETTINGS
@given(data=st.data())
def test_a_certification_request_with_octets_changed_is_never_signed_for(running: Running, data: st.DataObject) -> None:
    original = load_pem(REQUEST, "CERTIFICATE REQUEST")
    der = bytearray(original)
    for position in data.draw(st.lists(st.integers(0, len(der) - 1), min_size=1, max_size=3)):
        der[position] ^= data.draw(st.integers(1, 255))
    if bytes(der) == original:
        return
    before = running.signatures
    body = certificate_body()
    body["subjectPublicKeySource"]["csrPEM"] = render_pem("CERTIFICATE REQUEST", bytes(der))
    answer = running.post("certificate", body, "no-stores")
    assert answer.status_code == 400, answer.text
    assert running.signatures == before
