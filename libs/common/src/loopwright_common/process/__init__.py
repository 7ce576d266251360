"""One service as a process: start, loops, drain, exit, and what it starts itself."""
