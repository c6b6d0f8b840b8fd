// SPDX-License-Identifier: GPL-2.0

//! Backend: options whose value is what the control messages of the last packet would be.

use core::{
    mem::{
        size_of,
        take, //
    },
    net::Ipv6Addr, //
};

use super::{
    super::control::is_link_local,
    table::*,
    SockOpt,
    SOL_IP,
    SOL_IPV6, //
};

/// Size of `cmsg_len`, and the alignment of control messages.
const WORD: usize = size_of::<usize>();
/// Size of a `struct cmsghdr`: the length, the level and the type.
const HEADER: usize = WORD + 8;

/// The type of `struct in6_pktinfo` by its newer name.
const IPV6_PKTINFO: u32 = 50;

impl SockOpt {
    /// Clears the numbers of interfaces in the value that Linux has returned for the option: they are
    /// those of the backend's domain. As in control messages, that of a link-local address stays.
    pub fn hide_interfaces(&self, value: &mut [u8]) {
        if let (SOL_IP, IP_PKTOPTIONS) | (SOL_IPV6, IPV6_2292PKTOPTIONS) = (self.level, self.name) {
            let mut rest = value;
            while let Some((message, others)) = split_message(take(&mut rest)) {
                hide_interface(message);
                rest = others;
            }
        }
    }
}

/// Splits off the first control message, with its padding.
fn split_message(messages: &mut [u8]) -> Option<(&mut [u8], &mut [u8])> {
    let len = usize::from_ne_bytes(*messages.first_chunk::<WORD>()?);
    if len < HEADER {
        return None;
    }
    let padded = len.checked_next_multiple_of(WORD)?;
    let end = padded.min(messages.len());
    messages.split_at_mut_checked(end)
}

/// Clears the number of an interface in a control message.
fn hide_interface(message: &mut [u8]) {
    let Some((header, data)) = message.split_first_chunk_mut::<HEADER>() else {
        return;
    };
    let number = |at: usize| {
        let bytes = header.get(at..).and_then(|rest| rest.first_chunk());
        bytes.map(|bytes| u32::from_ne_bytes(*bytes))
    };
    let interface = match (number(WORD), number(WORD + 4)) {
        // Before the addresses.
        (Some(SOL_IP), Some(IP_PKTINFO)) => data.first_chunk_mut::<4>(),
        // Behind the address.
        (Some(SOL_IPV6), Some(IPV6_2292PKTINFO | IPV6_PKTINFO)) => {
            let Some((address, rest)) = data.split_first_chunk_mut::<16>() else {
                return;
            };
            if is_link_local(&Ipv6Addr::from(*address)) {
                return;
            }
            rest.first_chunk_mut::<4>()
        }
        _ => None,
    };
    if let Some(interface) = interface {
        *interface = [0; 4];
    }
}
