"""What every worker process does when it starts."""

import os
import signal
import threading
from multiprocessing import parent_process


def leave_to_parent() -> None:
    """Ctrl-C is for the process that started this one and ends it; and without that process it ends too."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent was killed would wait for work forever."""
    if (parent := parent_process()) is not None:
        parent.join()
        os._exit(1)
