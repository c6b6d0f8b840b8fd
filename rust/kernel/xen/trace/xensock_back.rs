// SPDX-License-Identifier: GPL-2.0

//! Tracepoints of the XenSock backend.
//!
//! C header: [`include/trace/events/xensock.h`](srctree/include/trace/events/xensock.h)

use super::{
    buf,
    errno, //
};

use crate::{
    bindings,
    prelude::*,
    tracepoint::declare_trace,
    xen::DomId, //
};

use core::net::SocketAddr;

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

    /// # Safety
    ///
    /// `state` is a string.
    unsafe fn xensock_back_link(guest: c_uint, state: *const c_char, error: c_int);

    /// # Safety
    ///
    /// `command` is a string.
    unsafe fn xensock_back_command(
        guest: c_uint,
        req_id: u32,
        command: *const c_char,
        id: u64,
        error: c_int,
    );

    /// # Safety
    ///
    /// `local` and `peer` point to initialised objects.
    unsafe fn xensock_back_connect(
        guest: c_uint,
        id: u64,
        local: *const bindings::sockaddr_in6,
        peer: *const bindings::sockaddr_in6,
        error: c_int,
    );

    /// # Safety
    ///
    /// `local` and `peer` point to initialised objects.
    unsafe fn xensock_back_accept(
        guest: c_uint,
        id: u64,
        local: *const bindings::sockaddr_in6,
        peer: *const bindings::sockaddr_in6,
        error: c_int,
    );

    /// # Safety
    ///
    /// `what` is a string.
    unsafe fn xensock_back_error(guest: c_uint, what: *const c_char);
}

/// A guest was refused something, for this reason and with this error. It was about `addr`, if it
/// was about an address.
#[inline]
pub fn refused(guest: DomId, reason: &'static CStr, error: Error, addr: Option<&SocketAddr>) {
    if is_traced!(xensock_refused) {
        let addr = buf(addr.copied());

        // SAFETY: The string is one, and an address has room for any of the internet families, all
        // of it initialised.
        unsafe {
            xensock_refused(
                guest.as_raw().into(),
                reason.as_char_ptr(),
                error.to_errno(),
                addr.as_ptr().cast(),
            )
        };
    }
}

/// The link with a guest is in another state, which is named, perhaps for an error.
#[inline]
pub fn link(guest: DomId, state: &'static CStr, result: Result) {
    // SAFETY: The string is one.
    unsafe { xensock_back_link(guest.as_raw().into(), state.as_char_ptr(), errno(result)) };
}

/// A request about the socket `id` was answered, with `error` as it is on the wire.
#[inline]
pub fn command(
    guest: DomId,
    req_id: u32,
    command: impl FnOnce() -> &'static CStr,
    id: u64,
    error: i32,
) {
    if is_traced!(xensock_back_command) {
        // SAFETY: The string is one.
        unsafe {
            xensock_back_command(
                guest.as_raw().into(),
                req_id,
                command().as_char_ptr(),
                id,
                error,
            )
        };
    }
}

/// A connection that was begun stands, or has failed.
#[inline]
pub fn connect(
    guest: DomId,
    id: u64,
    local: Option<SocketAddr>,
    peer: SocketAddr,
    outcome: Result,
) {
    if is_traced!(xensock_back_connect) {
        let (local, peer) = (buf(local), buf(Some(peer)));

        // SAFETY: An address has room for any of the internet families, all of it initialised.
        unsafe {
            xensock_back_connect(
                guest.as_raw().into(),
                id,
                local.as_ptr().cast(),
                peer.as_ptr().cast(),
                errno(outcome),
            )
        };
    }
}

/// A connection has come to the place that a guest has made for it.
#[inline]
pub fn accept<F>(guest: DomId, id: u64, local: F, peer: SocketAddr)
where
    F: FnOnce() -> Option<SocketAddr>,
{
    if is_traced!(xensock_back_accept) {
        let (local, peer) = (buf(local()), buf(Some(peer)));

        // SAFETY: An address has room for any of the internet families, all of it initialised.
        unsafe {
            xensock_back_accept(
                guest.as_raw().into(),
                id,
                local.as_ptr().cast(),
                peer.as_ptr().cast(),
                0,
            )
        };
    }
}

/// A guest broke the rules.
#[inline]
pub fn error(guest: DomId, what: &CStr) {
    // SAFETY: The string is one.
    unsafe { xensock_back_error(guest.as_raw().into(), what.as_char_ptr()) };
}
