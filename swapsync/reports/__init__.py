"""What people take away: the month-end, read from the staging store alone."""
