"""Evaluation: what a bundle says of labelled data, against what is true."""
