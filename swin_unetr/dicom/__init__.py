"""DICOM out: results as segmentations (SEG) and contours (RTSTRUCT), with codes from one table."""
