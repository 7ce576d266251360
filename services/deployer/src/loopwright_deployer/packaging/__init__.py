"""Packaging makes a serving package of a registered one, in a process of its own.

A package is other people's data: it is opened here, never in the service. The outcome is the
serving file and `loopwright.json` (`loopwright_common.serving.spec.ServingSpec`).
"""
