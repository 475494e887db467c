"""The jobs, each a function of a workplace and a tally; daemon, backfill, reconcile and sync run nothing else."""
