"""The comparison: inferq beside its peers, and under the loads that a service must bear, in one run and one report."""
