"""``python -m kdpipe``: on the warm server where one runs, else here."""

import sys

from kdpipe.run import warm

if __name__ == "__main__":
    status = warm.ask(sys.argv[1:])
    if status is not None:
        sys.exit(status)
    from kdpipe.cli import main

    main()
