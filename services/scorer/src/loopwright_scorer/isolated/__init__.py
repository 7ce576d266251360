"""Packages in a process of their own: pickles, and what needs other Python packages than ours.

`worker_main` is what runs in that process, in the sandbox; `worker_process` is the process as the
scorer sees it, `worker_supervisor` keeps one running, `environments` have its Python, and
`limits` say what an administrator gives it.
"""
