// SPDX-License-Identifier: GPL-2.0

//! What the sockets of a family begin with.
//!
//! All begin with a `struct sock`. Those of IPv4 and IPv6 have more, where other parts of the
//! kernel look for it: see `inet_sk()` and `inet6_sk()`.

use crate::{
    bindings,
    net::sock::Sock,
    prelude::*,
    types::Opaque, //
};

use core::mem::offset_of;

/// A structure that begins with a `struct sock`.
///
/// # Safety
///
/// The structure must begin with a [`Sock`], have no invariants beyond those of that, and need not
/// be dropped. It must be [`Opaque`]. If [`Head::INET`] is set then it must begin with a
/// `struct inet_sock`, and if [`Head::IPV6_PINFO_OFFSET`] is not zero then have a
/// `struct ipv6_pinfo` there.
pub unsafe trait Head: 'static {
    /// Whether it is one of IPv4 or IPv6.
    const INET: bool = false;

    /// Where the part is that only IPv6 has, or zero.
    const IPV6_PINFO_OFFSET: usize = 0;
}

// SAFETY: `Sock` is opaque, and the destructor of a `struct sock` is that of the whole object.
unsafe impl Head for Sock {}

/// A `struct inet_sock`: for [`AF_INET`](crate::net::addr::AF_INET).
#[repr(transparent)]
pub struct InetSock(Opaque<bindings::inet_sock>);

// Bitfields and the like are more than bindgen is to be trusted with, see rust/bindgen_parameters.
static_assert!(size_of::<bindings::inet_sock>() == bindings::INET_SOCK_SIZE);
static_assert!(offset_of!(bindings::inet_sock, sk) == 0);

// SAFETY: A `struct inet_sock` begins with a `struct sock`, and this one is opaque.
unsafe impl Head for InetSock {
    const INET: bool = true;
}

/// A `struct inet_sock` and what IPv6 adds: for [`AF_INET6`](crate::net::addr::AF_INET6).
#[repr(C)]
pub struct Inet6Sock {
    inet: InetSock,
    pinfo: Opaque<bindings::ipv6_pinfo>,
}

static_assert!(size_of::<bindings::ipv6_pinfo>() == bindings::IPV6_PINFO_SIZE);

// SAFETY: As above; the other part is opaque too, and where it is said to be.
unsafe impl Head for Inet6Sock {
    const INET: bool = true;
    const IPV6_PINFO_OFFSET: usize = offset_of!(Self, pinfo);
}
