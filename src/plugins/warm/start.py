"""An interpreter that FlexCore started ahead: it imports what a program depends on, waits, and becomes that program.

Runs inside the program's own jail, sealed like any program. Standard input is a socket to FlexCore until then.
"""
import os
import sys


def preload(script):
    """Imports the direct dependencies of the program's distribution; its own modules wait for the execution."""
    import re
    from importlib import import_module, metadata

    def plain(name):
        return re.sub(r"[-_.]+", "-", name).lower()

    points = metadata.entry_points(group="console_scripts")
    own = next((point.dist for point in points if point.name == os.path.basename(script)), None)
    if own is None:
        return
    needed = [line for line in own.requires or [] if "extra ==" not in line]
    needed = {plain(re.match(r"[\w.-]+", line).group()) for line in needed} - {plain(own.name)}
    for module, owners in sorted(metadata.packages_distributions().items()):
        owners = {plain(owner) for owner in owners}
        if owners & needed and plain(own.name) not in owners and module.isidentifier() and module[0] != "_":
            import_module(module)


def await_order(line):
    """The order and its standard streams; the process ends here when none comes."""
    import json
    import socket

    text, streams, _, _ = socket.recv_fds(line, 1 << 16, 3)
    while len(text) < 4 or len(text) < 4 + int.from_bytes(text[:4], "big"):
        more = line.recv(1 << 16)
        if not more:
            os._exit(0)
        text += more
    return json.loads(text[4:]), streams


def main():
    import socket
    import types

    script = sys.argv[1]
    sys.argv[:] = [script]
    sys.path[0] = os.path.dirname(os.path.realpath(script))
    line = socket.socket(fileno=os.dup(0))
    preload(script)
    sys.stdout.flush()  # what was printed makes this interpreter unfit, and must be seen
    line.sendall(b"r")
    order, streams = await_order(line)
    for path, mode, text in order["files"]:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(text.encode())
    os.environ.update(order["env"])
    if not order["stdin"]:
        streams.insert(0, os.open(os.devnull, os.O_RDONLY))
    for standard, stream in enumerate(streams):
        os.set_blocking(stream, True)
        os.dup2(stream, standard)
        os.close(stream)
    line.sendall(b"k")
    if line.recv(1) != b"g":
        os._exit(0)
    line.close()
    sys.argv[:] = order["argv"]
    program = types.ModuleType("__main__")
    program.__file__ = script
    sys.modules["__main__"] = program
    with open(script, "rb") as file:
        code = compile(file.read(), script, "exec")
    del order, line, streams
    exec(code, program.__dict__)


main()
