"""One libtorrent session for pair.py and magnet.py.

    seed TORRENT FOLDER IP PORT                    prints `ready` and serves until its input ends
    get TORRENT FOLDER IP PORT PEER_IP PEER_PORT   waits for a line on its input, then prints the seconds from adding
                                                   the torrent to its being complete and flushed
    dht-seed TORRENT FOLDER IP PORT NODE           the same as seed, announced by the DHT node at NODE
    dht-get INFO_HASH FOLDER IP PORT NODE          prints a JSON object with the "event" `metadata`, then one with `done`

All but a seed wait for another line before they end.
"""
import json
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


def add(session, params, folder, peers=()):
    params.save_path = folder
    params.peers = list(peers)
    params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
    return session.add_torrent(params)


def of_file(torrent):
    params = lt.add_torrent_params()
    params.ti = lt.torrent_info(torrent)
    return params


def enter(session, node):
    """Joins the DHT by `node`: an announce or search before that would be lost for 15 minutes."""
    host, _, port = node.rpartition(":")
    session.add_dht_node((host, int(port)))
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


def say(event):
    print(json.dumps({"event": event}), flush=True)


def main():
    role, what, folder, ip, port = sys.argv[1:6]
    session = start(ip, port, role.startswith("dht-"))
    if role.endswith("seed"):
        if role == "dht-seed":
            enter(session, sys.argv[6])
        params = of_file(what)
        params.flags |= lt.torrent_flags.seed_mode
        handle = add(session, params, folder)
        if role == "dht-seed":
            handle.force_dht_announce()
        print("ready", flush=True)
        while role == "dht-seed" and handle.is_valid():
            time.sleep(2)
            handle.force_dht_announce()
        sys.stdin.read()
    elif role == "get":
        print("ready", flush=True)
        sys.stdin.readline()
        begin = time.monotonic()
        wait_complete(session, add(session, of_file(what), folder, [(sys.argv[6], int(sys.argv[7]))]))
        print(time.monotonic() - begin, flush=True)
        sys.stdin.readline()
    else:
        enter(session, sys.argv[6])
        handle = add(session, lt.parse_magnet_uri(f"magnet:?xt=urn:btih:{what}"), folder)
        handle.force_dht_announce()
        while not handle.status().has_metadata:
            session.wait_for_alert(2)
            session.pop_alerts()
        say("metadata")
        wait_complete(session, handle)
        say("done")
        sys.stdin.readline()


main()
