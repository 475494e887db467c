"""``python -m swapsync``."""

from swapsync.cli import main

if __name__ == "__main__":
    main()
