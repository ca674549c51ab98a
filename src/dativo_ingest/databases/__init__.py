"""What connectors of databases share whatever the database: a layer below them and above the SDK."""
