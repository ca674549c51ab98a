"""The back end ``container``: plugins in containers of Docker or Podman, with a kernel of their own or not."""
