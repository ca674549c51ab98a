"""What the files beside this one must be. Written by deploy/seccomp/make_profile.py."""

SHA256 = {
    "plugin-v1.aarch64.bpf": "ef9875087496e43bb5266bc58ae7f84a77526299f420449c2e6d143dbca0a702",
    "plugin-v1.json": "357e813146e2e954742c66a06fd953a4da891afc53cc25fe096a476bd14812d1",
    "plugin-v1.x86_64.bpf": "ad41bdc7ff1feb99c38ac3b0746473927b186fa54bb9e618ff7d90bdc627b37b",
}
