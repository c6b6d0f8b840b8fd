// SPDX-License-Identifier: GPL-2.0

//! The sockets that programs get in the place of TCP and UDP.

use super::is_wanted;
use crate::{
    devices::Devices,
    family::{
        Family,
        Inet,
        Inet6,
        IPPROTO_TCP,
        IPPROTO_UDP,
        IPPROTO_XENSOCK, //
    },
    hijack::{
        Decision,
        Hijack, //
    },
    proto::{
        rule::IpProtocol,
        Feature, //
    }, //
};
use kernel::{
    net::{
        addr::{
            AF_INET,
            AF_INET6, //
        },
        family::NewSocket,
        namespace::Namespace,
        socket::{
            SOCK_DGRAM,
            SOCK_STREAM, //
        },
        substitute::Substitute, //
    },
    prelude::*, //
};

/// Multipath TCP, which the backend does not have, and which programs use as TCP.
const IPPROTO_MPTCP: i32 = 262;

/// XenSock by its protocol number.
const XENSOCK: i32 = IPPROTO_XENSOCK as i32;

const INET: i32 = AF_INET as i32;
const INET6: i32 = AF_INET6 as i32;

/// XenSock in the place of TCP and UDP.
pub(crate) struct Fallback;

#[vtable]
impl Substitute for Fallback {
    fn create(net: &Namespace, family: i32, kind: i32, protocol: i32) -> Result<Option<NewSocket>> {
        let transport = match (family, kind, protocol) {
            (INET | INET6, SOCK_STREAM, 0 | IPPROTO_TCP | IPPROTO_MPTCP | XENSOCK) => {
                IpProtocol::Tcp
            }
            (INET | INET6, SOCK_DGRAM, 0 | IPPROTO_UDP | XENSOCK) => IpProtocol::Udp,
            _ => return Ok(None),
        };
        let Some(config) = Hijack::of(net) else {
            return Ok(None);
        };
        let is_ours = if protocol == XENSOCK {
            // If not, the family returns the error.
            net == Namespace::init() || is_wanted(net)
        } else {
            is_taken(&config, transport)
        };
        if !is_ours {
            return Ok(None);
        }
        // The native socket. Policy for a new TCP or UDP socket is applied to it.
        let native = match transport {
            IpProtocol::Tcp => IPPROTO_TCP,
            IpProtocol::Udp => IPPROTO_UDP,
        };
        let native = NewSocket::new(net, family, kind, native)?;
        if native.has_packet_filter() {
            config.note(Decision::Packets, transport, None);
            return Ok(Some(native));
        }
        let socket = match family {
            INET => native.stand_in::<Family<Inet>>(),
            _ => native.stand_in::<Family<Inet6>>(),
        };
        socket.map(Some)
    }
}

/// Returns `true` if XenSock takes over a socket that a program has requested as TCP or UDP.
fn is_taken(config: &Hijack, transport: IpProtocol) -> bool {
    let is_stream = transport == IpProtocol::Tcp;
    if !config.takes(is_stream) {
        return false;
    }
    if config.falls_back() && Devices::find(|_| true).is_none() {
        config.note(Decision::NoBackend, transport, None);
        return false;
    }
    is_stream || Devices::may_have(|link| link.has(Feature::Datagram))
}
