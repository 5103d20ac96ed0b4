"""A folder for the path of the parts: Python loads its `sitecustomize.py` into every process, before anything else."""
