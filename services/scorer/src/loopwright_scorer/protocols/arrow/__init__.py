"""Rows as Arrow IPC and Parquet."""
