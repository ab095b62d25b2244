//! A TUN device: what the kernel routes to it is read here, and what is written is received there.

#![allow(unsafe_code, reason = "a device is named by an ioctl")]

use std::fs::File;
use std::io::Result;
use std::os::fd::OwnedFd;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::ioctl::{Updater, ioctl};

/// linux/if_tun.h
const TUNSETIFF: u32 = 0x4004_54CA;
const IFF_TUN: u16 = 0x0001;
const IFF_NO_PI: u16 = 0x1000;

/// linux/if.h, as far as TUNSETIFF reads it.
#[repr(C)]
struct IfReq {
    name: [u8; 16],
    flags: u16,
    rest: [u8; 22],
}

/// A new device of this name, of at most 15 bytes, in the calling thread's network namespace; packets
/// come bare, and a read of none does not wait.
pub(super) fn open(name: &str) -> Result<OwnedFd> {
    let tun: OwnedFd = File::options().read(true).write(true).open("/dev/net/tun")?.into();
    let mut request = IfReq { name: [0; 16], flags: IFF_TUN | IFF_NO_PI, rest: [0; 22] };
    request.name.iter_mut().take(15).zip(name.bytes()).for_each(|(to, from)| *to = from);
    // SAFETY: TUNSETIFF reads and writes a `struct ifreq`, which has 40 bytes, of which it touches the
    // name and the flags; the value outlives the call.
    unsafe { ioctl(&tun, Updater::<{ TUNSETIFF }, IfReq>::new(&mut request))? };
    fcntl_setfl(&tun, fcntl_getfl(&tun)? | OFlags::NONBLOCK)?;
    Ok(tun)
}
