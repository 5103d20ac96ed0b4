"""`inferq bench --eta` measures the error of the `eta` that jobs report while they wait."""
