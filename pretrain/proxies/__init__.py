"""The proxy tasks: what each does to the views, its head, its loss. Importing this package loads no torch."""
