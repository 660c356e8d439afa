"""Certification requests of every kind of defect, and the answer each must get before any token is touched.

A vector of ours is a pair of files in `requests/`: `name.pem` and `name.expected`, which holds "accepted" with the key
type, or the error class and its sentence. Adding one adds no code; README.md there has a line for each.
"""

import base64
import re
import subprocess
import tomllib
from pathlib import Path

import cryptography_vectors
import pytest

from engine.errors import RequestError
from engine.profiles.keys import check_public_key
from engine.x509.request import load_request

HERE = Path(__file__).parent
OURS = sorted((HERE / "requests").glob("*/*.pem"))
THEIRS = Path(cryptography_vectors.__file__).parent / "x509" / "requests"
TABLE = tomllib.loads((HERE / "cryptography_vectors.toml").read_text())["vector"]
ANSWERS = {vector["file"]: vector for vector in TABLE}


def answer_to(text: str) -> str:
    """What the engine says to a request, before any token is touched."""
    try:
        request = load_request(text)
        check_public_key(request.public_key)
    except RequestError as error:
        return f"{type(error).__name__}: {error.message}"
    return f"accepted: {request.public_key.key_type}"


def as_pem(path: Path) -> str:
    octets = path.read_bytes()
    if path.suffix == ".pem":
        return octets.decode()
    body = base64.encodebytes(octets).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n"


@pytest.mark.parametrize("path", OURS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_vector_of_ours_gets_its_answer(path):
    assert answer_to(as_pem(path)) == path.with_suffix(".expected").read_text().strip()


@pytest.mark.parametrize("path", OURS, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_the_folder_of_a_vector_says_whether_it_is_accepted(path):
    accepted = path.with_suffix(".expected").read_text().startswith("accepted: ")
    assert accepted == (path.parent.name == "ok")


@pytest.mark.parametrize(
    "path",
    [path for path in OURS if path.with_suffix(".expected").read_text().startswith(("accepted: ", "PolicyRefusal: "))],
    ids=lambda path: path.stem,
)
def test_openssl_verifies_what_is_accepted_or_refused_by_policy_alone(path):
    command = ["openssl", "req", "-verify", "-noout", "-in", str(path)]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "verify OK" in answer.stdout + answer.stderr


def test_every_vector_of_ours_has_its_passport_and_the_other_way_round():
    passports = re.findall(r"^\| `([a-z0-9-]+)` \|", (HERE / "requests" / "README.md").read_text(), re.MULTILINE)
    assert sorted(passports) == sorted(path.stem for path in OURS)


@pytest.mark.parametrize("file", sorted(ANSWERS))
def test_a_request_of_cryptography_vectors_gets_its_answer(file):
    assert answer_to(as_pem(THEIRS / file)) == ANSWERS[file]["answer"]


@pytest.mark.parametrize("file", sorted(file for file in ANSWERS if "alone" in ANSWERS[file]))
def test_a_request_of_cryptography_vectors_without_the_text_around_it_gets_its_answer(file):
    text = as_pem(THEIRS / file)
    alone = text[text.index("-----BEGIN") :]
    assert answer_to(alone) == ANSWERS[file]["alone"]


def test_the_table_holds_every_request_of_cryptography_vectors():
    assert set(ANSWERS) == {path.name for path in THEIRS.iterdir()}
    assert all(vector["reason"].endswith(".") for vector in TABLE)
