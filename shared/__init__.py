"""The domain of inferq: what jobs, models, images and tenants are, and the doors to the outside."""
