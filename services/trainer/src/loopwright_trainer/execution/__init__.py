"""One run from checkout to registration, under a lease."""
