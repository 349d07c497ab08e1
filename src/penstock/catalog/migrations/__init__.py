"""The history of the tables: one module per change, applied in order by Alembic."""

REVISION = "0001"  # the last of ``versions``; a test holds it to them
