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

    @property
    def are_for_event_loop(self) -> bool:
        """Whether a read that exceeds them is repeated in a thread: only on the event loop, CPU time is limited."""
        return self.cpu_deadline < math.inf

    def are_exceeded(self) -> bool:
        """Return whether a deadline has passed."""
        return time.thread_time() > self.cpu_deadline or time.monotonic() > self.deadline
