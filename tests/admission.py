"""Threads that compute one after the other, as in a worker."""

from bff.resilience import Deadline, FairSemaphore, admitted


def admitting(function, permits):
    """The function, run by as many threads at a time as there are permits."""
    semaphore = FairSemaphore(permits)

    def run(*args):
        with admitted(semaphore, Deadline.after(10)):
            return function(*args)

    return run
