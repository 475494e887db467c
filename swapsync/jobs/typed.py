"""What people type, before it is kept: one line of printable text that a document, a list and a log line can bear."""

VALUE = 200
"""The longest value or name: a PO number, a SKU, an assignee."""
WORDS = 1000
"""The longest note, comment or reason."""


def one_line(what: str, text: str, longest: int) -> str:
    """A text without the spaces around it. Raises ValueError, which says what is wrong with ``what``."""
    text = text.strip()
    if len(text) > longest:
        raise ValueError(f"the {what} has {len(text)} characters, {longest} are the most")
    if not text.isprintable():
        place, odd = next((place, c) for place, c in enumerate(text, start=1) if not c.isprintable())
        raise ValueError(f"the {what} must be one line of printable text; its character {place} is {odd!a}")
    return text
