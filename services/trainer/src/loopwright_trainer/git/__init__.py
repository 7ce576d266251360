"""Commits of other people's repositories, read without running anything of theirs."""
