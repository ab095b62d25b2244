"""The least that moves bytes over TCP, for the row of the long fat link.

    send IP PORT MIB        prints `ready`, and sends so much to the first that comes
    receive IP PORT         prints `ready`, waits for a line, and prints the seconds from connecting to the end
"""
import socket
import sys
import time

CHUNK = bytes(1 << 20)


def main():
    role, host, port = sys.argv[1:4]
    if role == "send":
        with socket.create_server((host, int(port))) as server:
            print("ready", flush=True)
            with server.accept()[0] as stream:
                for _ in range(int(sys.argv[4])):
                    stream.sendall(CHUNK)
        return
    buffer = bytearray(1 << 20)
    print("ready", flush=True)
    sys.stdin.readline()
    begin = time.monotonic()
    with socket.create_connection((host, int(port))) as stream:
        while stream.recv_into(buffer):
            pass
    print(time.monotonic() - begin, flush=True)
    sys.stdin.readline()


main()
