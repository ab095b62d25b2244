"""One libtorrent session, for the benchmarks.

    seed TORRENT FOLDER IP PORT              prints `ready` and serves until its input ends
    get TORRENT FOLDER IP PORT PEER...       waits for a line on its input, then prints the seconds from adding the torrent
                                             to its being complete and flushed
    check TORRENT FOLDER IP PORT             the same, for a torrent whose files are there and have to be checked
    create TORRENT FILE PIECE_BYTES          waits for a line, hashes the file, writes the torrent and prints the seconds
    idle TORRENTS FOLDER IP PORT             waits for a line, adds all torrents of the folder TORRENTS, and prints the seconds
                                             until all are checked and complete
    dht-seed TORRENT FOLDER IP PORT NODE     the same as seed, announced by the DHT node at NODE
    dht-get INFO_HASH FOLDER IP PORT NODE    prints a JSON object with the "event" `metadata`, then one with `done`

Peers are IP:PORT. All but a seed wait for another line before they end.
"""
import json
import os
import sys
import time

import libtorrent as lt


def start(ip, port, dht):
    return lt.session({
        "listen_interfaces": f"{ip}:{port}", "enable_dht": dht, "enable_lsd": False, "enable_upnp": False,
        "enable_natpmp": False, "enable_incoming_utp": False, "enable_outgoing_utp": False,
        "in_enc_policy": int(lt.enc_policy.pe_disabled), "out_enc_policy": int(lt.enc_policy.pe_disabled),
        "allow_multiple_connections_per_ip": True, "dht_bootstrap_nodes": "",
        "dht_restrict_routing_ips": False, "dht_restrict_search_ips": False, "dht_ignore_dark_internet": False,
        "dht_prefer_verified_node_ids": False,
        "alert_mask": lt.alert.category_t.storage_notification | lt.alert.category_t.status_notification,
    })


def endpoint(text):
    host, _, port = text.rpartition(":")
    return host, int(port)


def add(session, params, folder, peers=()):
    params.save_path = folder
    params.peers = [endpoint(peer) for peer in peers]
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    return session.add_torrent(params)


def of_file(torrent):
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(torrent)
    return params


def enter(session, node):
    """Joins the DHT by `node`: an announce or search before that would be lost for 15 minutes."""
    session.add_dht_node(endpoint(node))
    while session.status().dht_nodes < 1:
        time.sleep(0.001)


def wait_complete(session, handle):
    """Waits until all is there and in the file."""
    while not handle.status().is_seeding:
        session.wait_for_alert(5)
        session.pop_alerts()
    handle.flush_cache()
    flushed = False
    while not flushed:
        session.wait_for_alert(5)
        flushed = any(isinstance(alert, lt.cache_flushed_alert) for alert in session.pop_alerts())


def timed(work):
    """Does `work` when it is told to, says how long that took, and waits."""
    print("ready", flush=True)
    sys.stdin.readline()
    begin = time.monotonic()
    work()
    print(time.monotonic() - begin, flush=True)
    sys.stdin.readline()


def create(torrent, file, piece_len):
    files = lt.file_storage()
    lt.add_files(files, file)
    made = lt.create_torrent(files, int(piece_len), lt.create_torrent.v1_only)
    lt.set_piece_hashes(made, os.path.dirname(file))
    with open(torrent, "wb") as out:
        out.write(lt.bencode(made.generate()))


def seed(session, torrent, folder, node=None):
    if node:
        enter(session, node)
    params = of_file(torrent)
    params.flags |= lt.torrent_flags.seed_mode
    handle = add(session, params, folder)
    if node:
        handle.force_dht_announce()
    print("ready", flush=True)
    while node and handle.is_valid():
        time.sleep(2)
        handle.force_dht_announce()
    sys.stdin.read()


def idle(session, torrents, folder):
    print("ready", flush=True)
    sys.stdin.readline()
    begin, missing = time.monotonic(), 0
    for name in sorted(os.listdir(torrents)):
        params = of_file(os.path.join(torrents, name))
        params.save_path = folder
        params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
        session.async_add_torrent(params)
        missing += 1
    while missing > 0:
        session.wait_for_alert(1000)
        missing -= sum(isinstance(alert, lt.torrent_finished_alert) for alert in session.pop_alerts())
    print(time.monotonic() - begin, flush=True)
    sys.stdin.read()


def get_by_hash(session, info_hash, folder, node):
    def say(event):
        print(json.dumps({"event": event}), flush=True)

    enter(session, node)
    handle = add(session, lt.parse_magnet_uri(f"magnet:?xt=urn:btih:{info_hash}"), folder)
    handle.force_dht_announce()
    while not handle.status().has_metadata:
        session.wait_for_alert(2)
        session.pop_alerts()
    say("metadata")
    wait_complete(session, handle)
    say("done")
    sys.stdin.readline()


def main():
    role, what, folder = sys.argv[1:4]
    if role == "create":
        return timed(lambda: create(what, folder, sys.argv[4]))
    session = start(*sys.argv[4:6], role.startswith("dht-"))
    others = sys.argv[6:]
    if role.endswith("seed"):
        return seed(session, what, folder, *others)
    if role == "idle":
        session.apply_settings({"alert_queue_size": 1 << 20})
        return idle(session, what, folder)
    if role in ("get", "check"):
        return timed(lambda: wait_complete(session, add(session, of_file(what), folder, others)))
    return get_by_hash(session, what, folder, *others)


main()
