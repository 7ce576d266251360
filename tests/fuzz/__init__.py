"""`make fuzz`: readers of packages against damaged model files, in processes that may crash.

Each format has a small sound package in `tests/deployer/packaging/corpus/FORMAT/package`. Its model
file is damaged from a seed, again and again, and read as packaging reads it. What crashes, hangs or
takes memory without bound is made small and kept in the corpus, once for each kind.
"""
