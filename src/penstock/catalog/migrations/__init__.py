"""The history of the tables: one module per change, applied in order by Alembic."""

REVISION = "0001_b5bdc9a8"  # the last of ``versions``, named after its tables; tests hold it to both
