"""Packages in a process of their own: pickles, and what needs other Python packages than ours.

`runner` is what runs in that process, `confinement` its limits, `child` the process as seen from
here, `environments` the Python it runs on, `quarters` what an administrator gives it.
"""
