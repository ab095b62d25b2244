//! A standalone Mainline DHT node (BEP 5).
