"""How to get into MySQL and MariaDB: connection, sessions, names, failures."""
