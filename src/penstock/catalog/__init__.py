"""Records: the truth of coordination, in SQLite or PostgreSQL.

A ``Catalog`` gives transactions; the modules beside it hold functions that take one. It knows no bytes, no media tools
and no HTTP.
"""

from typing import TYPE_CHECKING, Any

from penstock.catalog.config import CatalogConfig

if TYPE_CHECKING:
    from penstock.catalog.database import Catalog

__all__ = ["Catalog", "CatalogConfig"]


def __getattr__(name: str) -> Any:
    """Loads the database library at the first use of ``Catalog``: who only reads settings is spared half a second."""
    if name == "Catalog":
        from penstock.catalog.database import Catalog

        return Catalog
    raise AttributeError(name)
