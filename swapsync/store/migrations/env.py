"""Alembic's entry: runs the migrations on the connection that ``Store.upgrade`` hands over."""

from alembic import context
from sqlmodel import SQLModel

from swapsync.store import tables  # noqa: F401  (registers the models)

context.configure(connection=context.config.attributes["connection"], target_metadata=SQLModel.metadata)
with context.begin_transaction():
    context.run_migrations()
