"""One module a remote system: the wire contract on one side, domain values on the other."""
