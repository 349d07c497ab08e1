from tests.servers.databases import catalog, database, postgresql, postgresql_template, sqlite_template

__all__ = ["catalog", "database", "postgresql", "postgresql_template", "sqlite_template"]
