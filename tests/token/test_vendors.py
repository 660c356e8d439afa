"""What the engine does differently for libraries in its table of vendors."""

import pytest
from pkcs11.mechanisms import Mechanism

from engine.errors import UnsupportedRequest
from engine.token.mechanisms import find_key_pair_kind, find_signature_mechanism, find_usable
from tests.token.conftest import OtherProcess

OFFERED = (Mechanism.RSA_PKCS, Mechanism.SHA256_RSA_PKCS, Mechanism.EC_KEY_PAIR_GEN)


@pytest.mark.parametrize(
    ("library", "mechanism"),
    [("SoftHSM", Mechanism.RSA_PKCS), ("tpm2-software.github.io", Mechanism.SHA256_RSA_PKCS)],
)
def test_a_mechanism_that_is_offered_and_does_not_work_is_not_taken(library: str, mechanism: Mechanism) -> None:
    usable = find_usable(OFFERED, library)
    assert find_signature_mechanism("sha256WithRSAEncryption", usable).mechanism is mechanism


def test_a_key_type_that_the_library_could_not_sign_with_is_not_generated() -> None:
    usable = find_usable(OFFERED, "tpm2-software.github.io")
    with pytest.raises(UnsupportedRequest, match="generates secp521r1 keys, but cannot sign with them"):
        find_key_pair_kind("secp521r1", usable)
    assert find_key_pair_kind("secp384r1", usable).name == "secp384r1"


def test_a_library_that_must_not_be_finalised_is_logged_out_instead_and_opened_again(
    other_process: OtherProcess,
) -> None:
    printed = other_process.run(
        """
        from dataclasses import replace
        from unittest import mock
        from engine.token import vendors
        with counted(device.module) as calls:
            token = Token.open(device.settings())
            library = token._connection.module.library.manufacturer_id
            trial = replace(vendors.find_vendor(library), never_finalized="for this test")
            with mock.patch.dict(vendors._VENDORS, {library: trial}):
                key, spki = new_key(token)
                token.close()
                print(calls["C_CloseAllSessions"] > 0)
                again = Token.open(device.settings())
                verify(spki, ALGORITHM, again.sign(key, ALGORITHM, b"message"), b"message")
                again.close()
        print(calls["C_Finalize"], calls["C_Login"])
        """
    )
    assert printed == "True\n0 2\n"
