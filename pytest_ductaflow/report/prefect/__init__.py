"""A session as a flow run in a Prefect server, with a task run for each instance; needs no Prefect here."""
