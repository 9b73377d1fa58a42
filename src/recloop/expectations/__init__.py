"""Great Expectations suites, one file a table."""
