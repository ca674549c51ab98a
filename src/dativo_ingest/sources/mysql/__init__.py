"""The MySQL and MariaDB source: rows as the server sends them, straight into Arrow."""
