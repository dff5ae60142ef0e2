"""Makes the bundled demo: draws pictures, trains the detector, renders the clip (see README.md)."""
