"""libtorrent, driven line by line: one JSON request on standard input, one JSON answer on standard output.

Every request has "op", and "session" where there are several; every answer has "ok", and "error" where it is false.
One process may hold many sessions, each on an address of its own: a small DHT.
"""

import hashlib
import json
import sys
import time

import libtorrent as lt

# A test network is small, private and fast, all that libtorrent's defaults take for an attack.
SETTINGS = {
    "enable_dht": True,
    "enable_lsd": False,
    "enable_upnp": False,
    "enable_natpmp": False,
    # Neither bootstrap hosts nor trackers of the outside world.
    "dht_bootstrap_nodes": "",
    # Many nodes of one private prefix, with ids that do not follow from it.
    "dht_restrict_routing_ips": False,
    "dht_restrict_search_ips": False,
    "dht_enforce_node_id": False,
    "dht_prefer_verified_node_ids": False,
    "dht_ignore_dark_internet": False,
    "dht_extended_routing_table": True,
    # By default 5 packets a second from an address get it banned, and 8,000 B/s go out.
    "dht_block_ratelimit": 100_000,
    "dht_upload_rate_limit": 100_000_000,
    "allow_multiple_connections_per_ip": True,
    "active_downloads": -1,
    "active_seeds": -1,
    "active_limit": -1,
    "active_dht_limit": -1,
    # pe_disabled: what passes on the wire can be read.
    "out_enc_policy": 2,
    "in_enc_policy": 2,
    "enable_incoming_utp": False,
    "enable_outgoing_utp": False,
    "alert_mask": lt.alert.category_t.error_notification
    | lt.alert.category_t.dht_notification
    | lt.alert.category_t.dht_operation_notification,
}


