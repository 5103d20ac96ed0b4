"""Simulated devices: workers whose model computes nothing, but takes the time that a card would.

Only these workers, which nothing but the benchmark starts, know the family below `families`. A setting that makes it
available to every worker was rejected: a user could register a model that answers nonsense.
"""

RATE = "BENCH_CARD_RATE"
"""The variable with the pictures per second of one device."""
CLASSES, CHANNELS = 10, 3
"""The outputs of the network, and the values that it averages of a picture."""
