-- The tables as the engine made them before databases kept their revision, with rows. It is read for either kind of
-- database: X'…' are octets, BLOB is BYTEA to PostgreSQL, DATETIME is TIMESTAMP WITH TIME ZONE.

CREATE TABLE credentials (
    credential_id VARCHAR(256) NOT NULL,
    secret_sha256 VARCHAR(64) NOT NULL,
    scope TEXT NOT NULL,
    created_at DATETIME NOT NULL,
    CONSTRAINT pk_credentials PRIMARY KEY (credential_id),
    CONSTRAINT ck_credentials_secret_sha256 CHECK (length(secret_sha256) = 64),
    CONSTRAINT uq_credentials_secret_sha256 UNIQUE (secret_sha256)
);

CREATE TABLE intents (
    intent_id VARCHAR(64) NOT NULL,
    kind VARCHAR(16) NOT NULL,
    profile VARCHAR(64) NOT NULL,
    issuer BLOB,
    serial_number VARCHAR(40),
    tbs BLOB,
    tbs_sha256 VARCHAR(64) NOT NULL,
    signing_key TEXT NOT NULL,
    caller TEXT NOT NULL,
    request_id TEXT NOT NULL,
    request_digest TEXT NOT NULL,
    state VARCHAR(16) NOT NULL,
    reason TEXT,
    recorded_at DATETIME NOT NULL,
    closed_at DATETIME,
    CONSTRAINT pk_intents PRIMARY KEY (intent_id),
    CONSTRAINT uq_intents_issuer_serial_number UNIQUE (issuer, serial_number),
    CONSTRAINT ck_intents_kind CHECK (kind IN ('certificate', 'request')),
    CONSTRAINT ck_intents_state CHECK (state IN ('intended', 'signed', 'failed', 'outcome-unknown')),
    CONSTRAINT ck_intents_closed CHECK ((state = 'intended') = (closed_at IS NULL)),
    CONSTRAINT ck_intents_reason CHECK ((state = 'failed') = (reason IS NOT NULL)),
    CONSTRAINT ck_intents_certificate CHECK (
        (kind = 'certificate' AND issuer IS NOT NULL AND serial_number IS NOT NULL AND tbs IS NOT NULL)
        OR (kind = 'request' AND issuer IS NULL AND serial_number IS NULL)
    ),
    CONSTRAINT ck_intents_serial_number CHECK (length(serial_number) = 40),
    CONSTRAINT ck_intents_tbs_sha256 CHECK (length(tbs_sha256) = 64)
);

CREATE INDEX ix_intents_open ON intents (recorded_at) WHERE state = 'intended';

CREATE TABLE keys (
    path TEXT NOT NULL,
    kms_path TEXT NOT NULL,
    token TEXT NOT NULL,
    label TEXT NOT NULL,
    key_id BLOB NOT NULL,
    key_type VARCHAR(32) NOT NULL,
    spki BLOB NOT NULL,
    spki_sha256 VARCHAR(64) NOT NULL,
    origin TEXT NOT NULL,
    custody JSON NOT NULL,
    checked_at DATETIME NOT NULL,
    created_at DATETIME NOT NULL,
    CONSTRAINT pk_keys PRIMARY KEY (path),
    CONSTRAINT ck_keys_spki_sha256 CHECK (length(spki_sha256) = 64)
);

CREATE INDEX ix_keys_kms_path_path ON keys (kms_path, path);

CREATE INDEX ix_keys_spki_sha256 ON keys (spki_sha256);

CREATE TABLE certificates (
    sha256 VARCHAR(64) NOT NULL,
    intent_id VARCHAR(64),
    der BLOB NOT NULL,
    subject BLOB NOT NULL,
    issuer BLOB NOT NULL,
    serial_number VARCHAR(40) NOT NULL,
    spki_sha256 VARCHAR(64) NOT NULL,
    is_ca BOOLEAN NOT NULL,
    not_before DATETIME NOT NULL,
    not_after DATETIME NOT NULL,
    CONSTRAINT pk_certificates PRIMARY KEY (sha256),
    CONSTRAINT ck_certificates_sha256 CHECK (length(sha256) = 64),
    CONSTRAINT ck_certificates_serial_number CHECK (length(serial_number) = 40),
    CONSTRAINT ck_certificates_spki_sha256 CHECK (length(spki_sha256) = 64),
    CONSTRAINT uq_certificates_intent_id UNIQUE (intent_id),
    CONSTRAINT fk_certificates_intent_id FOREIGN KEY(intent_id) REFERENCES intents (intent_id)
);

