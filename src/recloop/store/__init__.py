"""What must outlive a process: events, impressions, deployments and decisions, in one SQL database."""
