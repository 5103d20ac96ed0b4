"""Use-cases: short functions that receive a container of adapters; routes, tasks and maintenance call them."""
