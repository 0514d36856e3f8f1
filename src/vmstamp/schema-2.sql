-- From schema version 1 to 2: snapshots, soft delete, blocks, generations of pages, documents of accounts.
ALTER TABLE account ADD COLUMN document TEXT NOT NULL DEFAULT '{}';
ALTER TABLE content ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;
ALTER TABLE page ADD COLUMN generation INTEGER NOT NULL DEFAULT 0;

ALTER TABLE blob RENAME TO blob_1;
DROP INDEX blob_by_content;
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
INSERT INTO blob (account, container, name, type, content, size, etag, created, last_modified, document)
    SELECT account, container, name, type, content, size, etag, created, last_modified, document FROM blob_1;
DROP TABLE blob_1;
CREATE INDEX blob_by_content ON blob (content);
CREATE VIEW blob_content AS
    SELECT blob.*, content.sealed, content.generation FROM blob JOIN content ON content.id = blob.content;

CREATE TABLE cleared_page (
    content     TEXT NOT NULL REFERENCES content(id) ON DELETE CASCADE,
    start       INTEGER NOT NULL,
    end         INTEGER NOT NULL,
    generation  INTEGER NOT NULL,
    PRIMARY KEY (content, start)
) STRICT, WITHOUT ROWID;

CREATE TABLE redo (
    number   INTEGER PRIMARY KEY,
    content  TEXT NOT NULL REFERENCES content(id) ON DELETE CASCADE,
    start    INTEGER NOT NULL,
    data     BLOB NOT NULL
) STRICT;
CREATE INDEX redo_by_content ON redo (content);

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

