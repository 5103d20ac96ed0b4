"""`inferq bench --soak MINUTES`: a mixed load for a long time, and which process or file grows under it."""
