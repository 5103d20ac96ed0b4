"""`inferq chaos`: the service under load while its parts, its stores and its callers fail, judged from outside."""
