"""The database adapter: tables, one file of queries per noun, and the unit of work over them."""
