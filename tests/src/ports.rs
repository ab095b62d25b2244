//! Ports that are free on an address of this machine.

use std::net::{IpAddr, SocketAddr, TcpListener, UdpSocket};

/// A port that is free for TCP and UDP alike on `address` at the time of asking.
///
/// Nothing holds it afterwards: give each node of a test an address of its own within 127.0.0.0/8
/// where two could race for one port.
pub fn free_port(address: IpAddr) -> u16 {
    for _ in 0..100 {
        let udp = UdpSocket::bind((address, 0))
            .unwrap_or_else(|error| panic!("no UDP port on {address}: {error}"));
        let port = match udp.local_addr() {
            Ok(local) => local.port(),
            Err(error) => panic!("no local address on {address}: {error}"),
        };
        if TcpListener::bind((address, port)).is_ok() {
            return port;
        }
    }
    panic!("no port on {address} that is free for both TCP and UDP");
}

/// `address` with a port that is free there for TCP and UDP.
pub fn free_address(address: IpAddr) -> SocketAddr {
    SocketAddr::new(address, free_port(address))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    #[test]
    fn a_free_port_can_be_bound_for_both_protocols() {
        let address = free_address(Ipv4Addr::new(127, 9, 8, 7).into());
        let _udp = UdpSocket::bind(address).unwrap();
        let _tcp = TcpListener::bind(address).unwrap();
    }
}
