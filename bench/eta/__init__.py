"""`inferq bench --eta`: how far the times that jobs are told while they wait are from the real ones."""
