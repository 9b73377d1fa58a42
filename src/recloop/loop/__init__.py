"""Which model serves: deployments, and the way back."""
