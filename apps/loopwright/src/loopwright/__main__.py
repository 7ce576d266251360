"""`python -m loopwright`."""

from loopwright.cli import app

app()
