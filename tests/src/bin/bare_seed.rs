//! The least that seeding takes: one thread that serves one peer at a time, a header and a sendfile for
//! each block.
//!
//!   bare_seed TORRENT FILE ADDRESS       prints `ready` when it listens

use std::fs::File;
use std::net::{TcpListener, TcpStream};

use harness::bare::{Requests, Result, greet, offer_all, offset, read_torrent};
use rustix::net::SendFlags;
use wire::metainfo::Info;
use wire::peer::BlockRef;

fn send(stream: &TcpStream, info: &Info, file: &File, block: &BlockRef) -> Result<()> {
    let header = block.piece_header();
    let mut offset = offset(info, block)?;
    let end = offset + u64::from(block.len);
    if rustix::net::send(stream, &header, SendFlags::MORE | SendFlags::NOSIGNAL)? != header.len() {
        return Err("half a header was sent".into());
    }
    while offset < end {
        let len = (end - offset) as usize;
        if rustix::fs::sendfile(stream, file, Some(&mut offset), len)? == 0 {
            return Err("the file is too short".into());
        }
    }
    Ok(())
}

fn serve(stream: &mut TcpStream, info: &Info, file: &File) -> Result<()> {
    greet(stream, info, b"-BARE02-", 0)?;
    offer_all(stream, info)?;
    let mut requests = Requests::default();
    while let Some(block) = requests.next(stream)? {
        send(stream, info, file, &block)?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [torrent, file, address] = &args[..] else {
        return Err("bare_seed TORRENT FILE ADDRESS".into());
    };
    let (info, file) = (read_torrent(torrent)?, File::open(file)?);
    let listener = TcpListener::bind(address)?;
    println!("ready");
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.set_nodelay(true)?;
        if let Err(error) = serve(&mut stream, &info, &file) {
            eprintln!("bare_seed: {error}");
        }
    }
    Ok(())
}
