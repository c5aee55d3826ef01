"""Training: labelled files to a bundle, and how good it is."""
