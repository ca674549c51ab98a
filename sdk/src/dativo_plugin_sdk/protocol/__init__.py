"""What the engine and a plugin's process say to each other, as bytes; nothing here reads or writes a socket."""
