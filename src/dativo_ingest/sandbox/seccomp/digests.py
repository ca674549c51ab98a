"""What the files beside this one must be. Written by deploy/seccomp/make_profile.py."""

SHA256 = {
    "plugin-v1.aarch64.bpf": "249c0edb6f5c921debe1bbad7bb26dd530ac7128a0c679809857aa3ba0253ea3",
    "plugin-v1.json": "1f0d0816d3013c3a260ef3377a88a257ded826872f5a8784dee7112ccf7f8924",
    "plugin-v1.x86_64.bpf": "a2c3b4dd9f301cec55235ef6cdddda3ab32e0cc1d6d83c58c5313115c0485a1c",
}
