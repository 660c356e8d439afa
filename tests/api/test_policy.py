"""What the operator's policy refuses, on the live token: a reason, no signature, nothing stored."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from engine.directory import CaSigned, CsrSource, HostedKey, X509Service
from engine.errors import PolicyRefusal
from engine.issuance import Caller
from engine.profiles.orders import GenericOrder, IacaOrder, IssuerAlternativeNameOrder, SubjectName
from engine.x509.request import load_request
from tests.api.bodies import certification_request
from tests.api.conftest import Running

CALLER = Caller("test", "test.tenant1.x509-service-1", "test", "")
KMS = "test.tenant1.kms1"


def service_with(running: Running, **policy: Any) -> X509Service:
    """The service of the quick start under another policy."""
    service = running.engine.directory.x509_service("test.tenant1.x509-service-1")
    return replace(service, corridor=replace(service.corridor, **policy))


def refusal(running: Running, issue: Callable[[], object]) -> str:
    before = running.signatures, running.stored()
    with pytest.raises(PolicyRefusal) as caught:
        issue()
    assert (running.signatures, running.stored()) == before
    return caught.value.message


def test_a_blocked_key_gets_no_certificate(running: Running) -> None:
    pem = certification_request()
    service = service_with(running, blocked_keys=frozenset({load_request(pem).public_key.sha256}))
    order = GenericOrder(subject_name=SubjectName(common_name="Blocked"))
    choice = CaSigned(HostedKey(f"{KMS}.ca-secp256r1"))
    message = refusal(running, lambda: service.issue_certificate(order, CsrSource(pem), choice, None, CALLER))
    assert "is blocked by policy" in message


def test_an_iaca_without_a_state_is_refused_where_policy_asks_for_one(running: Running) -> None:
    names = IssuerAlternativeNameOrder(uri="https://iaca.example.com")
    order = IacaOrder(country="US", common_name="No state", issuer_alternative_name=names)
    key = HostedKey(f"{KMS}.new-iaca")
    service = service_with(running, iaca_requires_state=True)
    message = refusal(running, lambda: service.issue_iaca(order, key, None, None, CALLER))
    assert "must have a stateOrProvinceName" in message
    with_state = replace(order, state_or_province_name="California")
    assert service.issue_iaca(with_state, key, None, None, CALLER).entry_paths
