"""What the Postgres source and the Postgres target share: how to get in, sessions, names, failures."""
