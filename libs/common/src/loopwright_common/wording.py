"""Words of the sentences that people read."""


def counted(count: float, noun: str) -> str:
    """How many of something, as `1 request`, `2 requests` or `0.5 points`."""
    number = f"{count:.15g}"  # no more digits than a float has, and no exponent of a count
    return f"{number} {noun}" if number == "1" else f"{number} {noun}s"
