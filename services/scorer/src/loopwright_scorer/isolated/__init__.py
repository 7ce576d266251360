"""Packages in a process of their own: pickles, and what needs other Python packages than ours.

`worker_main` is what runs in that process, `sandbox` its limits, `worker_supervisor` the process as
seen from here, `environments` the Python it runs on, `limits` what an administrator gives it.
"""
