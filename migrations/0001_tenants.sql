-- The registry: tenants and what is of record about them. Nothing here is a secret in the clear: database URLs
-- are sealed under a key outside this file, keys are stored as hashes.

-- "gate", so that the gateway never takes another program's database for its registry.
PRAGMA application_id = 1734440037;

-- One row. `revision` counts writes, so that two processes can never overwrite one another's; `seal_mark` opens
-- with the sealing key alone.
CREATE TABLE registry (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    revision INTEGER NOT NULL,
    seal_mark BLOB
) STRICT;

INSERT INTO registry (id, revision) VALUES (1, 0);

CREATE TABLE tenant (
    id TEXT PRIMARY KEY,
    status TEXT NOT NULL CHECK (status IN ('active', 'paused', 'suspended')),
    epoch BLOB NOT NULL CHECK (length(epoch) = 16),
    database_sealed BLOB,
    backend TEXT,
    -- JSON, as the configuration writes them.
    cors TEXT,
    limits TEXT NOT NULL,
    declared INTEGER NOT NULL CHECK (declared IN (0, 1))
) STRICT, WITHOUT ROWID;

CREATE TABLE tenant_origin (
    origin TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tenant_origin_tenant ON tenant_origin (tenant_id, position);

CREATE TABLE tenant_host (
    host TEXT PRIMARY KEY,
    tenant_id TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX tenant_host_tenant ON tenant_host (tenant_id, position);

CREATE TABLE tenant_key (
    hash BLOB PRIMARY KEY CHECK (length(hash) = 32),
    tenant_id TEXT NOT NULL REFERENCES tenant (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    created_unix_s INTEGER NOT NULL,
    position INTEGER NOT NULL,
    UNIQUE (tenant_id, name)
) STRICT, WITHOUT ROWID;
