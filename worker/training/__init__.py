"""Training turns labelled pictures into a new version of a model."""
