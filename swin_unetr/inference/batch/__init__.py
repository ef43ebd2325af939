"""Many scans: order, files, records, progress."""
