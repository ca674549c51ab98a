"""What runs within a sandbox before the plugin does; each module stands alone, on the standard library."""
