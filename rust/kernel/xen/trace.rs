// SPDX-License-Identifier: GPL-2.0

//! Tracepoints of Xen drivers.
//!
//! Each driver defines its own tracepoints. This module has safe wrappers for calling them, which
//! cost no more than a branch not taken while tracing is off.
//!
//! All functions below this module may be called in any context, but only by the driver that
//! defines the tracepoint.

use crate::{
    net::addr::SockAddrBuf,
    prelude::*, //
};

use core::net::{
    Ipv4Addr,
    SocketAddr,
    SocketAddrV4, //
};

/// Evaluates to `true` while the event is being traced, so that its arguments are only computed
/// when needed.
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

/// Converts an address for a tracepoint, in a buffer with room for any internet family. An unknown
/// address becomes 0.0.0.0:0.
fn buf(addr: Option<SocketAddr>) -> SockAddrBuf {
    SockAddrBuf::from(addr.unwrap_or(NO_ADDR))
}

/// Converts a result for a tracepoint: 0, or the error as a negative number.
#[inline]
fn errno(result: Result) -> c_int {
    result.map_or_else(Error::to_errno, |()| 0)
}
