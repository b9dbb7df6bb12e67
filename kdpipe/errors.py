"""The one exception whose text is meant for a person."""


class KdpipeError(Exception):
    """Something the user can fix.

    The message is a complete sentence that names the file or key and what to do about it.
    The command line prints it without a traceback and exits with status 1.
    """
