"""HTTP and JSON, and nothing but: routes per service, schema, problems, credentials, rendering."""

from engine.api.application import build_application

__all__ = ["build_application"]
