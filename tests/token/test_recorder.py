"""A token that was away is not used, and no key of it proves itself, before that is told to whoever records it."""

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import pytest

from engine.errors import StoreUnavailable, TokenUnavailable
from engine.token import PROOF, KeyReference, Token, TokenSettings
from tests.token.conftest import NewKey
from tests.token.devices import Device
from tests.token.interposer import answering


class Book:
    """Writes down what it is told, unless it is to refuse that."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.refused: set[str] = set()
        self.refusals = 0

    def lost(self, token: str, cause: str) -> None:
        self._tell(f"lost: {cause}")

    def back(self, token: str) -> None:
        self._tell("back")

    @contextmanager
    def signing(self, token: str, keys: Sequence[KeyReference], message_sha256: str) -> Iterator[Counter[KeyReference]]:
        assert message_sha256 == hashlib.sha256(PROOF).hexdigest()
        self._tell(f"signing: {[key.label for key in keys]}")
        proven = Counter[KeyReference]()
        yield proven
        assert set(proven.values()) == {1}
        self._tell(f"signed: {[key.label for key in proven]}")

    def repeating(self, token: str, key: KeyReference, message_sha256: str) -> None:
        self._tell(f"repeating: {key.label} {message_sha256}")

    def _tell(self, what: str) -> None:
        if what.partition(":")[0] in self.refused:
            self.refusals += 1
            raise StoreUnavailable("The database did not commit the record.")
        self.told.append(what)


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def token(token_settings: TokenSettings, book: Book) -> Iterator[Token]:
    opened = Token.open(token_settings, recorder=book)
    yield opened
    opened.close()


@pytest.fixture
def sign(new_key: Callable[..., NewKey], token: Token) -> Callable[[], bytes]:
    """A key that signs."""
    key = new_key()
    return lambda: token.sign(key.reference, key.algorithm, b"message")


def lose(token: Token) -> None:
    token._recovery.lost(token._recovery.connection(), "the test says so")


def wait(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_loss_the_proofs_and_the_return_are_told_in_this_order(
    token: Token, book: Book, sign: Callable[[], bytes]
) -> None:
    sign()
    assert book.told == []
    lose(token)
    wait(lambda: token.state() == "ready")
    assert [one.partition(":")[0] for one in book.told] == ["lost", "signing", "signed", "back"]
    assert book.told[0] == "lost: the test says so"
    assert book.told[1].removeprefix("signing: ") == book.told[2].removeprefix("signed: ")
    assert sign()


@pytest.mark.parametrize("refused", ["lost", "signing", "signed", "back"])
def test_what_cannot_be_told_keeps_the_token_away_until_it_can(
    token: Token, book: Book, sign: Callable[[], bytes], refused: str
) -> None:
    sign()
    book.refused = {refused}
    lose(token)
    wait(lambda: book.refusals > 2)
    assert "The database did not commit the record" in token.state()
    with pytest.raises(TokenUnavailable):
        sign()
    assert "back" not in book.told
    book.refused = set()
    wait(lambda: token.state() == "ready")
    assert [one.partition(":")[0] for one in book.told].count("lost") == 1
    assert book.told[-1] == "back"
    assert sign()


def test_a_token_that_comes_late_is_told_of(token_settings: TokenSettings, book: Book) -> None:
    late = Token.open(token_settings, may_be_away=True, recorder=book)
    wait(lambda: late.state() == "ready")
    late.close()
    assert book.told == ["lost: it is being opened", "back"]


def test_a_repeat_that_cannot_be_told_is_not_asked_for_and_keeps_no_session(
    token: Token, token_settings: TokenSettings, device: Device, new_key: Callable[..., NewKey], book: Book
) -> None:
    device.skip_unless("ending an operation with its session")
    key = new_key()
    token.sign(key.reference, key.algorithm, b"message")
    book.refused = {"repeating"}
    for number in range(1, token_settings.sessions + 2):
        before = token.signatures
        with answering(token_settings.module, "C_Sign", 0x30), pytest.raises(StoreUnavailable) as refused:
            token.sign(key.reference, key.algorithm, b"message")
        assert refused.value.may_have_signed
        assert (token.signatures, book.refusals) == (before + 1, number)
    assert token.sign(key.reference, key.algorithm, b"message")
