-- Beside the database of events: that of the Prefect server.
CREATE DATABASE prefect;