CREATE INDEX ix_certificates_spki_sha256 ON certificates (spki_sha256);

CREATE INDEX ix_certificates_subject ON certificates (subject);

CREATE TABLE entries (
    path TEXT NOT NULL,
    store_path TEXT NOT NULL,
    type VARCHAR(32) NOT NULL,
    metadata JSON,
    intent_id VARCHAR(64),
    certificate_sha256 VARCHAR(64),
    created_at DATETIME NOT NULL,
    CONSTRAINT pk_entries PRIMARY KEY (path),
    CONSTRAINT ck_entries_reserved_or_filled CHECK (intent_id IS NOT NULL OR certificate_sha256 IS NOT NULL),
    CONSTRAINT fk_entries_intent_id FOREIGN KEY(intent_id) REFERENCES intents (intent_id),
    CONSTRAINT fk_entries_certificate_sha256 FOREIGN KEY(certificate_sha256) REFERENCES certificates (sha256)
);

CREATE INDEX ix_entries_certificate_sha256 ON entries (certificate_sha256);

CREATE INDEX ix_entries_intent_id ON entries (intent_id);

CREATE INDEX ix_entries_store_path_path ON entries (store_path, path);

INSERT INTO credentials VALUES ('key-1', '1111111111111111111111111111111111111111111111111111111111111111', 'test', '2026-03-01 12:00:00.000000');

INSERT INTO intents VALUES (
    'signed', 'certificate', 'generic', X'30013a', '0000000000000000000000000000000000000001', X'746273', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'test.tenant1.kms1.ca', 'key-1',
    'request-1', 'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd', 'signed', NULL, '2026-03-01 12:00:00.000000', '2026-03-01 12:00:01.000000'
);

INSERT INTO intents VALUES (
    'failed', 'certificate', 'generic', X'30013a', '0000000000000000000000000000000000000002', X'746273', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'test.tenant1.kms1.ca', 'key-1',
    'request-1', 'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd', 'failed', 'SigningFailed', '2026-03-01 12:00:00.000000', '2026-03-01 12:00:01.000000'
);

INSERT INTO intents VALUES (
    'unknown', 'request', 'generic', NULL, NULL, NULL, 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'test.tenant1.kms1.ca', 'key-1',
    'request-1', 'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd', 'outcome-unknown', NULL, '2026-03-01 12:00:00.000000', '2026-03-01 12:00:01.000000'
);

INSERT INTO intents VALUES (
    'open', 'certificate', 'generic', X'30013a', '0000000000000000000000000000000000000003', X'746273', 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa', 'test.tenant1.kms1.ca', 'key-1',
    'request-1', 'dddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd', 'intended', NULL, '2026-03-01 12:00:00.000000', NULL
);

INSERT INTO certificates VALUES (
    'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc', 'signed', X'3003646572', X'30037375', X'30013a', '0000000000000000000000000000000000000001', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', TRUE,
    '2026-03-01 12:00:00.000000', '2027-03-01 12:00:00.000000'
);

INSERT INTO entries VALUES (
    'test.tenant1.store.leaf', 'test.tenant1.store', 'vical-entry', '{"docType": ["mDL"]}', 'signed', 'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc',
    '2026-03-01 12:00:00.000000'
);

INSERT INTO entries VALUES (
    'test.tenant1.store.open', 'test.tenant1.store', 'base', NULL, 'open', NULL, '2026-03-01 12:00:00.000000'
);

INSERT INTO keys VALUES (
    'test.tenant1.kms1.ca', 'test.tenant1.kms1', 'trial', 'ca', X'00ff', 'secp256r1', X'3059', 'bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb', 'generated',
    '{"sensitive": true}', '2026-03-01 12:00:00.000000', '2026-03-01 12:00:00.000000'
);