def endpoint(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def address_of(peer):
    host, port = peer
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def info_hash(text):
    return lt.sha1_hash(bytes.fromhex(text))


def text_of(item):
    """The text of an item's alert, which wraps it differently for each kind."""
    value = item.get("value", item) if isinstance(item, dict) else item
    return value.decode() if isinstance(value, bytes) else value


class Program:
    def __init__(self):
        self.sessions = []
        self.torrents = []

    def start(self, listen, settings):
        """Opens one session for each address of `listen`."""
        for address in listen:
            own = {"listen_interfaces": address, "peer_fingerprint": "-LT2110-"}
            self.sessions.append(lt.session(lt.session_params({**SETTINGS, **own, **settings})))
        return {"version": lt.__version__}

    def add_node(self, session, node):
        """Pings `node` and, if it answers, keeps it in the routing table."""
        self.sessions[session].add_dht_node(endpoint(node))
        return {}

    def dht(self):
        """How many nodes each session's routing table holds."""
        return {"nodes": [s.status().dht_nodes for s in self.sessions]}

    def get_peers(self, session, info_hash_hex, seconds):
        """Looks an info-hash up and collects peers until the first answer with any, or for `seconds`."""
        wanted, s = info_hash(info_hash_hex), self.sessions[session]
        s.pop_alerts()
        s.dht_get_peers(wanted)
        peers, end = set(), time.monotonic() + seconds
        while not peers and time.monotonic() < end:
            s.wait_for_alert(100)
            for alert in s.pop_alerts():
                if isinstance(alert, lt.dht_get_peers_reply_alert) and alert.info_hash == wanted:
                    peers.update(map(address_of, alert.peers()))
        return {"peers": sorted(peers)}

    def announce(self, session, info_hash_hex, port, seed=False):
        """Announces a port to the DHT, with no torrent behind it."""
        flags = int(lt.announce_flags_t.seed) if seed else 0
        self.sessions[session].dht_announce(info_hash(info_hash_hex), port, flags)
        return {}

    def wait_alert(self, session, kind, seconds, wanted):
        """The first alert of a kind that is wanted, or None."""
        s, end = self.sessions[session], time.monotonic() + seconds
        while time.monotonic() < end:
            s.wait_for_alert(100)
            for alert in s.pop_alerts():
                if isinstance(alert, kind) and wanted(alert):
                    return alert
        return None

    def put_item(self, session, text, seconds):
        """Stores a text that nobody can change; tells its hash, and how many nodes took it."""
        target = self.sessions[session].dht_put_immutable_item(text.encode())
        alert = self.wait_alert(session, lt.dht_put_alert, seconds, lambda a: a.target == target)
        return {"target": str(target), "nodes": alert.num_success if alert else 0}

    def get_item(self, session, target_hex, seconds):
        """Gets such a text."""
        target, s = info_hash(target_hex), self.sessions[session]
        s.dht_get_immutable_item(target)
        found = self.wait_alert(session, lt.dht_immutable_item_alert, seconds, lambda a: a.target == target)
        return {"text": text_of(found.item) if found else None}

    def put_signed(self, session, secret_hex, public_hex, salt, text, seconds):
        """Stores a text under a key, of which the secret is a seed of 32 bytes; tells how many nodes took it."""
        digest = bytearray(hashlib.sha512(bytes.fromhex(secret_hex)).digest())
        digest[0] &= 248
        digest[31] = digest[31] & 63 | 64
        key = bytes.fromhex(public_hex)
        self.sessions[session].dht_put_mutable_item(bytes(digest), key, text.encode(), salt.encode())
        alert = self.wait_alert(session, lt.dht_put_alert, seconds, lambda a: bytes(a.public_key) == key)
        return {"nodes": alert.num_success if alert else 0, "seq": alert.seq if alert else None}

    def get_signed(self, session, public_hex, salt, seq, seconds):
        """Gets the newest text under a key, or the first of version `seq` or later."""
        key, s = bytes.fromhex(public_hex), self.sessions[session]
        s.dht_get_mutable_item(key, salt.encode())

        # What was asked before may end only now.
        def wanted(alert):
            same = bytes(alert.key) == key and alert.salt == salt.encode()
            return same and (alert.authoritative if seq is None else alert.seq >= seq)

        alert = self.wait_alert(session, lt.dht_mutable_item_alert, seconds, wanted)
        return {"text": text_of(alert.item) if alert else None, "seq": alert.seq if alert else None}

    def sample(self, session, node, seconds):
        """Asks a node for samples of the torrents that it knows."""
        self.sessions[session].dht_sample_infohashes(endpoint(node), info_hash("00" * 20))
        alert = self.wait_alert(session, lt.dht_sample_infohashes_alert, seconds, lambda a: True)
        if alert is None:
            return {"samples": None}
        return {"samples": [str(h) for h in alert.samples], "num": alert.num_infohashes}

    def create(self, path, to, piece_length, private):
        """Makes a v1 torrent of a file or folder."""
        files = lt.list_files(path)
        torrent = lt.create_torrent(files, piece_length, lt.create_torrent.v1_only)
        torrent.set_priv(private)
        lt.set_piece_hashes(torrent, path.rsplit("/", 1)[0])
        metainfo = torrent.generate()
        with open(to, "wb") as out:
            out.write(lt.bencode(metainfo))
        return {"info_hash": hashlib.sha1(lt.bencode(metainfo[b"info"])).hexdigest()}

    def add(self, session, source, save, upload_limit):
        """Adds a .torrent file or a magnet link; what lies in `save` is checked first."""
        if source.startswith("magnet:"):
            params = lt.parse_magnet_uri(source)
        else:
            params = lt.load_torrent_file(source)
        params.save_path = save
        params.flags = lt.torrent_flags.update_subscribe
        torrent = self.sessions[session].add_torrent(params)
        torrent.set_upload_limit(upload_limit)
        self.torrents.append(torrent)
        return {"torrent": len(self.torrents) - 1}

    def status(self, torrent):
        status = self.torrents[torrent].status()
        return {
            "state": str(status.state),
            "seeding": status.is_seeding,
            "metadata": status.has_metadata,
            "peers": status.num_peers,
            "done_bytes": status.total_done,
            "wanted_bytes": status.total_wanted,
            "payload_up_bytes": status.total_payload_upload,
            "payload_down_bytes": status.total_payload_download,
            "error": status.errc.message() if status.errc.value() else "",
        }

    def peers(self, torrent):
        """The peers of a torrent, with what each gave and took."""
        return {
            "peers": [
                {
                    "address": address_of(peer.ip),
                    "client": peer.client.decode(errors="replace"),
                    "gave_bytes": peer.total_download,
                    "took_bytes": peer.total_upload,
                }
                for peer in self.torrents[torrent].get_peer_info()
            ]
        }

    def announce_torrent(self, torrent):
        """Looks for peers and announces now: by itself libtorrent does so every 15 minutes."""
        self.torrents[torrent].force_dht_announce()
        return {}

    def connect(self, torrent, peer):
        self.torrents[torrent].connect_peer(endpoint(peer))
        return {}

    def flush(self, torrent):
        """Returns when all that was received lies in the files."""
        handle = self.torrents[torrent]
        for s in self.sessions:
            s.apply_settings({"alert_mask": SETTINGS["alert_mask"] | lt.alert.category_t.storage_notification})
        handle.flush_cache()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            for s in self.sessions:
                s.wait_for_alert(50)
                if any(isinstance(a, lt.cache_flushed_alert) and a.handle == handle for a in s.pop_alerts()):
                    return {}
        raise TimeoutError("the cache was not flushed")

    def alerts(self, session):
        """What the session has to say since the last call, for looking into a failure."""
        return {"alerts": [str(a) for a in self.sessions[session].pop_alerts()]}


def main():
    program = Program()
    for line in sys.stdin:
        try:
            request = json.loads(line)
            answer = {"ok": True, **getattr(program, request.pop("op"))(**request)}
        except Exception as error:  # The other side decides what a failure means.
            answer = {"ok": False, "error": "%s: %s" % (type(error).__name__, error)}
        print(json.dumps(answer), flush=True)


main()
