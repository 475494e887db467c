"""The staging store: what both systems said, what was decided, and what is still to be delivered."""
