"""The back end ``container``: plugins in containers of Docker or Podman, with gVisor or Kata as their runtime or not."""
