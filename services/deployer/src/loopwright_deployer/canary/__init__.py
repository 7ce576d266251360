"""Verdicts on live traffic: counters, sequential tests, decisions."""
