"""The strategy of the tests: two replicas on the processor."""

from tfdiscrete.training import strategies


def two_replicas():
    """Of which a process may have several, one after another."""
    return strategies.get("mirrored", replicas=2)
