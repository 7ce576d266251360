"""Requests on behalf of others: a guard that connects to public addresses only."""
