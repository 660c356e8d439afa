"""Checkpoints of the audit trail, as the configuration file wants them: the key, the witness and what keeps them up."""

from collections.abc import Mapping
from datetime import UTC, datetime

from engine.audit.checkpoint import CheckpointMaker, Witness
from engine.audit.keeper import CheckpointKeeper, Gate
from engine.audit.witness import FileWitness, UrlWitness
from engine.config import AuditConfig, WitnessConfig
from engine.directory import Kms
from engine.directory.audit_guard import AuditGuard
from engine.directory.signers import jwk_name
from engine.errors import ConfigError, NotFound
from engine.store import Store


def build_guard(config: AuditConfig, store: Store) -> AuditGuard:
    """What every KMS and the corridor ask. Raises StoreError."""
    former = {
        spki_sha256: tuple(row.path for row in store.list_keys_by_spki(spki_sha256))
        for spki_sha256 in store.list_checkpoint_keys()
    }
    if config.key is None:
        return AuditGuard(former=former)
    try:
        spki_sha256 = store.find_key(config.key).spki_sha256
    except NotFound:
        spki_sha256 = None
    return AuditGuard(config.key, spki_sha256, former, Gate(config.longest_seconds))


def build_keeper(
    config: AuditConfig, guard: AuditGuard, store: Store, kms: Mapping[str, Kms]
) -> CheckpointKeeper | None:
    """What makes checkpoints; None if nothing does. `kms` are those that the file declares."""
    if config.key is None or not isinstance(guard.gate, Gate):
        return None
    signer = kms[config.key.rpartition(".")[0]].checkpoint_signer
    return CheckpointKeeper(
        maker=CheckpointMaker(store, signer, _build_witness(config.witness), _utc_now),
        find_waiting_events=store.find_waiting_events,
        gate=guard.gate,
        now=_utc_now,
        events=config.events,
        seconds=config.seconds,
    )


def _build_witness(config: WitnessConfig | None) -> Witness | None:
    if config is None:
        return None
    if config.file is not None:
        return FileWitness(config.file)
    return None if config.url is None else UrlWitness(config.url)


def _utc_now() -> datetime:
    return datetime.now(UTC)


def check_audit_key(config: AuditConfig, store: Store) -> None:
    """Raises ConfigError if checkpoints are to be signed by a key that is not there, or that is for something else."""
    if config.key is None:
        return
    try:
        row = store.find_key(config.key)
    except NotFound:
        raise ConfigError(
            f"audit.key: there is no key at {config.key}; make it with signing-engine keys generate {config.key}."
        ) from None
    others = [other.path for other in store.list_keys_by_spki(row.spki_sha256) if other.path != config.key]
    if others:
        raise ConfigError(f"audit.key: expected a key of its own, and {', '.join(others)} stands for {config.key} too.")
    if store.has_issued(row.spki_sha256):
        raise ConfigError(f"audit.key: expected a key that signs nothing else, and {config.key} has a certificate.")
    names = (config.key, jwk_name(row.spki_sha256))  # it may have been brought along before it was imported
    if store.has_signed(names, even_in_vain=row.spki_sha256 not in store.list_checkpoint_keys()):
        raise ConfigError(
            f"audit.key: expected a key that signs nothing else, and {config.key} has signed something else already."
        )
