"""Rights that end with what they come from, grants that tell nobody who exists, users by issuer and subject.

The previous release runs on this schema, too. It refuses users that this release created, because their ids
are random. Reverting deletes grants to ids that are nobody's.
"""

from server.db.sql_migration import sql_migration

ID = "2026-11-26T13:00:00:000000"
VERSION = "1.38.0"
DESCRIPTION = "rights end"

UP = (
    # Null for the users of earlier releases, whose id shows the issuer.
    "ALTER TABLE users ADD COLUMN issuer text",
    # A grant to an id that is nobody's is stored like any other: the answer does not tell who exists.
    "ALTER TABLE proposal_access DROP CONSTRAINT proposal_access_user_id_fkey",
    # When the user accepted the grant: owners see the email of those who did.
    "ALTER TABLE proposal_access ADD COLUMN accepted_at timestamptz",
    # Links of former owners stop working with the view below; they must not come back with the ownership.
    """
    DELETE FROM share_links l WHERE NOT EXISTS (
      SELECT FROM proposal_access a
      WHERE a.proposal_id = l.proposal_id AND a.user_id = l.created_by_user_id AND a.access_type = 'owner')
    """,
    # A user may do nothing while disabled. A link is a caller of its own, with its id, while the user that
    # created it is an owner and not disabled.
    """
    CREATE OR REPLACE VIEW proposal_callers AS
    SELECT a.proposal_id, a.user_id AS caller_id, a.access_type
    FROM proposal_access a JOIN users u ON u.id = a.user_id WHERE u.disabled_at IS NULL
    UNION ALL
    SELECT l.proposal_id, l.id, 'viewer' FROM share_links l
    JOIN proposal_access a ON a.proposal_id = l.proposal_id AND a.user_id = l.created_by_user_id
    JOIN users u ON u.id = a.user_id
    WHERE l.expires_at > now() AND a.access_type = 'owner' AND u.disabled_at IS NULL
    """,
)

DOWN = (
    """
    CREATE OR REPLACE VIEW proposal_callers AS
    SELECT proposal_id, user_id AS caller_id, access_type FROM proposal_access
    UNION ALL
    SELECT l.proposal_id, l.id, 'viewer' FROM share_links l JOIN users u ON u.id = l.created_by_user_id
    WHERE l.expires_at > now() AND u.disabled_at IS NULL
    """,
    "ALTER TABLE proposal_access DROP COLUMN accepted_at",
    "DELETE FROM proposal_access a WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = a.user_id)",
    """
    ALTER TABLE proposal_access ADD CONSTRAINT proposal_access_user_id_fkey
    FOREIGN KEY (user_id) REFERENCES users (id)
    """,
    "ALTER TABLE users DROP COLUMN issuer",
)

forwards = sql_migration(ID, UP, DOWN, DESCRIPTION)
