// SPDX-License-Identifier: GPL-2.0

//! Tracepoints of Xen drivers.
//!
//! They are defined in the driver which is the only one to call them. What is here is the safe way
//! to do so, which costs no more than a branch that is not taken while nobody is tracing.
//!
//! C header: [`include/trace/events/xensock.h`](srctree/include/trace/events/xensock.h)

use super::DomId;

use crate::{
    bindings,
    net::addr::SockAddrBuf,
    prelude::*,
    tracepoint::declare_trace, //
};

use core::net::{
    Ipv4Addr,
    SocketAddr,
    SocketAddrV4, //
};

const NO_ADDR: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0));

declare_trace! {
    /// # Safety
    ///
    /// `reason` is a string, and `addr` points to an initialised object.
    unsafe fn xensock_refused(
        guest: c_uint,
        reason: *const c_char,
        error: c_int,
        addr: *const bindings::sockaddr_in6,
    );
}

/// The backend of XenSock has refused something to a guest, for this reason and with this error. It
/// was about `addr`; what is not about an address is shown with 0.0.0.0:0.
///
/// Any context. To be called by the module that defines the tracepoint, and no other.
#[inline]
pub fn xensock_refused_to(
    guest: DomId,
    reason: &'static CStr,
    error: Error,
    addr: Option<&SocketAddr>,
) {
    let addr = SockAddrBuf::from(addr.copied().unwrap_or(NO_ADDR));

    // SAFETY: The string is one, and an address has room for any of the internet families.
    unsafe {
        xensock_refused(
            guest.as_raw().into(),
            reason.as_char_ptr(),
            error.to_errno(),
            addr.as_ptr().cast(),
        )
    };
}
