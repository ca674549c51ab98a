"""What `dativo doctor` knows of sandboxes: this machine's parts of one, and a plugin that tries each control."""
