"""The texts of the page, and what varies in them."""

import json
import re
from pathlib import Path

PAGE = Path(__file__).parent
HOST = "https://{orgID}.enterprise-sandbox.waltid.dev"
TARGET = "test.tenant1.x509-service-1"
STORE = "test.tenant1.x509-store-1"
PLACEHOLDER = "-----BEGIN CERTIFICATE REQUEST-----\nMIIB...\n-----END CERTIFICATE REQUEST-----"


def script(name: str, *, request: str | None = None, stored_id: str | None = None) -> str:
    text = (PAGE / name).read_text()
    if request is not None:
        assert PLACEHOLDER in text
        text = text.replace(PLACEHOLDER, request)
    if stored_id is not None:
        text, count = re.subn(r'("storedCertificateId": )"[^"]+"', rf'\1"{stored_id}"', text)
        assert count == 1
    return text


def body_of(name: str, request: str) -> dict:
    """The JSON body of an example."""
    text = script(name, request=request.replace("\n", "\\n"))
    return json.loads(text.split("-d '")[1].rsplit("'", 1)[0])


def hosted(key_id: str) -> dict[str, str]:
    return {"type": "kms-hosted-key-descriptor", "keyIdPath": f"test.tenant1.kms1.{key_id}"}
