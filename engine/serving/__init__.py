"""The processes that serve: the supervisor in front, the worker behind the socket, what they do beside requests."""

REPLACE_ME = 75
"""Exit code of a worker that has a call which never came back (EX_TEMPFAIL of sysexits.h)."""
LOGIN_REFUSED = 77
"""Exit code of a command that a token refused to log in (EX_NOPERM). Another worker would be another wrong PIN."""
