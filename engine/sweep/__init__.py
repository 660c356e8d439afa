"""The sweep: every stored certificate again, against its intent, its profile, the lint rules and the audit trail; and
the keys, credentials and accounts that stand, against the trail.

Nothing that was believed when a certificate was issued is believed again: its octets are read anew, its signature is
verified anew, and what the database says of it is held against what it says itself. Whether the audit trail is as it
was written is not asked here; `audit verify` does. What is read may be in use, and is only read.
"""

from engine.audit.verifier import Fault
from engine.sweep.findings import Counts, Note
from engine.sweep.sweep import Progress, Sweep

__all__ = ["Counts", "Fault", "Note", "Progress", "Sweep"]
