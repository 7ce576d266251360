"""The error of documents and of learners that do not become one."""

REMEDY = "such a learner can be registered as a pickle only"


class NotPlainError(Exception):
    """A learner holds what a document cannot hold, or a document says what is not allowed."""
