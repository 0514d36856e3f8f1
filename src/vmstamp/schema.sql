-- One stamp's state. JSON columns hold documents; times are ISO 8601 in UTC with microseconds.

-- blob: storage accounts; `hidden` ones are the stamp's own (managed disks live in md-... accounts).
CREATE TABLE account (
    name      TEXT PRIMARY KEY,
    key1      TEXT NOT NULL,
    key2      TEXT NOT NULL,
    hidden    INTEGER NOT NULL DEFAULT 0,
    created   TEXT NOT NULL,
    document  TEXT NOT NULL DEFAULT '{}' -- SKU, service properties, the secret behind user delegation keys
) STRICT;

CREATE TABLE container (
    account        TEXT NOT NULL REFERENCES account(name) ON DELETE CASCADE,
    name           TEXT NOT NULL,
    etag           TEXT NOT NULL,
    last_modified  TEXT NOT NULL,
    document       TEXT NOT NULL,      -- metadata, public access, stored access policies, lease
    PRIMARY KEY (account, name)
) STRICT;

-- A content is a sparse file content/<id>. A sealed one is never written again: several blobs may name it.
-- A content that was copied from a sealed one to be written has the next generation.
CREATE TABLE content (
    id          TEXT PRIMARY KEY,
    size        INTEGER NOT NULL,
    sealed      INTEGER NOT NULL DEFAULT 0,
    generation  INTEGER NOT NULL DEFAULT 0
) STRICT;

-- The page table: ascending, disjoint, half-open ranges that hold data, each with the generation in which it
-- was written last. All else reads as zeros.
CREATE TABLE page (
    content     TEXT NOT NULL REFERENCES content(id) ON DELETE CASCADE,
    start       INTEGER NOT NULL,
    end         INTEGER NOT NULL,
    generation  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (content, start)
) STRICT, WITHOUT ROWID;

-- `snapshot` is '' for the blob itself; `deleted` is '' unless it is soft-deleted, and then kept until `expires`.
CREATE TABLE blob (
    account        TEXT NOT NULL,
    container      TEXT NOT NULL,
    name           TEXT NOT NULL,
    snapshot       TEXT NOT NULL DEFAULT '',
    deleted        TEXT NOT NULL DEFAULT '',
    expires        TEXT NOT NULL DEFAULT '',
    type           TEXT NOT NULL,      -- PageBlob, BlockBlob, AppendBlob
    content        TEXT NOT NULL REFERENCES content(id),
    size           INTEGER NOT NULL,
    etag           TEXT NOT NULL,
    created        TEXT NOT NULL,
    last_modified  TEXT NOT NULL,
    document       TEXT NOT NULL,      -- metadata, tags, HTTP headers, sequence number, lease, copy status
    PRIMARY KEY (account, container, name, snapshot),
    FOREIGN KEY (account, container) REFERENCES container(account, name) ON DELETE CASCADE
) STRICT;
CREATE INDEX blob_by_content ON blob (content);
CREATE VIEW blob_content AS
    SELECT blob.*, content.sealed, content.generation FROM blob JOIN content ON content.id = blob.content;

-- What was cleared in a content that was copied from a sealed one, with the generation of that; else as `page`.
CREATE TABLE cleared_page (
    content     TEXT NOT NULL REFERENCES content(id) ON DELETE CASCADE,
    start       INTEGER NOT NULL,
    end         INTEGER NOT NULL,
    generation  INTEGER NOT NULL,
    PRIMARY KEY (content, start)
) STRICT, WITHOUT ROWID;

-- Bytes that are to be written over data; a row is here until they are.
CREATE TABLE redo (
    number   INTEGER PRIMARY KEY,
    content  TEXT NOT NULL REFERENCES content(id) ON DELETE CASCADE,
    start    INTEGER NOT NULL,
    data     BLOB NOT NULL
) STRICT;
CREATE INDEX redo_by_content ON redo (content);

-- The committed blocks of a content, in their order.
CREATE TABLE block (
    content   TEXT NOT NULL REFERENCES content(id) ON DELETE CASCADE,
    position  INTEGER NOT NULL,
    id        TEXT NOT NULL,
    start     INTEGER NOT NULL,
    end       INTEGER NOT NULL,
    PRIMARY KEY (content, position)
) STRICT, WITHOUT ROWID;

-- Blocks that were put and not committed; each has a content of its own.
CREATE TABLE staged_block (
    account    TEXT NOT NULL,
    container  TEXT NOT NULL,
    name       TEXT NOT NULL,
    id         TEXT NOT NULL,
    content    TEXT NOT NULL REFERENCES content(id),
    size       INTEGER NOT NULL,
    created    TEXT NOT NULL,
    PRIMARY KEY (account, container, name, id),
    FOREIGN KEY (account, container) REFERENCES container(account, name) ON DELETE CASCADE
) STRICT;
CREATE INDEX staged_block_by_content ON staged_block (content);

-- arm: every resource is a document; `id` is in lower case, `document` keeps the case of the first PUT.
CREATE TABLE resource (
    id        TEXT PRIMARY KEY,
    type      TEXT NOT NULL,           -- lower case: microsoft.compute/virtualmachines
    grp       TEXT NOT NULL,           -- key of the resource group ('' for subscription scope)
    name      TEXT NOT NULL,
    location  TEXT NOT NULL,
    etag      TEXT NOT NULL,
    created   TEXT NOT NULL,
    document  TEXT NOT NULL,
    state     TEXT NOT NULL DEFAULT '{}'  -- what the stamp knows and never shows
) STRICT;
CREATE INDEX resource_by_group ON resource (grp, type);
CREATE INDEX resource_by_type ON resource (type);

-- Who uses whom, derived from the documents: back references and "in use" come from here.
CREATE TABLE reference (
    source  TEXT NOT NULL REFERENCES resource(id) ON DELETE CASCADE,
    kind    TEXT NOT NULL,             -- subnet, nic, disk, image, ...
    target  TEXT NOT NULL,             -- an id in lower case; it may name a part (a subnet) or be gone
    part    TEXT NOT NULL,             -- the part of the source that refers, as shown
    PRIMARY KEY (source, kind, target, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX reference_by_target ON reference (target);

CREATE TABLE operation (
    id        TEXT PRIMARY KEY,
    resource  TEXT NOT NULL,
    kind      TEXT NOT NULL,           -- put, delete, or the action's name
    status    TEXT NOT NULL,           -- InProgress, Succeeded, Failed, Canceled
    started   TEXT NOT NULL,
    ended     TEXT,
    document  TEXT NOT NULL            -- request, error, output
) STRICT;
CREATE INDEX operation_by_resource ON operation (resource, status);
