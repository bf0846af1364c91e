"""One copy of each content, whichever drafts, versions and proposals have it.

EXTERNAL: a compressed value would have to be expanded from its start for each piece that is read.

The previous release runs on this schema, too: `draft_files` and `proposal_contents` are views of the same
columns, and what it inserts there goes into the new tables. Its reads and writes of them wait while the
contents are copied.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-27T01:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "contents by hash"

UP = (
    # Its readers and writers wait from here on, and find the views.
    "LOCK TABLE draft_files, proposal_contents IN ACCESS EXCLUSIVE MODE",
    "CREATE TABLE contents (sha256 bytea PRIMARY KEY, content bytea NOT NULL)",
    "ALTER TABLE contents ALTER COLUMN content SET STORAGE EXTERNAL",
    "INSERT INTO contents SELECT sha256, content FROM proposal_contents ON CONFLICT DO NOTHING",
    """
    INSERT INTO contents SELECT sha256(content), content FROM draft_files WHERE content IS NOT NULL
    ON CONFLICT DO NOTHING
    """,
    # The key's order: a version's files are, for each path, the newest row up to the version.
    """
    CREATE TABLE draft_version_files (
        draft_id uuid NOT NULL,
        version int NOT NULL,
        path text NOT NULL,
        sha256 bytea REFERENCES contents (sha256),
        PRIMARY KEY (draft_id, path, version),
        FOREIGN KEY (draft_id, version) REFERENCES draft_versions (draft_id, version)
    )
    """,
    "INSERT INTO draft_version_files SELECT draft_id, version, path, sha256(content) FROM draft_files",
    """
    CREATE TABLE proposal_hashes (
        proposal_id uuid NOT NULL REFERENCES proposals (id) ON DELETE CASCADE,
        sha256 bytea NOT NULL REFERENCES contents (sha256),
        PRIMARY KEY (proposal_id, sha256)
    )
    """,
    "INSERT INTO proposal_hashes SELECT proposal_id, sha256 FROM proposal_contents",
    "DROP TABLE draft_files",
    "DROP TABLE proposal_contents",
    """
    CREATE VIEW draft_files AS
    SELECT f.draft_id, f.version, f.path, c.content, f.sha256 IS NULL AS deleted
    FROM draft_version_files f LEFT JOIN contents c ON c.sha256 = f.sha256
    """,
    """
    CREATE FUNCTION add_draft_file() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO contents SELECT sha256(NEW.content), NEW.content WHERE NEW.content IS NOT NULL
        ON CONFLICT DO NOTHING;
        INSERT INTO draft_version_files VALUES (NEW.draft_id, NEW.version, NEW.path, sha256(NEW.content));
        RETURN NEW;
    END
    $$
    """,
    """
    CREATE TRIGGER add_draft_file INSTEAD OF INSERT ON draft_files
        FOR EACH ROW EXECUTE FUNCTION add_draft_file()
    """,
    """
    CREATE VIEW proposal_contents AS
    SELECT h.proposal_id, h.sha256, c.content FROM proposal_hashes h JOIN contents c ON c.sha256 = h.sha256
    """,
    """
    CREATE FUNCTION add_proposal_content() RETURNS trigger LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO contents VALUES (NEW.sha256, NEW.content) ON CONFLICT DO NOTHING;
        INSERT INTO proposal_hashes VALUES (NEW.proposal_id, NEW.sha256) ON CONFLICT DO NOTHING;
        RETURN NEW;
    END
    $$
    """,
    """
    CREATE TRIGGER add_proposal_content INSTEAD OF INSERT ON proposal_contents
        FOR EACH ROW EXECUTE FUNCTION add_proposal_content()
    """,
)

DOWN = (
    "ALTER VIEW draft_files RENAME TO draft_files_now",
    "ALTER VIEW proposal_contents RENAME TO proposal_contents_now",
    """
    CREATE TABLE draft_files (
        draft_id uuid NOT NULL,
        version int NOT NULL,
        path text NOT NULL,
        content bytea,
        deleted boolean NOT NULL DEFAULT false,
        PRIMARY KEY (draft_id, version, path),
        FOREIGN KEY (draft_id, version) REFERENCES draft_versions (draft_id, version),
        CHECK (deleted = (content IS NULL))
    )
    """,
    "INSERT INTO draft_files SELECT * FROM draft_files_now",
    """
    CREATE TABLE proposal_contents (
        proposal_id uuid NOT NULL REFERENCES proposals (id) ON DELETE CASCADE,
        sha256 bytea NOT NULL,
        content bytea NOT NULL,
        PRIMARY KEY (proposal_id, sha256)
    )
    """,
    "ALTER TABLE proposal_contents ALTER COLUMN content SET STORAGE EXTERNAL",
    "INSERT INTO proposal_contents SELECT * FROM proposal_contents_now",
    "DROP VIEW draft_files_now",
    "DROP VIEW proposal_contents_now",
    "DROP FUNCTION add_draft_file",
    "DROP FUNCTION add_proposal_content",
    "DROP TABLE draft_version_files",
    "DROP TABLE proposal_hashes",
    "DROP TABLE contents",
)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
