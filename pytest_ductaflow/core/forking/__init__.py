"""Warm processes, which have imported modules and fork a child for each request to run one (Linux).

A session leaves them behind if it is asked to (`--ductaflow-keep-warm`). `place` says where the next one
finds them, `client` talks to them, `server` is their main loop, and `freshness` tells whether what they have
imported is still what a new process would import.
"""
