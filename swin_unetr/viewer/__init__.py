"""An interactive viewer in the browser, served on this machine alone."""
