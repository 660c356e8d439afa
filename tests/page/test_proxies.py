"""Where a request came from, when it came through a proxy."""

from pathlib import Path

import httpx

from tests.database import database_url
from tests.page.live import DEADLINE, init, live_engine
from tests.trail import read_trail

PROXY, CLIENT = "127.0.0.2", "203.0.113.7"


def test_forwarded_address_is_believed_of_a_trusted_proxy_only(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    init(folder)
    config = folder / "engine.toml"
    config.write_text(config.read_text().replace("[server]\n", f'[server]\ntrusted-proxies = ["{PROXY}"]\n'))
    with live_engine(folder) as live:
        for address in (PROXY, "127.0.0.1"):
            with httpx.Client(transport=httpx.HTTPTransport(local_address=address), trust_env=False) as http:
                headers = {"X-Forwarded-For": CLIENT}
                answer = http.get(
                    f"{live.base_url}/v1/test/resource-api/resources/list", headers=headers, timeout=DEADLINE
                )
                assert answer.status_code == 401
    sources = [one.source for one in read_trail(database_url(folder)) if one.kind == "credential-refused"]
    assert sorted(sources) == ["127.0.0.1", CLIENT]
