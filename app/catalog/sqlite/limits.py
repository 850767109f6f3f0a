"""The limits of reads."""

import math
import time


class ReadLimits:
    """The limits of a thread's reads, which its connection checks during a query.

    It has no reference to the connection, which refers to it: the connection would never be closed.
    """

    deadline = math.inf  # on the monotonic clock
    cpu_deadline = math.inf  # on the clock of the thread's CPU time
    max_images = math.inf  # of a page

    def are_exceeded(self) -> bool:
        """Return whether a deadline has passed."""
        return time.thread_time() > self.cpu_deadline or time.monotonic() > self.deadline
