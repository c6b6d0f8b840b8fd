// SPDX-License-Identifier: GPL-2.0

//! The structures that the sockets of a family begin with.
//!
//! All begin with a `struct sock`. Sockets of IPv4 and IPv6 have further members, which other parts
//! of the kernel access: see `inet_sk()` and `inet6_sk()`.

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
/// The structure must be [`Opaque`], begin with a [`Sock`], have no invariants beyond those of
/// [`Sock`], and not need to be dropped. If [`Head::INET`] is set, it must begin with a `struct
/// inet_sock`. If [`Head::IPV6_PINFO_OFFSET`] is not zero, it must have a `struct ipv6_pinfo` at
/// that offset.
pub unsafe trait Head: 'static {
    /// Set for sockets of IPv4 and IPv6.
    const INET: bool = false;

    /// Offset of the `struct ipv6_pinfo`, or zero if there is none.
    const IPV6_PINFO_OFFSET: usize = 0;
}

// SAFETY: `Sock` is opaque, and the destructor of a `struct sock` is called for the whole object.
unsafe impl Head for Sock {}

/// A `struct inet_sock`: for [`AF_INET`](crate::net::addr::AF_INET).
#[repr(transparent)]
pub struct InetSock(Opaque<bindings::inet_sock>);

// bindgen may get the layout of bitfields and similar members wrong, see rust/bindgen_parameters.
static_assert!(size_of::<bindings::inet_sock>() == bindings::INET_SOCK_SIZE);
static_assert!(offset_of!(bindings::inet_sock, sk) == 0);

// SAFETY: A `struct inet_sock` begins with a `struct sock`, and this one is opaque.
unsafe impl Head for InetSock {
    const INET: bool = true;
}

/// A `struct inet_sock` with a `struct ipv6_pinfo`: for [`AF_INET6`](crate::net::addr::AF_INET6).
#[repr(C)]
pub struct Inet6Sock {
    inet: InetSock,
    pinfo: Opaque<bindings::ipv6_pinfo>,
}

static_assert!(size_of::<bindings::ipv6_pinfo>() == bindings::IPV6_PINFO_SIZE);

// SAFETY: As above; the `struct ipv6_pinfo` is opaque too, and is at the given offset.
unsafe impl Head for Inet6Sock {
    const INET: bool = true;
    const IPV6_PINFO_OFFSET: usize = offset_of!(Self, pinfo);
}
