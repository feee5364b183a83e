"""What an organisation asks of the files that are written: the audit log and the checker."""
