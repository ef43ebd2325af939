"""Labelled and unlabelled data sets on disk: one reader per folder layout, all giving `Case`s."""
