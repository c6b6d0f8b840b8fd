// SPDX-License-Identifier: GPL-2.0

//! Tracepoints of Xen drivers.
//!
//! They are defined in the driver which is the only one to call them. What is here is the safe way
//! to do so, which costs no more than a branch that is not taken while nobody is tracing.
//!
//! All functions below this module may be called in any context, by the driver that defines their
//! tracepoints, and no other.

use crate::{
    net::addr::SockAddrBuf,
    prelude::*, //
};

use core::net::{
    Ipv4Addr,
    SocketAddr,
    SocketAddrV4, //
};

/// Whether anybody traces an event: for arguments that are not to be worked out for nobody.
macro_rules! is_traced {
    ($name:ident) => {{
        #[cfg(CONFIG_TRACEPOINTS)]
        {
            // SAFETY: It's always okay to query the static key for a tracepoint.
            unsafe {
                $crate::macros::paste! {
                    $crate::jump_label::static_branch_unlikely!(
                        $crate::bindings::[< __tracepoint_ $name >],
                        $crate::bindings::tracepoint,
                        key
                    )
                }
            }
        }

        #[cfg(not(CONFIG_TRACEPOINTS))]
        {
            false
        }
    }};
}

pub mod xensock_back;
pub mod xensock_front;

const NO_ADDR: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

/// An address as a tracepoint takes it, with room for any of the internet families. One that is not
/// known is 0.0.0.0:0.
fn buf(addr: Option<SocketAddr>) -> SockAddrBuf {
    SockAddrBuf::from(addr.unwrap_or(NO_ADDR))
}

/// A result as a tracepoint takes it: 0, or the error as a negative number.
#[inline]
fn errno(result: Result) -> c_int {
    result.map_or_else(Error::to_errno, |()| 0)
}
