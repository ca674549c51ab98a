"""What the files beside this one must be. Written by deploy/seccomp/make_profile.py."""

SHA256 = {
    "plugin-v1.aarch64.bpf": "ece4d0063bd914c376eb0744653ff7b6a6930fa33a8d698de44e17eb2b147bc8",
    "plugin-v1.json": "440a2ba8b9480f379f7792c5dc126cf01c9b0ee32c672a5582ab37a95d0f9178",
    "plugin-v1.x86_64.bpf": "d11e614ab443a0f9866a010d280c41f89e59026b0df5a71a4cc4f31f72ec9417",
}
