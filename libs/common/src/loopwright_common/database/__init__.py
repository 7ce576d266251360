"""SQLite and PostgreSQL behind one transaction: the unit of work, delivery tables, leases."""
