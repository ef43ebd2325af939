"""`swin-unetr doctor`: what is wrong with a data set, and with the machine for it, before the first epoch."""
