"""The history of the tables: one module per change, applied in order by Alembic."""
