"""A data set of any layout and file type as one of another: the command `swin-unetr convert`."""
