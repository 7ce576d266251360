"""Locks that replicas of the monitor share, taken before anything is read that decides a write.

Each guards one kind of a model's rows. Who needs several takes them in one call, which orders them.
"""


def detecting(model_id: str) -> str:
    """Detectors, rows that make a reference, arrivals."""
    return f"detecting/{model_id}"


def capturing(model_id: str) -> str:
    """Captured rows, labels, manifests, performance and losses."""
    return f"capturing/{model_id}"


def deciding(model_id: str) -> str:
    """Episodes once they are open, requests and decisions."""
    return f"deciding/{model_id}"


def everything(model_id: str) -> tuple[str, str, str]:
    """All three, to take in one call."""
    return capturing(model_id), deciding(model_id), detecting(model_id)
