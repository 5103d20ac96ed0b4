"""The peers' servers: each file is a small service written as the framework's documentation advises.

They run in the peers' environments and share `classifier`, the code that their users would write in any of them. The
settings come as environment variables, which worker processes of every framework inherit.
"""
