"""The way out of a sandbox: a proxy of the engine's that lets a plugin reach the hosts that it is granted."""
