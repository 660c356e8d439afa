"""The two tables: algorithms to mechanisms, return codes to what they mean."""

import inspect

import pytest
from pkcs11 import exceptions
from pkcs11.exceptions import PKCS11Error
from pkcs11.mechanisms import Mechanism

from engine.errors import SigningFailed, TokenBusy, TokenLoginRefused, TokenUnavailable, UnsupportedRequest
from engine.token.keys import SigningKey
from engine.token.mechanisms import SIGNATURE_MECHANISMS, find_key_pair_kind, find_signature_mechanism, find_usable
from engine.token.returncodes import Cure, classify, classify_number


@pytest.mark.parametrize(
    ("algorithm", "raw", "combined"),
    [
        ("ecdsa-with-SHA256", Mechanism.ECDSA, Mechanism.ECDSA_SHA256),
        ("ecdsa-with-SHA384", Mechanism.ECDSA, Mechanism.ECDSA_SHA384),
        ("ecdsa-with-SHA512", Mechanism.ECDSA, Mechanism.ECDSA_SHA512),
        ("sha256WithRSAEncryption", Mechanism.RSA_PKCS, Mechanism.SHA256_RSA_PKCS),
        ("id-RSASSA-PSS-SHA256", Mechanism.RSA_PKCS_PSS, Mechanism.SHA256_RSA_PKCS_PSS),
    ],
)
def test_a_combined_mechanism_is_taken_only_where_the_raw_one_is_missing(
    algorithm: str, raw: Mechanism, combined: Mechanism
) -> None:
    assert find_signature_mechanism(algorithm, {raw, combined}).mechanism is raw
    only = find_signature_mechanism(algorithm, {combined})
    assert only.mechanism is combined
    assert only.prepare(b"message") == b"message"
    with pytest.raises(UnsupportedRequest, match=f"CKM_{raw.name} or CKM_{combined.name}"):
        find_signature_mechanism(algorithm, {Mechanism.EDDSA})


def test_pss_names_hash_mgf_and_salt_length_whatever_the_mechanism() -> None:
    for mechanism in SIGNATURE_MECHANISMS["id-RSASSA-PSS-SHA256"]:
        assert mechanism.parameter is not None
        assert [int(part) for part in mechanism.parameter] == [0x250, 2, 32]  # CKM_SHA256, CKG_MGF1_SHA256


def test_a_key_type_that_the_token_cannot_generate_is_refused_naming_the_mechanism_and_the_types_it_can() -> None:
    sentence = r"would need CKM_EC_EDWARDS_KEY_PAIR_GEN; it generates secp256r1, secp384r1, secp521r1\.$"
    with pytest.raises(UnsupportedRequest, match=sentence):
        find_key_pair_kind("Ed25519", find_usable([Mechanism.EC_KEY_PAIR_GEN], ""))
    with pytest.raises(UnsupportedRequest, match="it generates no key pairs"):
        find_key_pair_kind("RSA", find_usable([], ""))


def test_r_and_s_that_a_token_shortened_are_padded_to_the_width_of_the_field() -> None:
    key = SigningKey(private_key=object(), family="EC", signature_length=64)
    assert key.pad_signature(b"\x01" * 31 + b"\x02" * 31) == b"\x00" + b"\x01" * 31 + b"\x00" + b"\x02" * 31


@pytest.mark.parametrize(("family", "length"), [("EC", 63), ("EC", 66), ("EC", 0), ("RSA", 62), ("Ed25519", 62)])
def test_a_signature_of_another_length_is_refused(family: str, length: int) -> None:
    key = SigningKey(private_key=object(), family=family, signature_length=64)
    with pytest.raises(SigningFailed, match=f"{length} bytes, expected 64"):
        key.pad_signature(bytes(length))


@pytest.mark.parametrize(
    ("error", "code", "cure", "kind"),
    [
        (exceptions.SessionHandleInvalid(), "CKR_SESSION_HANDLE_INVALID", Cure.NEW_SESSION, TokenUnavailable),
        (exceptions.ObjectHandleInvalid(), "CKR_OBJECT_HANDLE_INVALID", Cure.NEW_SESSION, TokenUnavailable),
        (exceptions.DeviceError(), "CKR_DEVICE_ERROR", Cure.NEW_SESSION, TokenUnavailable),
        (exceptions.DeviceRemoved(), "CKR_DEVICE_REMOVED", Cure.NEW_SLOT, TokenUnavailable),
        (exceptions.UserNotLoggedIn(), "CKR_USER_NOT_LOGGED_IN", Cure.LOGIN, TokenUnavailable),
        (exceptions.SessionCount(), "CKR_SESSION_COUNT", Cure.FEWER_SESSIONS, TokenBusy),
        (exceptions.PinLocked(), "CKR_PIN_LOCKED", Cure.NONE, TokenLoginRefused),
        (PKCS11Error("Unmapped error code 0x68"), "CKR_KEY_FUNCTION_NOT_PERMITTED", Cure.NONE, UnsupportedRequest),
        (PKCS11Error("Unmapped error code 0x80000042"), "0x80000042", Cure.NONE, SigningFailed),
        (
            PKCS11Error("Initialisation error (not initialized). Should never see this."),
            "CKR_CRYPTOKI_NOT_INITIALIZED",
            Cure.INITIALIZE,
            TokenUnavailable,
        ),
        (PKCS11Error("Something new"), "PKCS11Error", Cure.NONE, SigningFailed),
    ],
)
def test_a_return_code_has_a_cure_and_an_error(error: PKCS11Error, code: str, cure: Cure, kind: type) -> None:
    fault = classify(error)
    assert (fault.code, fault.cure, fault.error) == (code, cure, kind)
    assert classify_number(0x30).code == "CKR_DEVICE_ERROR"


def test_no_refused_pin_has_a_cure() -> None:
    for name, kind in inspect.getmembers(exceptions, inspect.isclass):
        if name.startswith("Pin") and name != "PinTooWeak":
            fault = classify(kind())
            assert (fault.cure, fault.error) == (Cure.NONE, TokenLoginRefused), name
