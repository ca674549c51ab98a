"""Reads tables, views and queries of Postgres."""
