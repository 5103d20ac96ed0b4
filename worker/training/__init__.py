"""Training: labelled pictures to a new version of a model."""
