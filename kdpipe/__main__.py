"""``python -m kdpipe``."""

from kdpipe.cli import main

if __name__ == "__main__":
    main()
