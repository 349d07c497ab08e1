"""Records: the truth of coordination, in SQLite or PostgreSQL.

A ``Catalog`` gives transactions; the modules beside it hold functions that take one. It knows no bytes, no media tools
and no HTTP.
"""

from penstock.catalog.config import CatalogConfig
from penstock.catalog.database import Catalog

__all__ = ["Catalog", "CatalogConfig"]
