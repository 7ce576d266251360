"""Scored rows and labels as they are kept, joined, pinned and measured."""
