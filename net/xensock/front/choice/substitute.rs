// SPDX-License-Identifier: GPL-2.0

//! The protocol that programs' sockets are created with.

use super::{
    Hijack,
    Reason, //
};
use crate::{
    family::{
        IPPROTO_TCP,
        IPPROTO_UDP,
        IPPROTO_XENSOCK, //
    },
    proto::{
        rule::Transport,
        Feature, //
    },
    LINK, //
};
use kernel::{
    net::{
        addr::{
            AF_INET,
            AF_INET6, //
        },
        namespace::Namespace,
        socket::{
            SOCK_DGRAM,
            SOCK_STREAM, //
        },
        substitute::Substitute, //
    }, //
};

/// TCP over several paths, which the backend has not, and which programs take TCP for.
const IPPROTO_MPTCP: i32 = 262;

const INET: i32 = AF_INET as i32;
const INET6: i32 = AF_INET6 as i32;

/// XenSock in the place of TCP and UDP.
pub(crate) struct Choice;

impl Substitute for Choice {
    fn protocol(net: &Namespace, family: i32, kind: i32, protocol: i32) -> i32 {
        let is_stream = match (family, kind, protocol) {
            (INET | INET6, SOCK_STREAM, 0 | IPPROTO_TCP | IPPROTO_MPTCP) => true,
            (INET | INET6, SOCK_DGRAM, 0 | IPPROTO_UDP) => false,
            _ => return protocol,
        };
        let Some(config) = Hijack::of(net).filter(|config| config.takes(is_stream)) else {
            return protocol;
        };
        match LINK.get() {
            None if config.falls_back() => {
                let transport = if is_stream {
                    Transport::Tcp
                } else {
                    Transport::Udp
                };
                config.note(Reason::NoBackend, transport, None);
                protocol
            }
            Some(link) if !is_stream && !link.has(Feature::Datagram) => protocol,
            _ => i32::from(IPPROTO_XENSOCK),
        }
    }
}
