"""One libtorrent session for pair.py: `seed TORRENT FOLDER IP PORT` or `get TORRENT FOLDER IP PORT PEER_IP PEER_PORT`.

A seed prints `ready` and serves until its input ends. A leech waits for a line on its input, then prints the seconds
from adding the torrent to its being complete and flushed, and waits for another line before it ends.
"""
import sys
import time

import libtorrent as lt

role, torrent, folder, ip, port = sys.argv[1:6]
session = lt.session({
    "listen_interfaces": f"{ip}:{port}", "enable_dht": False, "enable_lsd": False, "enable_upnp": False,
    "enable_natpmp": False, "enable_incoming_utp": False, "enable_outgoing_utp": False,
    "in_enc_policy": int(lt.enc_policy.pe_disabled), "out_enc_policy": int(lt.enc_policy.pe_disabled),
    "allow_multiple_connections_per_ip": True,
    "alert_mask": lt.alert.category_t.storage_notification | lt.alert.category_t.status_notification,
})
params = lt.add_torrent_params()
params.ti = lt.torrent_info(torrent)
params.save_path = folder
params.flags &= ~(lt.torrent_flags.auto_managed | lt.torrent_flags.paused)
if role == "seed":
    params.flags |= lt.torrent_flags.seed_mode
    session.add_torrent(params)
    print("ready", flush=True)
    sys.stdin.read()
else:
    print("ready", flush=True)
    sys.stdin.readline()
    start = time.monotonic()
    params.peers = [(sys.argv[6], int(sys.argv[7]))]
    handle = session.add_torrent(params)
    while not handle.status().is_seeding:
        session.wait_for_alert(5)
        session.pop_alerts()
    handle.flush_cache()
    flushed = False
    while not flushed:
        session.wait_for_alert(5)
        flushed = any(isinstance(alert, lt.cache_flushed_alert) for alert in session.pop_alerts())
    print(time.monotonic() - start, flush=True)
    sys.stdin.readline()
