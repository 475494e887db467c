"""The schema's history, applied by Alembic from within the package."""
