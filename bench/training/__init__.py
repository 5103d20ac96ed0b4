"""The quality of trainings: inferq's beside what people would use instead, on the same pictures."""
