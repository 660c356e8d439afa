"""Which database a URL names.

    sqlite:////absolute/path
    postgresql://user@host:port/dbname?options

Messages call a database by its `name`, which holds no secret. A password is never part of a URL: URLs are printed,
logged and copied.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from engine.errors import ConfigError

_EXPECTED = "store.url: expected sqlite:////absolute/path or postgresql://user@host/database"
_POSTGRESQL = ("postgresql", "postgresql+psycopg")
_OPTIONS = frozenset(
    {
        "application_name",
        "channel_binding",
        "connect_timeout",
        "gssencmode",
        "host",
        "keepalives",
        "keepalives_count",
        "keepalives_idle",
        "keepalives_interval",
        "krbsrvname",
        "load_balance_hosts",
        "options",
        "port",
        "require_auth",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslrootcert",
        "target_session_attrs",
        "tcp_user_timeout",
    }
)
"""Of libpq's connection parameters those that are no secret and not said elsewhere in the URL."""


class Secret(Protocol):
    """A password: its repr shows nothing of it."""

    def reveal(self) -> bytes:
        """The octets, UTF-8."""


@dataclass(frozen=True, slots=True)
class Address:
    """A database. `path` is the file of a SQLite one and None for PostgreSQL."""

    url: URL
    path: Path | None

    @property
    def name(self) -> str:
        """What messages call it."""
        if self.path is not None:
            return str(self.path)
        places = {option: self.url.query[option] for option in ("host", "port") if option in self.url.query}
        return self.url.set(drivername="postgresql", query=places).render_as_string(hide_password=True)


def load_address(url: str, *, has_password: bool = False) -> Address:
    """The database that `url` names. Raises ConfigError, which never repeats the URL: it could hold a password."""
    try:
        address = make_url(url)
    except (ArgumentError, ValueError):
        # The cause would repeat it, too.
        raise ConfigError(f"{_EXPECTED}, found no database URL.") from None
    if address.password is not None:
        raise ConfigError(
            "store.url: expected no password in it; say where the password is kept: "
            "store.password = { file = … }, or environment, command or credential instead of file."
        )
    if address.drivername == "sqlite":
        if has_password:
            raise ConfigError("store.password: expected none, since a SQLite database has no password.")
        path = _sqlite_path(address)
        return Address(URL.create("sqlite+pysqlite", database=str(path)), path)
    if address.drivername in _POSTGRESQL:
        return Address(_postgresql_url(address), None)
    raise ConfigError(f"{_EXPECTED}, found a {address.drivername} URL.")


def _sqlite_path(address: URL) -> Path:
    database = address.database
    if address.query or address.host or address.username or not database or not database.startswith("/"):
        raise ConfigError("store.url: expected sqlite:////absolute/path, with nothing before or after the path.")
    # SQLite follows links and keeps its own files beside what they lead to, where the lock file has to be, too.
    return Path(database).resolve()


def _postgresql_url(address: URL) -> URL:
    if not address.database:
        raise ConfigError("store.url: expected postgresql://user@host/database, found no name of a database.")
    unknown = sorted(set(address.query) - _OPTIONS)
    if unknown:
        raise ConfigError(f"store.url: expected options among {', '.join(sorted(_OPTIONS))}, found {unknown[0]}.")
    return address.set(drivername="postgresql+psycopg")
